"""A WSGI app for gunicorn: /stream/MODEL reads a stream, /pid says who answers.

The client is made at import: under --preload that is in the master, before it forks.
"""

import os

from openai import OpenAI

client = OpenAI(max_retries=0)


def app(environ, start_response):
    path = environ["PATH_INFO"]
    chunks = 0
    if path.startswith("/stream/"):
        model, query = path.removeprefix("/stream/"), environ.get("QUERY_STRING")
        question = [{"role": "user", "content": "hello"}]
        stream = client.chat.completions.create(
            model=f"{model}?{query}" if query else model, messages=question, stream=True
        )
        for _ in stream:
            chunks += 1
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{chunks}\n{os.getpid()}\n".encode()]
