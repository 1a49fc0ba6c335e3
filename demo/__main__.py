"""`python -m demo`."""

import importlib.util
import sys

if __name__ == "__main__":
    missing = [name for name in ("openai", "rich") if importlib.util.find_spec(name) is None]
    if missing:
        print(f"the demo needs {' and '.join(missing)}: run it by `make demo`", file=sys.stderr)
        sys.exit(1)

    from .run import main

    sys.exit(main())
