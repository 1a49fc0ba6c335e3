"""The process of one side: measures in pairs, observer off and on, as it is told on standard input.

One JSON object per line: ``{"measure": name, "size": n, "pairs": n, "url": base_url}`` in, a list of
``[off, on]`` out, each a list of what was found. Which of a pair comes first alternates.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import sys
import time
import warnings
from itertools import count

from . import observers


def main(side: str) -> None:
    # What the observers print must not get between our lines.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    switch = observers.switch(side)
    from .measures import Measures

    measures = Measures()
    gc.collect()
    gc.freeze()
    turn = 0
    for line in sys.stdin:
        asked = json.loads(line)
        pairs = []
        for _ in range(asked["pairs"]):
            found = {}
            for state in ((False, True), (True, False))[turn]:
                (switch.on if state else switch.off)()
                if asked["measure"] == "held_per_stream" and isinstance(switch, observers.Streamvitals):
                    # A busy machine would have them open for so long that they hand over what they have gathered.
                    switch.set_clock(count(1000.0, 1e-5).__next__)
                found[state] = measures.measure(asked["measure"], asked["size"], asked["url"])
                switch.off()
                if isinstance(switch, observers.Streamvitals):
                    switch.set_clock(time.monotonic)
            pairs.append([found[False], found[True]])
            turn = 1 - turn
        answers.write(json.dumps(pairs) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
