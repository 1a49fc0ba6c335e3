"""Play the incident and take pictures of the dashboards: python -m dashboards.scene --pictures DIR"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from streamvitals.alerts.language import FAST, HOUR, QUARTER_DAY, Language
from streamvitals.alerts.objectives import Objectives
from streamvitals.alerts.series import WHOLE
from streamvitals.export.dashboards import with_least_step

from ..render import THEMES, CannotDraw, Picture, render
from . import SHORTEST, Scene, SceneError, playing
from .watch import SPEED

DASHBOARDS = Path(__file__).parents[1]
LONGEST = 3600.0
SCRAPE = 1.0
BOTH = "both"


def faster(dashboard: str) -> str:
    """A dashboard for the scene, in which Prometheus scrapes each second, and the windows of the rules are shorter."""
    usual, here = Language(Objectives()), Language(Objectives(speed=SPEED))
    for window in (FAST, HOUR, QUARTER_DAY):
        for count in (WHOLE.failed, WHOLE.operations):
            dashboard = dashboard.replace(usual.fill(count[window]) + "{", here.fill(count[window]) + "{")
    dashboard = dashboard.replace(f":{usual.fill(FAST)}]", f":{here.fill(FAST)}]")
    return with_least_step(dashboard, SCRAPE)


def pictures(scene: Scene, end: float, files: Sequence[Path], folder: Path, suffix: str = "") -> list[Picture]:
    """List a picture of every dashboard, from the start of the scene to ``end``."""
    folder.mkdir(parents=True, exist_ok=True)
    return [
        Picture(
            one, folder / f"{one.stem}{suffix}.png", scene.started, end, scrape_interval=SCRAPE, adapt=faster,
            # There is no hour before.
            variables={"compare": [f"{scene.seconds / 3:.0f}s"]} if '"name": "compare"' in one.read_text() else {},
        )
        for one in files
    ]


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not SHORTEST <= seconds <= LONGEST:
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed: seconds from {SHORTEST:g} to {LONGEST:g}")
    return seconds


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m dashboards.scene",
        description="Play an incident against real programs; pictures of the dashboards at its height, and after it.",
    )
    parser.add_argument("--seconds", type=_seconds, default=360.0, help="how long all of it takes (default: 360)")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="where to put them")
    parser.add_argument("--dashboards", type=Path, default=DASHBOARDS, metavar="DIR", help="other JSON files than ours")
    parser.add_argument("--theme", choices=(*THEMES, BOTH), default="dark")
    parser.add_argument("--keep", action="store_true", help="go on afterwards, for a look at Prometheus, until Ctrl-C")
    given = parser.parse_args(arguments)
    files = sorted(given.dashboards.glob("*.json"))
    if given.pictures and not files:
        parser.error(f"--dashboards: no JSON files in {given.dashboards}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return _played(given, files)
    except (SceneError, CannotDraw) as failure:
        print(failure, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _played(given: argparse.Namespace, files: Sequence[Path]) -> int:
    failed = False
    with playing(given.seconds) as scene:
        print(f"Prometheus: {scene.prometheus}", flush=True)
        scene.run_through()
        at = {name: round(getattr(scene, name) * 1000) for name in ("started", "broken", "height", "mended")}
        print(" ".join(f"{name}={moment}" for name, moment in at.items()), flush=True)
        if given.pictures:
            # Afterwards, for drawing takes a machine's whole strength, and Prometheus knows what was.
            wanted = pictures(scene, scene.height, files, given.pictures)
            wanted += pictures(scene, time.time(), files, given.pictures, "-after")
            if given.theme == BOTH:
                light = (one.out.with_stem(one.out.stem + "-light") for one in wanted)
                wanted += [replace(one, theme="light", out=out) for one, out in zip(tuple(wanted), light, strict=True)]
            else:
                wanted = [replace(one, theme=given.theme) for one in wanted]
            for one in render(scene.prometheus, wanted):
                print(one.out, flush=True)
                failed = failed or bool(one.problems)
                for text in one.problems:
                    print(f"  error: {text}", file=sys.stderr)
        if given.keep:
            print("Ctrl-C ends it", flush=True)
            signal.pause()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
