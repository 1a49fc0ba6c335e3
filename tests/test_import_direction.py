"""Which room may import which, and that what runs inside an app imports the standard library only."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

import streamvitals

PACKAGE_NAME = "streamvitals"
PACKAGE = Path(streamvitals.__file__).parent
MODULES = {
    ".".join(("streamvitals", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
_SINKS = ("streamvitals.stream.record", "streamvitals.stream.sink")  # what is recorded, and how it is heard of
# What each room may import of the others, and does. The longest entry that a module's name begins with is its room.
ROOMS: dict[str, tuple[str, ...]] = {
    "streamvitals._version": (),
    "streamvitals.outcome": (),
    "streamvitals.names": ("streamvitals.outcome",),
    "streamvitals.palette": ("streamvitals.outcome",),
    "streamvitals.conventions": ("streamvitals.names",),
    "streamvitals.config": (
        "streamvitals._version", "streamvitals.conventions", "streamvitals.names", "streamvitals.system",
    ),
    "streamvitals.system": (),
    "streamvitals.stream": ("streamvitals.conventions", "streamvitals.names", "streamvitals.outcome"),
    "streamvitals.sdk": ("streamvitals.names", "streamvitals.stream"),
    "streamvitals.retries": ("streamvitals.names", "streamvitals.stream"),
    "streamvitals.store": (
        "streamvitals.conventions", "streamvitals.names", "streamvitals.outcome", *_SINKS,
        "streamvitals.startup.registration",
    ),
    "streamvitals.otel": (
        "streamvitals._version", "streamvitals.conventions", "streamvitals.names", *_SINKS, "streamvitals.store",
        "streamvitals.stream.tracebacks", "streamvitals.system",
    ),
    "streamvitals.sinks": (
        "streamvitals.names", "streamvitals.outcome", *_SINKS,
        "streamvitals.stream.tracebacks", "streamvitals.store", "streamvitals.system",
        "streamvitals.stream.tracebacks",
    ),
    "streamvitals.process": (
        "streamvitals._version", "streamvitals.config", "streamvitals.outcome", "streamvitals.stream",
        "streamvitals.sdk", "streamvitals.retries", "streamvitals.store", "streamvitals.otel", "streamvitals.sinks",
        "streamvitals.system", "streamvitals.startup.importhook",
    ),
    "streamvitals.live": (
        "streamvitals.names", "streamvitals.palette", "streamvitals.stream.record", "streamvitals.store",
        "streamvitals.alerts.objectives", "streamvitals.incidents",
    ),
    # Loaded by path and under private names at the start of every Python: they know nothing of the package.
    "streamvitals.startup": (),
    "streamvitals.startup.inject": ("streamvitals.process.lifecycle",),
    "streamvitals.run": (
        "streamvitals.config", "streamvitals.system", "streamvitals.startup.registration", "streamvitals.cli",
        "streamvitals.agent.private_directory", "streamvitals.agent.proc", "streamvitals.agent.protocol",
        "streamvitals.agent.web_config",
        "streamvitals.sdk.versions",
    ),
    "streamvitals.incidents": (
        "streamvitals.names", "streamvitals.outcome", "streamvitals.store.incident_record",
    ),
    "streamvitals.agent": (
        "streamvitals._version", "streamvitals.names", "streamvitals.outcome", "streamvitals.config",
        "streamvitals.system", "streamvitals.startup.registration", "streamvitals.stream.record", "streamvitals.store",
        "streamvitals.sinks", "streamvitals.otel", "streamvitals.incidents",
        "streamvitals.live",
    ),
    # A process begins here, as it does in run.entry.
    "streamvitals.agent.__main__": ("streamvitals", "streamvitals.agent", "streamvitals.config"),
    "streamvitals.doctor": (
        "streamvitals.config", "streamvitals.conventions", "streamvitals.names", "streamvitals.system",
        "streamvitals.agent", "streamvitals.incidents", "streamvitals.run", "streamvitals.sdk.versions",
        "streamvitals.startup.registration",
    ),
    "streamvitals.alerts": ("streamvitals.names", "streamvitals.outcome"),
    "streamvitals.export": ("streamvitals.names", "streamvitals.config", "streamvitals.alerts"),
    "streamvitals.report": ("streamvitals.outcome",),
    "streamvitals.faults": (),
    "streamvitals.top": (
        "streamvitals.agent.asking", "streamvitals.agent.client", "streamvitals.agent.private_directory",
        "streamvitals.config",
    ),
}
# Where people and other programs come in; imported by nobody. Each is a module, and no room.
DOORS: dict[str, tuple[str, ...]] = {
    "streamvitals": (
        "streamvitals._version", "streamvitals.outcome", "streamvitals.process.instrument",
        "streamvitals.stream.code_labels", "streamvitals.stream.record",
    ),
    "streamvitals.page": (
        "streamvitals.agent.dead_incidents", "streamvitals.incidents.page", "streamvitals.live.answers",
        "streamvitals.process.lifecycle", "streamvitals.process.runtime", "streamvitals.store.incident_record",
    ),
    "streamvitals.testing": ("streamvitals.config", "streamvitals.process.lifecycle", *_SINKS),
    "streamvitals.pytest_plugin": ("streamvitals.faults", "streamvitals.testing"),
    "streamvitals.instrumentor": ("streamvitals", "streamvitals.config", "streamvitals.process.instrument"),
    "streamvitals.cli": (
        "streamvitals._version", "streamvitals.agent.serve", "streamvitals.doctor", "streamvitals.export",
        "streamvitals.faults", "streamvitals.report", "streamvitals.run",
        "streamvitals.top",
    ),
    "streamvitals.__main__": ("streamvitals.run.entry",),
}
# Runs inside the apps: there only the standard library is sure to be there.
ENTRY_POINTS = (
    "streamvitals", "streamvitals.process.lifecycle", "streamvitals.startup.inject.sitecustomize",
    "streamvitals.testing", "streamvitals.page",
)
OTEL_ONLY = "streamvitals.otel."
# Standard library only: how long to wait for collectors, and how to ask for a trace where there is one.
WITHOUT_OTEL = ("streamvitals.otel.patience", "streamvitals.otel.trace_parent")
MAX_LINES = 500


def room_of(module: str) -> str:
    """The room that a module lies in; a door is its own; "" where it has no row."""
    if module in DOORS:
        return module
    return max((room for room in ROOMS if lies_in(module, room)), key=len, default="")


def lies_in(module: str, place: str) -> bool:
    """Whether a module is in a place: a module or a folder. The package itself is a module here, and holds none."""
    return module == place or (place != PACKAGE_NAME and module.startswith(place + "."))


@cache
def imports_of(module: str, typing: bool = False) -> tuple[tuple[str, bool], ...]:
    """Every module that this one imports, and whether it does so when it is itself imported.

    ``typing``: what only a type checker imports counts as imported at once.
    """
    tree = ast.parse(MODULES[module].read_text())
    return tuple(_imports(tree, module, True, typing))


def _imports(node: ast.AST, module: str, top: bool, typing: bool) -> Iterator[tuple[str, bool]]:
    for child in ast.iter_child_nodes(node):
        inner = top and not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        if not typing and isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            inner = False
        if isinstance(child, ast.Import):
            yield from ((alias.name, top) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            yield from ((name, top) for name in _from(child, module))
        elif isinstance(child, ast.Call):
            name = _dynamic(child)
            if name:
                yield name, top
        yield from _imports(child, module, inner, typing)


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
    return module == PACKAGE_NAME or module.startswith(f"{PACKAGE_NAME}.")


def is_standard(module: str) -> bool:
    return module.split(".")[0] in sys.stdlib_module_names or module == "__future__"


def test_every_module_has_a_row() -> None:
    assert [module for module in MODULES if not room_of(module)] == []
    assert [place for place in (*ROOMS, *DOORS) if not any(lies_in(module, place) for module in MODULES)] == []


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down_the_arrow_only(module: str) -> None:
    room = room_of(module)
    for imported, _ in imports_of(module):
        if is_ours(imported):
            allowed = (room, *{**ROOMS, **DOORS}[room])
            assert any(lies_in(imported, place) for place in allowed), f"{module} imports {imported}"


@pytest.mark.parametrize("room", [*ROOMS, *DOORS])
def test_no_row_allows_what_nobody_imports(room: str) -> None:
    imported = {name for module in MODULES if room_of(module) == room for name, _ in imports_of(module)}
    unused = {place for place in {**ROOMS, **DOORS}[room] if not any(lies_in(name, place) for name in imported)}
    assert unused == set()


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Where there is a circle none of its modules can be read, or loaded, without the others."""
    needs = {
        module: {name for name, at_once in imports_of(module, typing=True) if at_once and name in MODULES} - {module}
        for module in MODULES
    }
    reached = {module: _reached(needs, module) for module in MODULES}
    circles = {frozenset(m for m in reached[module] if module in reached[m]) for module in MODULES} - {frozenset()}
    assert [sorted(circle) for circle in circles] == []


