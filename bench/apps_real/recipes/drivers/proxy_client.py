"""Asks an OpenAI-compatible gateway for streams, over separate connections (stdlib only)."""
import collections, http.client, json, sys, time
port, n, model = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3].rpartition("/")[2]
for _ in range(600):
    try:
        c = http.client.HTTPConnection("127.0.0.1", port, timeout=2); c.request("GET", "/health/liveliness"); c.getresponse().read(); break
    except OSError: time.sleep(0.1)
else: print("gateway did not start"); sys.exit(2)
ends = collections.Counter()
for _ in range(n):
    try:
        c = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        body = {"model": f"openai/{model}", "messages": [{"role": "user", "content": "hello"}], "stream": True}
        c.request("POST", "/chat/completions", json.dumps(body), {"content-type": "application/json", "authorization": "Bearer sk-1"}); r = c.getresponse()
        lines = [line for line in r if line.startswith(b"data: ")]
        ends["[DONE]" if lines and b"[DONE]" in lines[-1] else "ended without [DONE]"] += 1
    except Exception as e: ends["ended without [DONE]"] += 1
print(dict(ends))
