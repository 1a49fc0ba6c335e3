"""The command `streamvitals ps`."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from .agents import Agent

_HEAD = ("URL", "PID", "APP", "AGENT", "USER", "STATE")
_MOST_GONE = 5  # rows of them that are shown


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for a program to read.")
def ps(as_json: bool) -> None:
    """List the agents on this machine: where each serves /metrics, and what it watches.

    Also what agents that were killed have left, for a day. Only agents of this user are asked how they are.
    """
    from ..run import checks  # not before it is needed: all other commands would wait for it
    from .agents import GONE, find

    try:
        checks.check_machine()
        found = find(os.environ)
    except OSError as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(json.dumps([agent._asdict() for agent in found], indent=2))
        return
    running = [agent for agent in found if agent.state != GONE]
    for line in _table(running) if running else ():
        click.echo(line)
    gone = [agent for agent in found if agent.state == GONE]
    for agent in gone[:_MOST_GONE]:
        click.echo(f"an agent is gone; what it had counted: streamvitals agent --dir {_shown(agent.directory)}")
    if gone[_MOST_GONE:]:
        click.echo(f"and {len(gone) - _MOST_GONE} more, see --json")
    if not running:
        click.echo(
            "no agent runs here; `streamvitals run -- COMMAND` starts one. Containers have their own: "
            "run this within them", err=True,
        )


def _table(found: list[Agent]) -> list[str]:
    rows = [
        _HEAD,
        *(
            (
                _shown(agent.url), str(agent.pid or "-"), _shown(agent.app), str(agent.agent_pid or "-"),
                _shown(agent.user), agent.state,
            )
            for agent in found
        ),
    ]
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _shown(text: str) -> str:
    # Another user's process may say anything of itself.
    return "".join(c if c.isprintable() else "?" for c in text[:100]) or "-"
