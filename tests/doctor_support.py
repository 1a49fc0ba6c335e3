"""Runs `streamvitals doctor` as a user does, and reads its findings."""

from __future__ import annotations

import json
import subprocess

from run_support import RUN, environment
from streamvitals.doctor.check import FAIL

KEY = "sk-this-must-never-show"


class Findings:
    """What doctor said."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        self.status = done.returncode
        self.text = done.stdout + done.stderr
        self.checks: list[dict[str, str]] = json.loads(done.stdout)
        assert KEY not in self.text

    def find(self, part: str) -> dict[str, str]:
        found = [check for check in self.checks if part in check["what"]]
        assert len(found) == 1, (part, self.checks)
        return found[0]

    @property
    def bad(self) -> list[str]:
        return [check["what"] for check in self.checks if check["status"] == FAIL]


def doctor(*arguments: str, **more: str) -> Findings:
    env = environment(OPENAI_API_KEY=more.pop("OPENAI_API_KEY", KEY), **more)
    done = subprocess.run(
        [RUN[0], "doctor", "--json", *arguments], env=env, capture_output=True, text=True, check=False
    )
    return Findings(done)
