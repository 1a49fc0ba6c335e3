"""The dashboards' JSON as TypeScript that Grafana's types judge, and what else Grafana's packages know."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dashboards.render import RENDERER, install

Json = dict[str, Any]
# What the data source reads of a target; it has no types among Grafana's packages.
TARGET_KEYS = {
    "datasource", "editorMode", "exemplar", "expr", "format", "hide", "instant", "interval", "intervalFactor",
    "legendFormat", "range", "refId",
}
# The same of Tempo's.
TRACE_KEYS = {"datasource", "filters", "limit", "query", "queryType", "refId", "spss", "tableType"}
# The types know plugins' configuration only; these panels have no types of their own.
UNTYPED = {"row", "alertlist"}
# Units that are built from what follows: https://grafana.com/docs/grafana/latest/panels-visualizations/configure-standard-options/
BUILT_UNITS = ("prefix:", "suffix:", "time:", "si:", "count:", "currency:", "bool:")


def facts(*trace_queries: str) -> dict[str, set[str]]:
    """Which units, transformations, matchers and calculations @grafana/data has, and what is no TraceQL."""
    install()
    command = ["node", "facts.mjs", *trace_queries]
    done = subprocess.run(command, cwd=RENDERER, capture_output=True, text=True, check=True)
    return {name: set(values) for name, values in json.loads(done.stdout).items()}


def panels(board: Json) -> Iterator[Json]:
    """All of them, those in rows too."""
    for panel in board["panels"]:
        yield panel
        yield from panel.get("panels", [])


def typescript(boards: Mapping[str, Json]) -> str:
    """A module that has no errors if the boards say only what Grafana's types know."""
    lines = [f"import type {{ Board, Panels, V2 }} from {json.dumps(str(RENDERER / 'src' / 'schema'))};"]
    for number, (name, board) in enumerate(boards.items()):
        lines.append(f"// {name}")
        if "spec" in board:
            lines.append(f"export const b{number}: V2 = {json.dumps(board['spec'])};")
            continue
        lines.append(f"export const b{number}: Board = {json.dumps(board)};")
        for panel in panels(board):
            lines.extend(_panel(number, panel))
    return "\n".join(lines) + "\n"


def _panel(number: int, panel: Json) -> Iterator[str]:
    kind = panel["type"]
    if kind in UNTYPED:
        return
    at = f"b{number}_p{panel['id']}"
    yield f"// {panel.get('title')}"
    yield f"export const {at}_options: Panels[{kind!r}]['options'] = {json.dumps(panel.get('options', {}))};"
    config = panel.get("fieldConfig", {})
    said = [config.get("defaults", {}), *map(_override, config.get("overrides", []))]
    for which, one in enumerate(said):
        yield f"export const {at}_field{which}: Panels[{kind!r}]['fieldConfig'] = {json.dumps(one)};"


def _override(rule: Json) -> Json:
    """What an override sets, as the configuration that it makes."""
    made: Json = {}
    for one in rule["properties"]:
        inner = made
        *path, last = one["id"].split(".")
        for name in path:
            inner = inner.setdefault(name, {})
        inner[last] = one.get("value")
    return made


def compiled(project: Path) -> str:
    """What the TypeScript compiler says of a folder with a tsconfig.json; nothing, if all is well."""
    install()
    command = [str(RENDERER / "node_modules" / ".bin" / "tsc"), "--pretty", "false", "--project", str(project)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=project)
    return done.stdout + done.stderr


def complaints(boards: Mapping[str, Json], folder: Path) -> list[str]:
    """What the compiler says, with the name of the panel."""
    source = folder / "boards.ts"
    source.write_text(typescript(boards))
    options = {
        "target": "es2022", "module": "esnext", "moduleResolution": "bundler", "strict": True, "skipLibCheck": True,
        "noEmit": True, "types": [],
    }
    (folder / "tsconfig.json").write_text(json.dumps({"compilerOptions": options, "files": ["boards.ts"]}))
    said = compiled(folder).splitlines()
    lines = source.read_text().splitlines()
    found = []
    for line in said:
        place = line.partition("boards.ts(")[2].partition(",")[0]
        titles = [text for text in lines[: int(place)] if text.startswith("// ")] if place.isdigit() else []
        found.append(f"{titles[-1].removeprefix('// ') if titles else ''}: {line}")
    return found


def texts_at(value: Any, key: str) -> Iterator[str]:
    """Every text under this key, wherever it is; what overrides set, too."""
    if isinstance(value, dict):
        if value.get("id") == key and isinstance(value.get("value"), str):
            yield value["value"]
        for name, inner in value.items():
            if name == key and isinstance(inner, str):
                yield inner
            yield from texts_at(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from texts_at(inner, key)
