"""deploy/compose.yaml without Docker: what its services would be started with, here, by the programs themselves.

Each service gets a folder as its root, in which the files that it mounts are; addresses of other services become
ports of this machine. Nothing else of a command, an environment or a file is changed.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from run_support import environment, free_port

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
# Two names for the same machine: what has two names there has two here.
HOSTS = {"own": "localhost"}
Json = dict[str, Any]


def read(name: str) -> Json:
    """A YAML file of deploy/."""
    return dict(yaml.safe_load((DEPLOY / name).read_text()))


class Stack:
    """``folder`` is where the services' roots and the volumes are; ``bin`` has the image's programs."""

    def __init__(self, folder: Path, bin: Path) -> None:
        self.folder = folder
        self.services: Json = read("compose.yaml")["services"]
        self._bin = bin
        self._ports: dict[tuple[str, str], int] = {}
        self._names = {name: name for name in self.services}
        for name, service in self.services.items():
            for network in service.get("networks", {}).values():
                self._names |= dict.fromkeys(network["aliases"], name)

    def port(self, service: str, port: int | str) -> int:
        """What stands for a port of a service here. Who shares another's network has its ports."""
        shared = self.services[service].get("network_mode", "").removeprefix("service:")
        return self._ports.setdefault((shared or service, str(port)), free_port())

    def use(self, service: str, port: int, here: int) -> None:
        """Something else of this machine stands for it."""
        self._ports[service, str(port)] = here

    def here(self, text: str) -> str:
        """A text with its addresses replaced."""
        names = "|".join(map(re.escape, self._names))
        return re.sub(
            rf"(?<![\w.-])({names}):(\d+)\b",
            lambda m: f"{HOSTS.get(m[1], '127.0.0.1')}:{self.port(self._names[m[1]], m[2])}", text,
        )

    def root(self, service: str) -> Path:
        """The folder in which everything is that the service mounts."""
        made = self.folder / "roots" / service
        for volume in self.services[service].get("volumes", ()):
            source, target, *_ = volume.split(":")
            inside = made / target.lstrip("/")
            inside.parent.mkdir(parents=True, exist_ok=True)
            if source.startswith("./"):
                inside.write_text(self.here((DEPLOY / source).read_text()))
            elif not inside.exists():
                named = self.folder / "volumes" / source
                named.mkdir(parents=True, exist_ok=True)
                inside.symlink_to(named)
        return made

    def command(self, service: str) -> list[str]:
        """Its command, here."""
        root = self.root(service)
        targets = [v.split(":")[1] for v in self.services[service].get("volumes", ())]
        words = [str(word) for word in self.services[service]["command"]]
        for at, word in enumerate(words):
            if words[at - 1] == "--port":
                words[at] = str(self.port(service, word))
            elif words[at - 1] == "--host":
                words[at] = "127.0.0.1"
            else:
                words[at] = self.here(word)
                for target in targets:
                    words[at] = re.sub(rf"(?<![\w/]){re.escape(target)}\b", str(root) + target, words[at])
                if "build" not in self.services[service]:
                    # What its image has besides: --storage.path=/there
                    words[at] = re.sub(rf"=(?=/)(?!{re.escape(str(root))})", f"={root}", words[at])
        return words

    def environment(self, service: str) -> dict[str, str]:
        given: Mapping[str, Any] = self.services[service].get("environment", {})
        mine = {name: self.here(str(value)) for name, value in given.items()}
        if "PORT" in mine:
            mine["PORT"] = str(self.port(service, mine["PORT"]))
        plain = environment()
        return plain | {"PATH": f"{self._bin}:{plain['PATH']}", "STREAMVITALS_LINGER_SECONDS": "0"} | mine

    @contextmanager
    def running(self, service: str, *more: str, program: str = "") -> Iterator[subprocess.Popen[bytes]]:
        """The service, with its output in a file ``logs/<service>``. An image's own ``program`` is named."""
        log = self.log(service)
        log.parent.mkdir(exist_ok=True)
        command = [*([program] if program else []), *self.command(service), *more]
        command[0] = shutil.which(command[0], path=f"{self._bin}:{environment()['PATH']}") or command[0]
        with open(log, "wb") as file:
            process = subprocess.Popen(
                command, cwd=DEPLOY, env=self.environment(service), stdout=file, stderr=subprocess.STDOUT
            )
            try:
                yield process
            finally:
                process.terminate()
                process.wait()

    def log(self, service: str) -> Path:
        return self.folder / "logs" / service
