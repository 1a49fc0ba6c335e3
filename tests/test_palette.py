"""Colours can be seen in light and dark, and told apart by everybody."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import pytest

from streamvitals.outcome import RESULTS, Outcome, result
from streamvitals.palette import OUTCOME_COLORS, RESULT_COLORS

Triple = tuple[float, ...]
Matrix = tuple[Triple, Triple, Triple]
# Of panels in Grafana's two themes: https://github.com/grafana/grafana (packages/grafana-data/src/themes)
BACKGROUNDS = ("#ffffff", "#181b1f")
# What is left of linear RGB where one kind of cone is missing: Machado, Oliveira and Fernandes 2009, severity 1.0.
SEEN_WITHOUT: dict[str, Matrix] = {
    "nothing": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "red": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "green": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "blue": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}
# Linear RGB to cones, and cones to lightness and two axes of colour: https://bottosson.github.io/posts/oklab/
TO_CONES: Matrix = (
    (0.4122214708, 0.5363325363, 0.0514459929), (0.2119034982, 0.6806995451, 0.1073969566),
    (0.0883024619, 0.2817188376, 0.6299787005),
)
TO_LAB: Matrix = (
    (0.2104542553, 0.7936177850, -0.0040720468), (1.9779984951, -2.4285922050, 0.4505937099),
    (0.0259040371, 0.7827717662, -0.8086757660),
)
# A difference of 0.02 is the least that one can see side by side; in a legend it takes more than twice that.
TOLD_APART = 0.045
# What users of WCAG ask of marks: https://www.w3.org/WAI/WCAG22/Understanding/non-text-contrast
CONTRAST = 3.0


def linear(color: str) -> Triple:
    parts = (int(color[at : at + 2], 16) / 255 for at in (1, 3, 5))
    return tuple(part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)


def times(matrix: Matrix, vector: Triple) -> Triple:
    return tuple(sum(a * b for a, b in zip(row, vector, strict=True)) for row in matrix)


def luminance(color: str) -> float:
    return sum(a * b for a, b in zip((0.2126, 0.7152, 0.0722), linear(color), strict=True))


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def seen(color: str, without: str) -> Triple:
    rgb = tuple(min(1.0, max(0.0, part)) for part in times(SEEN_WITHOUT[without], linear(color)))
    return times(TO_LAB, tuple(cone ** (1 / 3)
                               for cone in times(TO_CONES, rgb)))


def alike(colors: dict[str, str], without: str) -> Iterator[tuple[str, str]]:
    for one, other in itertools.combinations(colors, 2):
        if math.dist(seen(colors[one], without), seen(colors[other], without)) < TOLD_APART:
            yield one, other


def test_every_outcome_and_result_has_one() -> None:
    assert list(OUTCOME_COLORS) == [outcome.value for outcome in Outcome]
    assert list(RESULT_COLORS) == list(RESULTS)
    for name, color in RESULT_COLORS.items():
        (of,) = (outcome for outcome, its in OUTCOME_COLORS.items() if its == color)
        assert result(Outcome(of)) == name


@pytest.mark.parametrize("background", BACKGROUNDS)
def test_all_can_be_seen_in_light_and_dark(background: str) -> None:
    assert {name for name, color in OUTCOME_COLORS.items() if contrast(color, background) < CONTRAST} == set()


@pytest.mark.parametrize("without", SEEN_WITHOUT)
def test_any_two_can_be_told_apart(without: str) -> None:
    assert set(alike(OUTCOME_COLORS, without)) == set()


def test_what_cannot_be_told_apart_is_found() -> None:
    assert set(alike({"red": "#c02f1f", "green": "#3c8400"}, "green")) == {("red", "green")}
    assert set(alike({"red": "#c02f1f", "green": "#3c8400"}, "nothing")) == set()
    assert contrast("#ffffff", "#000000") == pytest.approx(21)
