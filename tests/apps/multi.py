"""Streams once in each of three children; the start method is the first argument, the model the second."""

import multiprocessing
import sys

from openai import OpenAI


def read(model):
    question = [{"role": "user", "content": "hello"}]
    for _ in OpenAI(max_retries=0).chat.completions.create(model=model, messages=question, stream=True):
        pass


if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    read(sys.argv[2])
    children = [context.Process(target=read, args=(sys.argv[2],)) for _ in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    print([child.exitcode for child in children], flush=True)
