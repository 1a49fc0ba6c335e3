"""The sentences on the pager: Go templates that ask Prometheus for the numbers when the alert fires.

https://prometheus.io/docs/prometheus/latest/configuration/template_reference/
Labels must not carry numbers, or every evaluation would be another alert; texts may.
"""

from __future__ import annotations

from .. import names
from .language import FAST, MID, MODEL, SERVER
from .objectives import Objectives
from .promql import COUNTED, FAILED, FAILED_OUTCOMES, OUTCOME, Matcher, increase, matching, selector, total
from .series import FAILURE_SHARE, STREAMS

# Stands for the matchers of the service that the alert is about, in the queries of texts.
SERVICE = "SERVICE"


def of_service(series: str, *where: Matcher, of: str = "") -> str:
    """Select the series of the service that the alert is about.

    ``of`` is a label whose value is that of the sample that is the dot (query_text).
    """
    return matching(series, SERVICE, *where, *([f"{of}=%[2]q"] if of else []))


def label(name: str) -> str:
    """Say the value of a label, of the sample that was found."""
    return f'{{{{ label "{name}" . }}}}'


THE_MODEL = label(MODEL)
THE_SERVER = f'{{{{ or (label "{SERVER}" .) "the provider" }}}}'
# The sample's value: as a count, as a percentage where it was multiplied by a hundred, as a duration.
COUNT = '{{ value . | printf "%.0f" }}'
PERCENT = COUNT + "%"
DURATION = "{{ value . | humanizeDuration }}"

# What became of a stream, after "34% of gpt-4o streams".
FATES = {
    "truncated": f"cut short by {THE_SERVER} without an error",
    "reset": f"reset by {THE_SERVER} mid-stream",
    "timeout": f"timed out waiting for {THE_SERVER}",
    "malformed": f"unreadable as {THE_SERVER} sent them",
    "api_error": f"failed inside the stream by {THE_SERVER}",
    "rate_limited": f"rate limited by {THE_SERVER}",
    "http_error": f"answered with an error status by {THE_SERVER}",
    "connect_error": f"not sent, as {THE_SERVER} could not be reached",
}

# When it was so. An alert that is kept firing after it was true, and one that is over, keep the text that they had.
AT = '{{ with query `time()` }} (at {{ (first . | value | toTime).Format "15:04" }} UTC){{ end }}'


def query_text(expression: str, then: str, otherwise: str = "", *, of: str = "") -> str:
    """Ask Prometheus, and say ``then`` with the first sample as its dot, or ``otherwise`` if there is none.

    ``of`` is the label, if any, by which the expression asks about the sample that is the dot outside (of_service).
    """
    value = f' (label "{of}" .)' if of else ""
    query = f"printf `{expression.replace(SERVICE, '%[1]s')}` $$service{value} | query"
    return f"{{{{ with {query} }}}}{{{{ with first . }}}}{then}{{{{ end }}}}{{{{ else }}}}{otherwise}{{{{ end }}}}"


def service(objectives: Objectives) -> str:
    """Define the matchers of the service that the alert is about."""
    matchers = ",".join(f"{label}=%q" for label in objectives.service)
    values = " ".join(f"$$labels.{label}" for label in objectives.service)
    return f"{{{{ $$service := printf `{matchers}` {values} }}}}"


def _fate() -> str:
    branches = "".join(
        f'{{{{ {"if" if not number else "else if"} eq $$fate "{outcome}" }}}}{FATES[outcome]}'
        for number, outcome in enumerate(FAILED_OUTCOMES)
    )
    return f'{{{{ $$fate := label "{OUTCOME}" . }}}}{branches}{{{{ end }}}}'


def worst(window: str, otherwise: str, *outcomes: Matcher) -> str:
    """Say what broke most often: `50% of gpt-4o streams (60 of 120) reset by api.example mid-stream in 5m`."""
    top = f"topk(1, {of_service(STREAMS[window], *outcomes)} > 0)"
    # The labels of the most frequent failure, with the value of its share.
    expression = f"100 * {FAILURE_SHARE[window]} and on ($service, {MODEL}, {SERVER}, {OUTCOME}) {top}"
    its = ("$service", MODEL, SERVER)
    counted = f"{total(of_service(STREAMS[window], COUNTED), *its)} and on ({', '.join(its)}) {top}"
    many = f"({query_text(top, COUNT)} of {query_text(counted, COUNT)})"
    return query_text(expression, f"{PERCENT} of {THE_MODEL} streams {many} {_fate()} in {window}", otherwise)


def worst_now(otherwise: str, *outcomes: Matcher) -> str:
    """Say the same of the last minutes, or of a quarter of an hour where little is asked."""
    return worst(FAST, worst(MID, otherwise, *outcomes), *outcomes)


def since(series: str) -> str:
    """Say since when it is so, if that is known: `, since 02:14`."""
    return query_text(of_service(series), ', since {{ (value . | toTime).Format "15:04" }}')


# What an incident may have hit a part of.
_PARTS = {"models": MODEL, "provider servers": SERVER, "replicas": "instance"}


def affected() -> str:
    """Say what fails or hangs, of what there is: ` Affected: 1 of 2 models, … 3 of 3 replicas.`"""
    return _affected(FAST, _affected(MID, _hanging()))


def _affected(window: str, otherwise: str) -> str:
    said = ""
    for what, label in _PARTS.items():
        failed, counted = (
            increase(names.STREAMS, label, over=window, where=(SERVICE, which)) for which in (FAILED, COUNTED)
        )
        said += ", " + _so_many(f"{failed} > $page_share * {counted}", f"{counted} > 0", what)
    some = f"{of_service(STREAMS[window], FAILED)} > 0"
    return query_text(f"count({some})", f" Affected:{said[1:]}.", otherwise)


def _hanging() -> str:
    hung, there = (selector(gauge, SERVICE) for gauge in (names.STALLED, names.ACTIVE))
    said = "".join(
        ", " + _so_many(f"{total(hung, label)} > 0", f"{total(there, label)} > 0", what)
        for what, label in _PARTS.items()
    )
    return query_text(f"count({hung} > 0)", f" Affected:{said[1:]}.")


def _so_many(part: str, whole: str, what: str) -> str:
    return query_text(f"count({part})", COUNT, "0") + " of " + query_text(f"count({whole})", COUNT, "0") + f" {what}"
