import sys, trio
from ask import aask
async def one(model):
    try: print(await aask(model))
    except Exception as e: print(f"[{type(e).__module__}.{type(e).__name__}]")
async def main(model):
    async with trio.open_nursery() as nursery:
        for _ in range(2): nursery.start_soon(one, model)
trio.run(main, sys.argv[1])
