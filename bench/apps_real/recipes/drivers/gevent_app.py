from gevent import monkey; monkey.patch_all()
import sys, gevent
from ask import ask
def one(model):
    try: print(ask(model))
    except Exception as e: print(f"[{type(e).__module__}.{type(e).__name__}]")
gevent.joinall([gevent.spawn(one, sys.argv[1]) for _ in range(3)])
