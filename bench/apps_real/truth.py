"""What the fake server did to an application, read from its log, and what ought to be reported of that."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

COUNT = "x-stainless-retry-count"
# What a request of the SDK carries that tells how it was made; all of it must be the same with us.
_WHAT_WAS_ASKED = (
    "method", "path", "model", "mode", "stream", "user-agent", "traceparent", COUNT, "x-stainless-raw-response",
    "x-stainless-helper-method", "x-stainless-stream-helper", "x-stainless-async", "accept", "did",
)
# An app that goes away decides by itself what that is: its deadline, a cancelled task, no interest any more.
WENT_AWAY = ("timeout", "cancelled", "abandoned")


@dataclass
class Truth:
    """Of the streaming calls that an app made: how many ended how, and what was tried again.

    ``went_away`` calls ended under one of WENT_AWAY. ``again`` are calls for what had failed just before: the
    app's own retries, or its users asking once more. ``others`` did not come from the SDK.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    went_away: int = 0
    stalls: int = 0
    sdk_retries: Counter[str] = field(default_factory=Counter)
    again: Counter[str] = field(default_factory=Counter)
    fallbacks: int = 0
    others: int = 0
    surfaces: set[str] = field(default_factory=set)
    versions: set[str] = field(default_factory=set)
    requests: tuple[tuple[object, ...], ...] = ()

    def __add__(self, other: Truth) -> Truth:
        return Truth(
            self.outcomes + other.outcomes, self.went_away + other.went_away, self.stalls + other.stalls,
            self.sdk_retries + other.sdk_retries, self.again + other.again, self.fallbacks + other.fallbacks,
            self.others + other.others, self.surfaces | other.surfaces, self.versions | other.versions,
            self.requests + other.requests,
        )


def read(path: Path) -> Truth:
    """The truth of one log. Requests that asked for the same are taken in the order in which they ended."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    truth = Truth(requests=tuple(tuple(line.get(name) for name in _WHAT_WAS_ASKED) for line in lines))
    by_what: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for line in lines:
        if line["method"] != "POST" or "/embeddings" in line["path"]:
            continue
        if COUNT not in line:
            truth.others += 1
            continue
        by_what.setdefault((line["path"], line["model"]), []).append(line)
    for requests in by_what.values():
        _count(truth, requests)
    return truth


def _count(truth: Truth, requests: list[Mapping[str, Any]]) -> None:
    failed = ""  # why the call before this one failed
    for request, following in zip(requests, [*requests[1:], None], strict=True):
        if request["stream"]:
            truth.surfaces.add(_surface(request))
            truth.versions.add(request["x-stainless-package-version"])
        first = request[COUNT] == "0"
        if failed and first:
            truth.again[failed] += 1
            truth.fallbacks += not request["stream"]
        if first:
            failed = ""
        if not request["stream"]:
            continue
        did, mode = request["did"], request["mode"]
        if did == "429" and following is not None and following[COUNT] == str(int(request[COUNT]) + 1):
            truth.sdk_retries["429"] += 1
        elif did == "429":
            truth.outcomes["rate_limited"] += 1
            failed = "429"
        elif did == "rst":
            truth.outcomes["reset"] += 1
            failed = "reset"
        elif did.startswith("client went away"):
            truth.went_away += 1
            truth.stalls += mode == "stall"
        elif mode == "silent-cut":
            truth.outcomes["truncated"] += 1
            failed = "truncated"
        else:
            truth.outcomes["completed"] += 1
            truth.stalls += mode == "stall"


def _surface(request: Mapping[str, Any]) -> str:
    words = [
        request["path"].removeprefix("/v1/"),
        "sync" if request.get("x-stainless-async") == "false" else "async",
        "raw" if "x-stainless-raw-response" in request else "",
        "helper" if any("helper" in name for name in request) else "",
    ]
    return " ".join(word for word in words if word)


def shown(counts: Mapping[str, int]) -> str:
    """For a table."""
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items()) if count) or "-"


def total(counts: Iterable[int]) -> int:
    return sum(counts)
