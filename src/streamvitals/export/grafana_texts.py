"""The texts of alerts for Grafana's own alerting, which cannot ask: what they would ask is recorded.

A text of ours asks Prometheus with the function `query` (alerts/texts.py). In Grafana a rule has all its queries beside
the condition, and a text finds their samples in `$values`, by their labels.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

# On what a text was given: where the question has no answer a sample without it stands in.
TOLD = "told"
_ACTION = re.compile(r"(\{\{.*?\}\})", re.DOTALL)
_ASKS = re.compile(r"\{\{ with printf `(.*)` \$service \| query \}\}", re.DOTALL)
_AGGREGATES = re.compile(r"\b(topk|bottomk|sum|count|max|min|group)(?: by \(([^)]*)\))? ?\(")
_FIRST, _ELSE, _END = "{{ with first . }}", "{{ else }}", "{{ end }}"


class TextError(ValueError):
    """A text has a form that this module does not know."""


@dataclass
class Texts:
    """Makes texts of one rule, and collects what they ask, each by the name of its query."""

    service: Sequence[str]
    asked: dict[str, str] = field(default_factory=dict)

    def converted(self, text: str) -> str:
        """The text for Grafana. Raises TextError."""
        parts = [part for part in _ACTION.split(text) if part]
        made, rest = self._until_end(parts, "A")
        if rest:
            raise TextError(f"{rest[0]!r} in {text!r}")
        return made

    def _until_end(self, parts: list[str], name: str) -> tuple[str, list[str]]:
        """Convert up to the end of a block; ``name`` is the query whose sample is the dot."""
        made = ""
        while parts and parts[0] not in (_ELSE, _END):
            part, *parts = parts
            if part.startswith("{{ with query `time()`"):
                _, parts = self._until_end(parts, name)
                parts = parts[1:]  # when it was so: Grafana tells that itself
            elif found := _ASKS.fullmatch(part):
                block, parts = self._asking(found[1], parts)
                made += block
            elif part.startswith("{{ if "):
                block, parts = self._choice(part, parts, name)
                made += block
            elif not part.startswith("{{ $service :="):
                made += self._action(part, name)
        return made, parts

    def _asking(self, query: str, parts: list[str]) -> tuple[str, list[str]]:
        name = f"T{len(self.asked) + 1}"
        self.asked[name] = of_each(query, self.service)
        if not parts or parts[0] != _FIRST:
            raise TextError(f"{query!r} is not followed by {_FIRST}")
        then, parts = self._until_end(parts[1:], name)
        parts = parts[1:]
        otherwise = ""
        if parts[:1] == [_ELSE]:
            otherwise, parts = self._until_end(parts[1:], "A")
        head = f'{{{{ if index $values.{name}.Labels "{TOLD}" }}}}'
        return f"{head}{then}{_ELSE + otherwise if otherwise else ''}{_END}", parts[1:]

    def _choice(self, head: str, parts: list[str], name: str) -> tuple[str, list[str]]:
        inner, parts = self._until_end(parts, name)
        made = self._action(head, name) + inner
        if parts[:1] == [_ELSE]:
            inner, parts = self._until_end(parts[1:], name)
            made += _ELSE + inner
        if parts[:1] != [_END]:
            raise TextError(f"{head!r} has no end")
        return made + _END, parts[1:]

    def _action(self, part: str, name: str) -> str:
        """An action, or a piece of plain text."""
        if not part.startswith("{{"):
            return part
        sample = f"$values.{name}"
        part = re.sub(r'\(value \. \| toTime\)\.Format "[^"]+"', f"humanizeTimestamp {sample}.Value", part)
        part = re.sub(r'label "(\w+)" \.', rf'index {sample}.Labels "\1"', part)
        return re.sub(r"(?<![\w.$])(?:value \.|\$value\b)", f"{sample}.Value", part)


def without_questions(text: str) -> str:
    """What a text says without what it would ask."""
    made, depth = "", 0
    for part in _ACTION.split(text):
        if re.match(r"\{\{ (?:with|if|range) ", part):
            depth += 1
        elif part == _END:
            depth -= 1
        elif not depth and not part.startswith("{{ $service :="):
            made += part
    return made


def of_each(query: str, service: Sequence[str]) -> str:
    """A question about one service, as a question about each."""
    def grouped(found: re.Match[str]) -> str:
        more = [label for label in (found[2] or "").split(", ") if label and label not in service]
        return f"{found[1]} by ({', '.join([*service, *more])}) ("

    query = query.replace("{%[1]s, ", "{").replace("{%[1]s}", "")
    return _AGGREGATES.sub(grouped, query)
