"""Chooses what is played for requests that do not name a scenario."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from dataclasses import replace
from typing import Any

from .ask import Ask, BadAsk, Params, parse_spec
from .mix import InTurn
from .scenarios import ALIASES, SCENARIOS
from .surface_scenarios import ONLY_SURFACES

# A scenario with its parameters, or what returns one for every request.
Choice = str | Callable[[], str]


def checked(choice: Choice | int) -> Choice:
    """Return the choice, a number as text. Raises ValueError for an unknown scenario."""
    if callable(choice):
        return choice
    parse_spec(str(choice))
    return str(choice)


class ByModel(dict[str, Choice]):
    """Choices by the model's name. Raises ValueError where an unknown scenario is set."""

    def __setitem__(self, model: str, choice: Choice | int) -> None:
        super().__setitem__(model, checked(choice))

    def update(self, *args: Any, **more: Any) -> None:
        for model, choice in dict(*args, **more).items():
            self[model] = choice


class Script:
    """Choose scenarios: what the request names, else what is set for its model, else the default.

    ``by_model`` and ``default`` may be changed while requests come in. Without a default ("") a request that names
    no scenario is refused.
    """

    def __init__(self, default: Choice = "") -> None:
        self.by_model = ByModel()
        self.default = checked(default) if default != "" else ""

    def play(self, *specs: str | int) -> None:
        """Play these one after another for requests that name no scenario; the last one from then on.

        Raises ValueError for an unknown scenario.
        """
        self.default = InTurn(*specs)

    def choose(self, named: str, model: str, other: str = "") -> tuple[str, Params, bool]:
        """Return scenario, parameters, and whether they were chosen here. Raises BadAsk.

        The name of the model counts as named by the request, and so does ``other`` where there is no model.
        """
        choice: Choice = named or self.by_model.get(model, "")
        chosen = not named
        if not choice:
            choice, chosen = model or other, False
            if self.default and not names_a_scenario(choice):
                choice, chosen = self.default, True
        return (*parse_spec(choice if isinstance(choice, str) else choice()), chosen)


def by_model(given: Iterable[str]) -> ByModel:
    """Read `gpt-4o=429` and the like. Raises ValueError."""
    choices = ByModel()
    for text in given:
        model, equals, spec = text.partition("=")
        if not (model and equals):
            raise BadAsk(f"{text!r}: a model and a scenario are needed, as in gpt-4o=429")
        choices[model] = spec
    return choices


def names_a_scenario(text: str) -> bool:
    """Whether the text is meant as a scenario: all that begins with `sv-` is."""
    name = text.partition("?")[0]
    return name.startswith("sv-") or name in SCENARIOS or name in ALIASES or name in ONLY_SURFACES


def played_on(ask: Ask, known: Container[str], where: str) -> Ask:
    """Return what a surface plays: `ok` if it does not have what was chosen here. Raises BadAsk if it does not have
    what the request named."""
    if ask.scenario in known:
        return ask
    if not ask.chosen:
        raise BadAsk(f"no scenario {ask.scenario!r} for {where}")
    return replace(ask, scenario="ok")
