"""Play the incident and take pictures of the dashboards: python -m dashboards.scene --pictures DIR"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ..render import CannotDraw, Drawn, Picture, render
from . import Scene, SceneError, playing

DASHBOARDS = Path(__file__).parents[1]
LONGEST = 3600.0
SCRAPE = 1.0


def pictures(scene: Scene, folder: Path, suffix: str, files: Sequence[Path], theme: str = "dark") -> list[Drawn]:
    """Of every dashboard, from the start of the scene until now."""
    folder.mkdir(parents=True, exist_ok=True)
    now = time.time()
    return render(scene.prometheus, [
        Picture(one, folder / f"{one.stem}{suffix}.png", scene.started, now, theme=theme, scrape_interval=SCRAPE)
        for one in files
    ])


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 40 <= seconds <= LONGEST:
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed: seconds from 40 to {LONGEST:g}")
    return seconds


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m dashboards.scene",
        description="Play an incident against real programs; pictures of the dashboards at its height, and after it.",
    )
    parser.add_argument("--seconds", type=_seconds, default=360.0, help="how long all of it takes (default: 360)")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="where to put them")
    parser.add_argument("--dashboards", type=Path, default=DASHBOARDS, metavar="DIR", help="other JSON files than ours")
    parser.add_argument("--theme", choices=("dark", "light"), default="dark")
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
    drawn: list[Drawn] = []
    with playing(given.seconds) as scene:
        print(f"Prometheus: {scene.prometheus}", flush=True)
        for share, suffix in ((None, ""), (1.0, "-after")):
            scene.to_the_height() if share is None else scene.advance(share)
            if given.pictures:
                drawn += _told(pictures(scene, given.pictures, suffix, files, given.theme))
        print(f"from={scene.started * 1000:.0f} broken={scene.broken * 1000:.0f} mended={scene.mended * 1000:.0f}")
        if given.keep:
            print("Ctrl-C ends it", flush=True)
            signal.pause()
    return 1 if any(one.problems for one in drawn) else 0


def _told(drawn: list[Drawn]) -> list[Drawn]:
    for one in drawn:
        print(one.out, flush=True)
        for text in one.problems:
            print(f"  error: {text}", file=sys.stderr)
    return drawn


if __name__ == "__main__":
    sys.exit(main())
