"""The one way through the house: which wing may import which, and what runs inside an app imports nothing else."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import streamvitals

PACKAGE = Path(streamvitals.__file__).parent
MODULES = {
    ".".join(("streamvitals", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
_WORDS = ("streamvitals.names", "streamvitals.outcome", "streamvitals._version")
_SINKS = ("streamvitals.stream.record", "streamvitals.stream.sink")  # what is recorded, and how it is heard of
# What each room may import of the others. The longest entry that a name begins with is its room; "" holds the public
# doors, which are imported by nobody.
WINGS: dict[str, tuple[str, ...]] = {
    "streamvitals._version": (),
    "streamvitals.outcome": (),
    "streamvitals.names": ("streamvitals.outcome",),
    "streamvitals.config": ("streamvitals.names", "streamvitals.system"),
    "streamvitals.system": ("streamvitals.system",),
    "streamvitals.stream": _WORDS,
    "streamvitals.sdk": (*_WORDS, "streamvitals.stream"),
    "streamvitals.retries": (*_WORDS, "streamvitals.stream"),
    "streamvitals.store": (*_WORDS, *_SINKS, "streamvitals.startup.registration"),
    "streamvitals.otel": (*_WORDS, *_SINKS, "streamvitals.store", "streamvitals.system"),
    "streamvitals.sinks": (*_WORDS, *_SINKS, "streamvitals.store", "streamvitals.system"),
    "streamvitals.process": (
        *_WORDS, "streamvitals.config", "streamvitals.stream", "streamvitals.sdk", "streamvitals.retries",
        "streamvitals.store", "streamvitals.otel", "streamvitals.sinks", "streamvitals.system",
        "streamvitals.startup.importhook",
    ),
    # Loaded by path and under private names at the start of every Python: they know nothing of the package.
    "streamvitals.startup": (),
    "streamvitals.startup.inject": ("streamvitals.process.lifecycle",),
    "streamvitals.run": (
        "streamvitals.config", "streamvitals.system", "streamvitals.startup.registration", "streamvitals.cli",
        "streamvitals.agent.directory", "streamvitals.agent.proc", "streamvitals.sdk.versions",
    ),
    "streamvitals.agent": (
        *_WORDS, "streamvitals.config", "streamvitals.system", "streamvitals.startup.registration",
        "streamvitals.stream.record", "streamvitals.store", "streamvitals.sinks", "streamvitals.otel",
        "streamvitals.run",
    ),
    "streamvitals.agent.__main__": ("streamvitals",),  # a process begins here, as it does in run.entry
    "streamvitals.doctor": (
        "streamvitals.config", "streamvitals.system", "streamvitals.agent", "streamvitals.run",
        "streamvitals.sdk.versions",
    ),
    "streamvitals.alerts": ("streamvitals.names", "streamvitals.outcome"),
    "streamvitals.export": ("streamvitals.names", "streamvitals.config", "streamvitals.alerts"),
    "streamvitals.faults": (),
}
SET_UP = "streamvitals"
# Runs inside the apps: there only the standard library is sure to be there.
ENTRY_POINTS = (
    "streamvitals", "streamvitals.process.lifecycle", "streamvitals.startup.inject.sitecustomize",
    "streamvitals.testing",
)
OTEL_ONLY = "streamvitals.otel."
# Standard library only: how long to wait for collectors, and how to ask for a trace where there is one.
WITHOUT_OTEL = ("streamvitals.otel.patience", "streamvitals.otel.trace_parent")
MAX_LINES = 500


def wing_of(module: str) -> str:
    found = [wing for wing in WINGS if module == wing or module.startswith(wing + ".")]
    return max(found, key=len, default=SET_UP)


@cache
def imports_of(module: str) -> tuple[tuple[str, bool], ...]:
    """Every module that this one imports, and whether it does so when it is itself imported."""
    tree = ast.parse(MODULES[module].read_text())
    return tuple(_imports(tree, module, top=True))


def _imports(node: ast.AST, module: str, top: bool) -> Iterator[tuple[str, bool]]:
    for child in ast.iter_child_nodes(node):
        inner = top and not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            inner = False
        if isinstance(child, ast.Import):
            yield from ((alias.name, top) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            yield from ((name, top) for name in _from(child, module))
        elif isinstance(child, ast.Call):
            name = _dynamic(child)
            if name:
                yield name, top
        yield from _imports(child, module, inner)


def _from(node: ast.ImportFrom, module: str) -> Iterator[str]:
    base = node.module or ""
    if node.level:
        package = module.split(".") if MODULES[module].name == "__init__.py" else module.split(".")[:-1]
        base = ".".join([*package[: len(package) - node.level + 1], *filter(None, [base])])
    for alias in node.names:
        full = f"{base}.{alias.name}"
        yield full if full in MODULES else base


def _dynamic(node: ast.Call) -> str:
    """The name in importlib.import_module("...") or __import__("..."), also where it is not a plain string."""
    called = ast.unparse(node.func)
    if called.endswith("import_module") or called == "__import__":
        argument = node.args[0]
        return str(argument.value) if isinstance(argument, ast.Constant) else ""
    return ""


def is_ours(module: str) -> bool:
    return module == "streamvitals" or module.startswith("streamvitals.")


def is_standard(module: str) -> bool:
    return module.split(".")[0] in sys.stdlib_module_names or module == "__future__"


@pytest.mark.parametrize("module", [m for m in MODULES if wing_of(m) != SET_UP])
def test_imports_point_down_the_arrow_only(module: str) -> None:
    wing = wing_of(module)
    for imported, _ in imports_of(module):
        if is_ours(imported):
            allowed = any(imported == name or imported.startswith(name + ".") for name in (wing, *WINGS[wing]))
            assert allowed, f"{module} imports {imported}"


@pytest.mark.parametrize("module", MODULES)
def test_only_the_sdks_wing_imports_openai(module: str) -> None:
    """And the script that the doctor runs as an application."""
    if wing_of(module) == "streamvitals.sdk" or module.startswith("streamvitals.doctor.probe"):
        return
    for imported, _ in imports_of(module):
        assert imported.split(".")[0] != "openai", module


PURE = ("streamvitals.stream", "streamvitals.names", "streamvitals.outcome")


@pytest.mark.parametrize("module", [m for m in MODULES if wing_of(m) in PURE])
def test_the_pure_wing_imports_the_standard_library_and_does_no_io(module: str) -> None:
    for imported, _ in imports_of(module):
        assert is_ours(imported) or is_standard(imported), f"{module} imports {imported}"
        assert imported.split(".")[0] not in ("socket", "asyncio", "threading", "time", "pathlib", "io"), module


def test_nothing_imports_the_set_up_but_the_set_up() -> None:
    """The public doors; but the command may lead to the command line."""
    for module in MODULES:
        if wing_of(module) == SET_UP or module in ("streamvitals.run.entry", "streamvitals.agent.__main__"):
            continue
        for imported, _ in imports_of(module):
            assert not is_ours(imported) or wing_of(imported) != SET_UP, f"{module} imports {imported}"


def loaded_with(*entries: str) -> set[str]:
    """All modules of ours that are loaded when these are, by what they import at once, packages included."""
    found: set[str] = set()
    waiting = list(entries)
    while waiting:
        module = waiting.pop()
        if module in found or module not in MODULES:
            continue
        found.add(module)
        waiting.extend(name for name, at_once in imports_of(module) if at_once and is_ours(name))
        waiting.append(module.rpartition(".")[0])
    return found


def test_what_runs_inside_an_app_imports_the_standard_library_only() -> None:
    inside = loaded_with(*ENTRY_POINTS)
    assert {"streamvitals.store.store", "streamvitals.sdk.patch", "streamvitals.stream.observation"} <= inside
    for module in sorted(inside):
        for imported, at_once in imports_of(module):
            if at_once:
                assert is_ours(imported) or is_standard(imported), f"{module} imports {imported}"
            elif is_ours(imported):
                continue  # what a function imports when it is asked to, it is asked for
            else:
                first = imported.split(".")[0]
                allowed = is_standard(imported) or first in ("openai", "opentelemetry", "sitecustomize")
                assert allowed or module == "streamvitals.process.instrument", f"{module} imports {imported}"


def test_opentelemetry_comes_in_only_where_it_is_asked_for() -> None:
    for module in loaded_with(*ENTRY_POINTS):
        assert not module.startswith(OTEL_ONLY) or module in WITHOUT_OTEL, module


def test_it_runs_in_an_environment_with_nothing_installed() -> None:
    """A Python without site-packages loads the whole runtime, and nothing that is not its own."""
    code = (
        "import sys\n"
        f"sys.path.insert(0, {str(PACKAGE.parent)!r})\n"
        "before = set(sys.modules)\n"
        "import streamvitals.process.lifecycle\n"
        "from streamvitals.config import Config\n"
        "streamvitals.process.lifecycle.start(Config()).patch_on_import()\n"
        "names = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(sorted(names - set(sys.stdlib_module_names) - {'streamvitals'}))\n"
        "print('asyncio' in sys.modules, 'openai' in sys.modules)\n"
    )
    told = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.splitlines() == ["[]", "False False"]


def test_what_every_python_loads_at_its_start_costs_next_to_nothing() -> None:
    """Nothing but what each interpreter has loaded anyway."""
    for module in (
        "streamvitals.startup", "streamvitals.startup.importhook", "streamvitals.startup.registration",
        "streamvitals.startup.inject.sitecustomize",
    ):
        at_once = {name for name, at_once in imports_of(module) if at_once}
        assert at_once <= {"os", "sys", "_thread", "__future__", "sitecustomize"}, module


ROOT = Path(__file__).resolve().parents[1]
OTHERS = [path for folder in ("tests", "demo", "bench") for path in (ROOT / folder).rglob("*.py")]
FILES = sorted([*MODULES.values(), *OTHERS])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_file_is_too_long(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MAX_LINES
