"""Streams once for each model named, in a process of its own, which declares the labels of its own version."""

import os
import sys

import streamvitals

if len(sys.argv) > 2:
    # A rolling deployment: old workers and new ones, side by side.
    children = [os.spawnv(os.P_NOWAIT, sys.executable, [sys.executable, __file__, one]) for one in sys.argv[1:]]
    sys.exit(max(os.waitpid(child, 0)[1] for child in children))

os.environ["STREAMVITALS_LABELS"] = sys.argv[1]
with streamvitals.labels(feature="search"):
    from openai import OpenAI

    for _ in OpenAI(max_retries=0).chat.completions.create(
        model="sv-ok", messages=[], stream=True, metadata={"tenant": "acme"}, extra_headers={"x-route": "a b"}
    ):
        pass
