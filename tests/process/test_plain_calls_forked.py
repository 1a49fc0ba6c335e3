"""Plain calls where processes fork and threads call: each counted once, also in prometheus_client's own files."""

from __future__ import annotations

from pathlib import Path

import pytest

from otel_support import run_script
from run_support import parse_metrics, total
from streamvitals.faults import ThreadedFaultServer

PROGRAM = """
import os, threading, time
import openai, streamvitals
from concurrent.futures import ThreadPoolExecutor
from prometheus_client import CollectorRegistry, REGISTRY, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

streamvitals.instrument()
url = {url!r}
messages = [{{"role": "user", "content": "hello"}}]

def calls(tenant):
    client = openai.OpenAI(api_key="k", base_url=url, max_retries=0)
    for model in ("sv-ok", "sv-503"):
        try:
            client.chat.completions.create(model=model, messages=messages, metadata={{"tenant": tenant}})
        except openai.APIError:
            pass
    with streamvitals.labels(feature="search"):
        client.embeddings.create(model="sv-ok", input="hello", extra_headers={{"x-other": "never read"}})

calls("parent")
client = openai.OpenAI(api_key="k", base_url=url, max_retries=0)
with ThreadPoolExecutor(4) as pool:
    list(pool.map(lambda text: client.moderations.create(model="sv-ok", input=text), map(str, range(20))))
hanging = threading.Thread(target=lambda: client.images.generate(model="sv-ok?delay=1", prompt="hello"))
hanging.start()
time.sleep(0.2)
if os.fork() == 0:  # in the middle of a call, which is the parent's
    calls("child")
    os._exit(0)
os.wait()
hanging.join()
registry = REGISTRY
if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
    registry = CollectorRegistry()
    MultiProcessCollector(registry)
print(generate_latest(registry).decode())
"""


@pytest.mark.parametrize("multiprocess", [False, True], ids=["alone", "multiprocess"])
def test_each_call_is_counted_once_wherever_it_is_made(
    multiprocess: bool, tmp_path: Path, server: ThreadedFaultServer
) -> None:
    where = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)} if multiprocess else {}
    done = run_script(
        PROGRAM.format(url=server.base_url), warnings="ignore",
        STREAMVITALS_LABELS="tenant=metadata:tenant,feature=code", STREAMVITALS_QUIET="true", **where,
    )
    found = parse_metrics(done.stdout)

    def counted(**labels: str) -> float:
        return total(found, "streamvitals_calls_total", **labels)

    assert counted(tenant="parent", result="completed") == counted(tenant="parent", result="failed") == 1
    # Without those files a process shows its own numbers only.
    assert counted(tenant="child", result="completed") == counted(tenant="child", result="failed") == multiprocess
    assert counted(gen_ai_operation_name="embeddings", feature="search") == 1 + multiprocess
    assert counted(gen_ai_operation_name="moderation", result="completed") == 20
    assert counted(gen_ai_operation_name="generate_content", result="completed") == 1
    assert total(found, "streamvitals_call_errors_total", error_type="503") == 1 + multiprocess
    assert total(found, "streamvitals_calls_active") == 0
    assert total(found, "streamvitals_internal_errors_total") == 0