def _reached(needs: Mapping[str, set[str]], start: str) -> set[str]:
    found: set[str] = set()
    waiting = [start]
    while waiting:
        new = needs[waiting.pop()] - found
        found |= new
        waiting.extend(new)
    return found


@pytest.mark.parametrize("module", MODULES)
def test_only_the_sdks_room_imports_openai(module: str) -> None:
    """And the script that the doctor runs as an application."""
    if room_of(module) == "streamvitals.sdk" or module.startswith("streamvitals.doctor.probe"):
        return
    for imported, _ in imports_of(module):
        assert imported.split(".")[0] != "openai", module


PURE = ("streamvitals.stream", "streamvitals.conventions", "streamvitals.names", "streamvitals.outcome")


@pytest.mark.parametrize("module", [m for m in MODULES if room_of(m) in PURE])
def test_the_pure_rooms_import_the_standard_library_and_do_no_io(module: str) -> None:
    for imported, _ in imports_of(module):
        assert is_ours(imported) or is_standard(imported), f"{module} imports {imported}"
        assert imported.split(".")[0] not in ("socket", "asyncio", "threading", "time", "pathlib", "io"), module


def test_nothing_imports_a_door_but_a_door() -> None:
    """But where a process begins the command may lead to the command line, and the agent to its package."""
    for module in MODULES:
        if module not in (*DOORS, "streamvitals.run.entry", "streamvitals.agent.__main__"):
            assert not {name for name, _ in imports_of(module)} & DOORS.keys(), module


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
                allowed = allowed or (module, first) == ("streamvitals.config.bounds", "yaml")  # of the SDK's loader
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
