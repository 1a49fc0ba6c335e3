"""Write the dashboards' files, or say which are out of step: python -m dashboards [--check]."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from .board import finish
from .incident import incident
from .latency import latency
from .limits import limits
from .lint import faults
from .streams import streams

FOLDER = Path(__file__).parent
README = "README.md"
BEGIN, END = "<!-- panels -->", "<!-- /panels -->"
BOARDS = {"streams.json": streams, "incident.json": incident, "latency.json": latency, "limits.json": limits}


def files() -> dict[str, str]:
    """Make the text of every file. Raises click.ClickException where a dashboard has a fault."""
    texts: dict[str, str] = {}
    for name, make in BOARDS.items():
        model = finish(json.loads(JSONEncoder(sort_keys=True).encode(make().build())))
        if wrong := list(faults(model)):
            raise click.ClickException("\n".join(f"{name}: {fault}" for fault in wrong))
        texts[name] = json.dumps(model, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    return texts | {README: _readme({name: json.loads(text) for name, text in texts.items()})}


def _readme(models: Mapping[str, dict[str, Any]]) -> str:
    """Put the table of panels into README.md."""
    rows = ["| dashboard | panel | what it says |", "|---|---|---|"]
    for name, model in models.items():
        for panel in model["panels"]:
            if panel["type"] != "row":
                text = panel["description"].split("\n\n")[0]
                rows.append(f"| [{model['title']}]({name}) | {panel['title']} | {text} |")
    text = (FOLDER / README).read_text(encoding="utf-8")
    head, tail = text.split(BEGIN)[0], text.split(END)[1]
    return head + BEGIN + "\n" + "\n".join(rows) + "\n" + END + tail


@click.command()
@click.option("--check", is_flag=True, help="Change nothing; exit 1 if a file is not what the code makes.")
def main(check: bool) -> None:
    """Write the dashboards' files beside the code."""
    stale = {
        name: text for name, text in files().items()
        if not (FOLDER / name).exists() or (FOLDER / name).read_text(encoding="utf-8") != text
    }
    if check and stale:
        raise click.ClickException(f"not what the code makes: {', '.join(stale)}; python -m dashboards writes them")
    for name, text in stale.items():
        (FOLDER / name).write_text(text, encoding="utf-8")
        click.echo(FOLDER / name)


if __name__ == "__main__":
    main()
