"""Replay weeks of simulated services through the rules in a real Prometheus: python -m alerts.backtest"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

from streamvitals.alerts.objectives import Objectives
from streamvitals.alerts.ruleset import every_rule

from .baselines import BASELINES
from .endless import USERS, EndlessWorld
from .events import HOUR
from .replay import left_open, prometheus, replay
from .score import COLUMNS, Score, score, summary
from .world import SIZES, Manner, World, rough

OURS = "streamvitals"
# Seconds: what a world of each size is scraped at, and rules are evaluated at.
STEPS = {"small": 30.0, "modest": 60.0, "medium": 30.0, "large": 60.0}
ONE_PROMPT = " with one prompt"
ENDLESS = tuple(users + prompt for users in USERS for prompt in ("", ONE_PROMPT))


def drawn(
    size: str, seed: int, weeks: float, *, irregular: bool, calls: bool = False, scrape: float = 0.0
) -> World:
    """Draw the world of this size and seed, or of so many users that never give up.

    With ``calls`` half as many calls without a stream go with the streams."""
    if size in ENDLESS:
        users = USERS[size.removesuffix(ONE_PROMPT)]
        return EndlessWorld(users, seed, weeks, 30.0, one_prompt=size.endswith(ONE_PROMPT))
    manner = rough(Random(f"{size} {seed} manner")) if irregular else Manner()
    if calls:
        manner = replace(manner, calls=0.5)
    return World(SIZES[size], seed, weeks, scrape or STEPS[size], manner)


def run(
    size: str, seed: int, weeks: float, directory: Path, *, baselines: bool, newer: bool, irregular: bool,
    calls: bool = False, scrape: float = 0.0,
) -> dict[str, Score]:
    """Score every set of rules in one world, by its name; ``newer`` as Prometheus 3 would have it."""
    world = drawn(size, seed, weeks, irregular=irregular, calls=calls, scrape=scrape)
    step = world.scrape
    samples = directory / "world.om"
    with open(samples, "w") as file:
        written = world.write(file)
    tell(f"{size} {seed}: {written / 1e6:.1f} million samples, {len(world.events)} events, {world.manner}")
    sets = {OURS: every_rule(Objectives())}
    if baselines:
        sets |= {name: make() for name, make in BASELINES.items()}
    scores = {}
    with prometheus(directory / "prometheus", step, samples) as server:
        samples.unlink()
        for name, rules in sets.items():
            begin = time.monotonic()
            firings = replay(server, left_open(rules) if newer else rules, world.begin, world.end)
            scores[name] = score(world.events, firings, world.end - world.begin)
            tell(f"  {name}: {time.monotonic() - begin:.0f} s; {', '.join(scores[name].row())}")
    return scores


def costs(size: str, directory: Path) -> None:
    """Print what one evaluation of each rule costs after two days of a service of this size."""
    world = World(SIZES[size], 1, 2 / 7, STEPS[size])
    samples = directory / "world.om"
    with open(samples, "w") as file:
        world.write(file)
    rules = every_rule(Objectives())
    noon = world.end - 12 * HOUR
    with prometheus(directory / "prometheus", world.scrape, samples) as server:
        replay(server, rules, world.begin, world.end)
        ours, _ = server.cost('{__name__=~"streamvitals_.+"}', noon)
        print(f"| rule ({ours} series of a {size} service) | series | samples touched |\n|---|---|---|")
        total = [0, 0]
        for rule in rules:
            series, touched = server.cost(rule["expr"], noon)
            total[0] += series if "record" in rule else 0
            total[1] += touched
            print(f"| {rule.get('record') or rule['alert']} | {series} | {touched} |")
        print(f"| all {len(rules)}, at every evaluation | {total[0]} recorded | {total[1]} |")


def tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m alerts.backtest", description=__doc__)
    parser.add_argument("--seeds", default="101,102,103", help="of the worlds, separated by commas (101,102,103)")
    parser.add_argument("--sizes", default=",".join(SIZES), help=f"some of {', '.join(SIZES)}")
    parser.add_argument("--weeks", type=float, default=1.0, help="of each world (1)")
    parser.add_argument("--no-baselines", action="store_true", help="only these rules")
    parser.add_argument("--left-open", action="store_true", help="read windows as Prometheus 3 does")
    parser.add_argument("--rough", action="store_true", help="services of which none is like the other")
    parser.add_argument("--scrape", type=float, default=0.0, help="seconds between scrapes, if not those of the size")
    parser.add_argument("--calls", action="store_true", help="services that also call without a stream")
    parser.add_argument("--endless", action="store_true", help="applications that ask again for ever, by their users")
    parser.add_argument("--verbose", action="store_true", help="say what was missed, and what was paged for nothing")
    parser.add_argument("--costs", action="store_true", help="print what an evaluation costs instead")
    given = parser.parse_args(arguments)
    # Ended from outside it ends its Prometheus too, and removes what it wrote.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    seeds = given.seeds.split(",")
    sizes = list(ENDLESS) if given.endless else given.sizes.split(",")
    if unknown := set(sizes) - {*SIZES, *ENDLESS}:
        parser.error(f"no such size: {', '.join(sorted(unknown))}; there are {', '.join(SIZES)}")
    if not all(seed.isdigit() for seed in seeds):
        parser.error(f"seeds are whole numbers, separated by commas: {given.seeds!r}")
    if not 4 * 24 * HOUR <= given.weeks * 7 * 24 * HOUR <= 60 * 24 * HOUR:
        parser.error("weeks: from 0.6 to 8")
    for size in sizes if given.costs else ():
        with tempfile.TemporaryDirectory(prefix="streamvitals-backtest-") as directory:
            costs(size, Path(directory))
    if given.costs:
        return 0
    print("| size | rules | " + " | ".join(COLUMNS) + " |")
    print("|---" * (len(COLUMNS) + 2) + "|", flush=True)
    for size in sizes:
        scores: dict[str, list[Score]] = {}
        for seed in seeds:
            with tempfile.TemporaryDirectory(prefix="streamvitals-backtest-") as directory:
                one_world = run(
                    size, int(seed), given.weeks, Path(directory), baselines=not given.no_baselines,
                    newer=given.left_open, irregular=given.rough, calls=given.calls, scrape=given.scrape,
                )
            for name, one in one_world.items():
                scores.setdefault(name, []).append(one)
            _explain(one_world[OURS] if given.verbose else Score())
        for name, every in scores.items():
            print(f"| {size} | {name} | " + " | ".join(summary(every)) + " |", flush=True)
    return 0


def _explain(one: Score) -> None:
    for what in ("found", "missed", "false", "unnamed", "unticketed"):
        for line in getattr(one, what):
            tell(f"    {what}: {line}")


if __name__ == "__main__":
    sys.exit(main())
