"""An ordinary program: asks the models that it was told, one question after the other, until it is ended."""

import sys
import time

from openai import OpenAI, OpenAIError

client = OpenAI(max_retries=0)
number = 0
while True:
    number += 1
    for model in sys.argv[1:]:
        question = [{"role": "user", "content": f"What is {number} squared?"}]
        try:
            for _ in client.chat.completions.create(model=model, messages=question, stream=True):
                pass
        except OpenAIError:
            print("no answer", flush=True)
    time.sleep(0.1)
