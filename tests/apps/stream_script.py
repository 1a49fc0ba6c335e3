"""An ordinary script: streams once for each model named, and says how it went."""

import sys

from openai import OpenAI

client = OpenAI(max_retries=0)
for model in sys.argv[1:]:
    chunks = 0
    try:
        question = [{"role": "user", "content": "hello"}]
        for _ in client.chat.completions.create(model=model, messages=question, stream=True):
            chunks += 1
    except Exception as error:  # noqa: BLE001  the script's own way
        print(model, type(error).__name__, flush=True)
    else:
        print(model, chunks, flush=True)
