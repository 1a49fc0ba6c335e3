"""Pythons that find our `sitecustomize`, and what they say of themselves."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from run_support import environment, python
from streamvitals.agent import private_directory
from streamvitals.agent.proc import Identity
from streamvitals.run.launch import INJECT

PRIVATE_MODULES = ["_streamvitals_importhook", "_streamvitals_registration"]
VIEW = """
import json, os, sys
print(json.dumps({
    "path": sys.path, "modules": sorted(sys.modules), "finders": [str(type(f)) for f in sys.meta_path],
    "hook": getattr(sys.modules.get("sitecustomize"), "MARK", None), "pid": os.getpid(),
}))
"""


def inside(directory: Path, *pythonpath: str | Path, **more: str) -> dict[str, str]:
    path = os.pathsep.join([INJECT, *map(str, pythonpath)])
    return environment(PYTHONPATH=path, STREAMVITALS_DIR=str(directory), **more)


def view(command: list[str], env: dict[str, str], **options: Any) -> dict[str, Any]:
    done = subprocess.run(command, env=env, capture_output=True, check=True, text=True, **options)
    assert done.stderr == ""
    return dict(json.loads(done.stdout.splitlines()[-1]))


def registrations(directory: Path) -> dict[Identity, private_directory.Registration]:
    return private_directory.registered(str(directory))


def old_interpreters() -> list[str]:
    names = ("python2.7", "python3.6", "python3.7", "python3.8", "python3.9")
    found = []
    for name in names:
        roots = Path(sys.base_prefix).parent.glob(f"{name.removeprefix('python')}.*/bin/{name}")
        for path in [shutil.which(name), *map(str, roots)]:
            if path and subprocess.run([path, "-c", ""], capture_output=True, check=False).returncode == 0:
                found.append(path)
                break
    return found


class Chain:
    """The users' own `sitecustomize`, and how the interpreter takes it with and without ours in front."""

    def __init__(self, tmp_path: Path, text: str) -> None:
        self.folder = tmp_path / "theirs"
        self.folder.mkdir()
        (self.folder / "sitecustomize.py").write_text(text)

    def run(self, env: dict[str, str]) -> tuple[int, str, str]:
        done = subprocess.run(python("-c", VIEW), env=env, capture_output=True, check=False, text=True)
        return done.returncode, done.stdout, done.stderr
