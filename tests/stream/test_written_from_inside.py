"""Only an observation writes what is in it: everybody else tells it what happened, and it decides what that means."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import streamvitals
from streamvitals.stream.attempts import Attempts
from streamvitals.stream.observation import Observation
from streamvitals.stream.pace import Pace

PACKAGE = Path(streamvitals.__file__).parent
FILES = {path.relative_to(PACKAGE).as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}
# What observations are called where they are handled, and the parts of one.
_NAMES = {"observation", "_observation", "attempts", "pace"}
_PARTS = {name for kind in (Observation, Attempts, Pace) for name in kind.__slots__}
# The generators deal with the common chunk in their own lines, with nothing called.
STAMPS = {
    "pace.waiting_since", "pace.view[pace.at]", "pace.arrived_at", "pace.wait", "pace.chunks",
}


def written(source: str) -> Iterator[str]:
    """What a module writes into an observation that is not its own ``self``."""
    tree = ast.parse(source)
    known = (_NAMES | _observations(tree)) - {"self"}
    for node in ast.walk(tree):
        for target in _targets(node):
            names = {name for part in ast.walk(_holder(target)) for name in _name(part)}
            if names & known or _part_of_another(target):
                yield ast.unparse(target)


def _observations(tree: ast.AST) -> set[str]:
    """The names that are said to be observations, or are made or taken from something's ``observation``."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.arg) and node.annotation is not None and _is_one(node.annotation):
            found.add(node.arg)
        elif isinstance(node, ast.AnnAssign) and _is_one(node.annotation):
            found |= set(_name(node.target))
        elif isinstance(node, ast.Assign) and _gives_one(node.value):
            found |= {name for target in node.targets for name in _name(target)}
    return found


def _is_one(annotation: ast.expr) -> bool:
    return ast.unparse(annotation).replace(" ", "") in ("Observation", "Observation|None")


def _gives_one(value: ast.expr) -> bool:
    if isinstance(value, ast.Call):
        return ast.unparse(value.func) == "Observation"
    return isinstance(value, ast.Attribute) and value.attr in _NAMES


def _targets(node: ast.AST) -> Iterator[ast.expr]:
    targets: list[ast.expr] = []
    if isinstance(node, (ast.Assign, ast.Delete)):
        targets = node.targets
    elif isinstance(node, (ast.AugAssign, ast.AnnAssign, ast.For, ast.AsyncFor, ast.NamedExpr)):
        targets = [node.target]
    elif isinstance(node, (ast.With, ast.AsyncWith)):
        targets = [item.optional_vars for item in node.items if item.optional_vars is not None]
    elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("setattr", "delattr", "object.__setattr__"):
        name = node.args[1]
        targets = [ast.Attribute(node.args[0], str(getattr(name, "value", "?")), ast.Store())]
    for target in targets:
        for part in ast.walk(target):
            if isinstance(part, (ast.Attribute, ast.Subscript)) and isinstance(part.ctx, (ast.Store, ast.Del)):
                yield part


def _holder(target: ast.expr) -> ast.expr:
    assert isinstance(target, (ast.Attribute, ast.Subscript))
    return target.value


def _name(part: ast.AST) -> Iterator[str]:
    if isinstance(part, ast.Name):
        yield part.id
    elif isinstance(part, ast.Attribute):
        yield part.attr


def _part_of_another(target: ast.expr) -> bool:
    """Whether it is called like a part of an observation, and not of whoever writes it."""
    return isinstance(target, ast.Attribute) and target.attr in _PARTS - _OTHERS and ast.unparse(target.value) != "self"


# Of other classes, too, which are written from outside: slots of the store, logs, answers.
_OTHERS = {"ended", "response", "view", "at", "count", "host", "clock", "slot", "facts", "__weakref__"}


@pytest.mark.parametrize("name", FILES)
def test_nobody_outside_writes_into_an_observation(name: str) -> None:
    found = set(written(FILES[name].read_text()))
    assert found <= (STAMPS if name == "stream/observe.py" else set())


def test_the_generators_stamp_what_they_are_said_to() -> None:
    assert set(written(FILES["stream/observe.py"].read_text())) == STAMPS


@pytest.mark.parametrize("line", [
    "observation.ended = True", "self.observation.reader.done = True", "observation.pace.wait += 1",
    "observation.attempts.request_id = 'x'", "a, observation.hooks = 1, 2", "del response.observation.origin",
    "setattr(observation, 'loop', None)", "found.in_band_verdict = None", "pace.waiting_since = 1",
    "other: Observation = f(); other.loop = 1", "mine = self.observation; mine.loop = 1",
    "with f() as observation.slot: pass", "for observation.loop in (): pass",
    "def f(one: Observation | None): one.loop = 1", "new = Observation(); new.slot = 1",
])
def test_a_write_is_found(line: str) -> None:
    assert list(written(line))


@pytest.mark.parametrize("line", ["observation = 1", "self.observation = found", "self._ended = observation.ended"])
def test_what_is_no_write_is_not(line: str) -> None:
    assert not list(written(line))
