"""Asks once in each way: what is started in other people's ways."""
import asyncio, os, sys
from openai import AsyncOpenAI, OpenAI
M = [{"role": "user", "content": "hello"}]
def ask(model):
    with OpenAI() as client:
        return "".join(c.choices[0].delta.content or "" for c in client.chat.completions.create(model=model, messages=M, stream=True))
async def aask(model):
    async with AsyncOpenAI() as client:
        return "".join([c.choices[0].delta.content or "" async for c in await client.chat.completions.create(model=model, messages=M, stream=True)])
def main(model):
    bad = 0
    for f in (ask, lambda model: asyncio.run(aask(model))):
        try: print(f(model))
        except Exception as e: bad = 1; print(f"[{type(e).__module__}.{type(e).__name__}]")
    return bad
if __name__ == "__main__": sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else os.environ["MODE"]))
