"""The dashboards during an incident, drawn: nothing fails, and what must have data has some."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from alerts_support import needs
from dashboards.render import Picture, chromium, render
from dashboards.scene import Scene, playing
from dashboards.scene.__main__ import DASHBOARDS, SCRAPE, pictures

pytestmark = [
    needs("prometheus", "alertmanager", "node", "npm", *(() if chromium() else ("chromium",))),
    # All wait for the same packages, which are installed once; and one incident at a time is enough.
    pytest.mark.xdist_group("dashboards"),
]
SECONDS = 40.0
FILES = sorted(DASHBOARDS.glob("*.json"))
# In so short a scene nobody need have been paged, held back by a limit, or have fallen back; nothing is wrong with us.
MAY_BE_EMPTY = {
    "annotation Pages", "Held back by the provider", "Fallbacks", "How calls end", "Calls failing, by model",
    "What broke in calls", "Duration of calls", "Open and stalled calls", "Retries of calls", "Faults of streamvitals",
    "Hints", "Not observed", "Error budget left", "Error budget burnt",
}
STAT: dict[str, Any] = {"type": "stat", "gridPos": {"x": 0, "y": 0, "w": 6, "h": 4}}
UP = {"refId": "A", "expr": "sum(up)"}


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with playing(SECONDS) as one:
        one.to_the_height()
        yield one


def test_every_dashboard_is_drawn(scene: Scene, tmp_path: Path) -> None:
    drawn = render(scene.prometheus, pictures(scene, scene.height, FILES, tmp_path))
    assert [(one.out.name, one.problems) for one in drawn] == [(f"{path.stem}.png", []) for path in FILES]
    for one in drawn:
        data = one.out.read_bytes()
        width, height = struct.unpack(">II", data[16:24])
        assert data.startswith(b"\x89PNG")
        assert width == 1600
        assert height > 800
    # There is no "before" to compare with.
    asked = [query for one in drawn for query in one.queries if " offset " not in query["expr"]]
    assert {query["title"] for query in asked if not query["series"]} <= MAY_BE_EMPTY
    assert len({query["title"] for query in asked}) > 40


def test_what_cannot_be_drawn_is_told(scene: Scene, tmp_path: Path) -> None:
    wrong = {
        "type": {**STAT, "type": "geomap"},
        "unit": {**STAT, "fieldConfig": {"defaults": {"unit": "parsecs"}}},
        "transformation": {**STAT, "targets": [UP], "transformations": [{"id": "mingle", "options": {}}]},
        "query": {**STAT, "targets": [{**UP, "expr": "sum(up"}]},
        "override": {**STAT, "fieldConfig": {"defaults": {}, "overrides": [
            {"matcher": {"id": "byName", "options": "A"}, "properties": [{"id": "colour", "value": "red"}]},
        ]}},
        "repeat": {**STAT, "repeat": "job"},
    }
    panels = [{**panel, "id": number, "title": title} for number, (title, panel) in enumerate(wrong.items())]
    boards = {"bad": panels, "good": [{**STAT, "id": 1, "title": "fine", "targets": [UP]}]}
    asked = []
    for name, shown in boards.items():
        (tmp_path / f"{name}.json").write_text(json.dumps({"title": name, "uid": name, "panels": shown}))
        asked.append(Picture(
            tmp_path / f"{name}.json", tmp_path / f"{name}.png", scene.started, time.time(), scrape_interval=SCRAPE
        ))
    bad, good = render(scene.prometheus, asked)
    assert {title for title in wrong if any(f'"{title}"' in problem for problem in bad.problems)} == set(wrong)
    assert good.problems == []
    assert [one["series"] for one in good.queries] == [1]
