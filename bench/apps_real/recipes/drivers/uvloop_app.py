import asyncio, sys, uvloop
from ask import aask
async def main(model):
    for said in await asyncio.gather(*[aask(model) for _ in range(3)], return_exceptions=True): print(said if isinstance(said, str) else type(said).__name__)
uvloop.run(main(sys.argv[1]))
