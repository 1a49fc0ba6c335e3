"""Finds out whether this is a container, whose localhost nothing outside of it reaches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from pathlib import Path

from ..config import Config
from .check import WARN, Check

# Files that engines make, and words that stand in the paths of their control groups.
_FILES = {".dockerenv": "Docker", "run/.containerenv": "Podman"}
_GROUPS = {"kubepods": "Kubernetes", "docker": "Docker", "libpod": "Podman", "containerd": "containerd", "lxc": "LXC"}


def engine(env: Mapping[str, str], root: Path = Path("/")) -> str:
    """What runs the container that this process is in, as far as that shows; "" where nothing shows one."""
    if env.get("KUBERNETES_SERVICE_HOST"):
        return "Kubernetes"
    if env.get("container"):  # of systemd-nspawn, Podman and LXC
        return env["container"][:40]
    for name, made_by in _FILES.items():
        if (root / name).exists():
            return made_by
    try:
        groups = (root / "proc/1/cgroup").read_text(errors="replace")
    except OSError:
        return ""
    return next((made_by for word, made_by in _GROUPS.items() if word in groups), "")


def check_host(config: Config, env: Mapping[str, str], root: Path = Path("/")) -> Iterator[Check]:
    """Warn of an address that only this container reaches."""
    name = engine(env, root)
    if name and _is_loopback(config.host):
        what = f"this is a container ({name}), and /metrics is served on its {config.host}: nothing outside reaches it"
        fix = "set STREAMVITALS_HOST=0.0.0.0 and publish the port; a sidecar that shares the network needs neither"
        yield Check(WARN, what, fix)


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
