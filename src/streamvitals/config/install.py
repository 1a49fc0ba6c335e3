"""How to install what is missing: commands for how streamvitals is installed here, a clone as well as an index.

Standard library only: an app's process may say these, too.
"""

from __future__ import annotations

import os
import re
import sys
from functools import cache
from urllib.parse import unquote, urlsplit

from .._version import __version__

NAME = "streamvitals"
# What each extra brings. An app's environment needs these, and not streamvitals itself.
EXTRAS = {
    "otlp": ("opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http"),
    "http-spans": ("opentelemetry-instrumentation-httpx",),
    "auth": ("bcrypt", "pyyaml"),
    "top": ("rich",),
    "declarative": (
        "opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http", "opentelemetry-configuration",
    ),
}


def there(extra: str) -> str:
    """The command for the app's environment, which need not have streamvitals."""
    return f"pip install {' '.join(EXTRAS[extra])} there"


@cache
def here(extra: str = "") -> str:
    """The command for the environment that streamvitals is in; without an extra, to install it anew."""
    if extra and os.path.exists(os.path.join(sys.prefix, "pipx_metadata.json")):
        return f"pipx inject {NAME} {' '.join(EXTRAS[extra])}"
    anew = "" if extra else "--force-reinstall "
    try:
        what = _source(extra)
    except Exception:  # noqa: BLE001  metadata may be anybody's, and this is a hint
        what = ""
    if not what:
        what = " ".join(EXTRAS[extra]) if extra else "<where streamvitals came from>"
    return f"{_installer()} {anew}{what}"


def _installer() -> str:
    """The installer of this Python's environment; another's would not help."""
    # Imported where they are needed: an app's process that says nothing needs none of them.
    import shlex
    import shutil
    from importlib.util import find_spec

    beside = os.path.join(os.path.dirname(sys.executable), "pip")
    if shutil.which("pip") == beside:
        return "pip install"
    python = shlex.quote(sys.executable)
    return f"{python} -m pip install" if find_spec("pip") is not None else f"uv pip install --python {python}"


def _source(extra: str) -> str:
    """What the installer has to be given, in a shell's words; "" where that is not known."""
    import json
    import shlex
    from importlib.metadata import distributions

    # There may be others of this name: `run` puts one into the path of an app, with nothing but an entry point.
    found = [dist for dist in distributions(name=NAME) if dist.version == __version__]
    if not found:
        return ""
    name = f"{NAME}[{extra}]" if extra else NAME
    direct = json.loads(found[0].read_text("direct_url.json") or "null")
    if direct is None:
        return shlex.quote(name)  # it came from an index
    url = re.sub(r"//[^/@]*@", "//", str(direct["url"]))
    if "vcs_info" in direct:
        vcs = direct["vcs_info"]
        return shlex.quote(f"{name} @ {vcs['vcs']}+{url}@{vcs.get('requested_revision') or vcs['commit_id']}")
    if not url.startswith("file:"):
        return shlex.quote(f"{name} @ {url}")
    path = unquote(urlsplit(url).path)
    if not os.path.exists(path):  # as after the build of an image
        return ""
    editable = "-e " if direct.get("dir_info", {}).get("editable") else ""
    return editable + shlex.quote(f"{path}[{extra}]" if extra else path)
