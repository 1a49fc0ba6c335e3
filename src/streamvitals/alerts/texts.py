"""The sentences on the pager: Go templates that ask Prometheus for the numbers when the alert fires.

https://prometheus.io/docs/prometheus/latest/configuration/template_reference/
Labels must not carry numbers, or every evaluation would be another alert; texts may.
"""

from __future__ import annotations

from .objectives import Objectives
from .promql import FAILED

# What became of a stream, after "34% of gpt-4o streams"; SERVER stands for the server.
FATES = {
    "truncated": "cut short by SERVER without an error",
    "reset": "reset by SERVER mid-stream",
    "timeout": "timed out waiting for SERVER",
    "malformed": "unreadable as SERVER sent them",
    "api_error": "failed inside the stream by SERVER",
    "rate_limited": "rate limited by SERVER",
    "http_error": "answered with an error status by SERVER",
    "connect_error": "not sent, as SERVER could not be reached",
}
SERVER = '{{ or (label "$server" .) "the provider" }}'
MODEL = '{{ label "$model" . }}'
# Of a value that was multiplied by a hundred.
PERCENT = '{{ value . | printf "%.0f" }}%'

# When it was so. An alert that is kept firing after it was true, and one that is over, keep the text that they had.
AT = '{{ with query `time()` }} (at {{ (first . | value | toTime).Format "15:04" }} UTC){{ end }}'


def query_text(expression: str, then: str, otherwise: str = "") -> str:
    """``then`` with the first sample that the expression gives as its dot; SERVICE stands for its matchers."""
    question = f"printf `{expression.replace('SERVICE', '%[1]s')}` $$service | query"
    return f"{{{{ with {question} }}}}{{{{ with first . }}}}{then}{{{{ end }}}}{{{{ else }}}}{otherwise}{{{{ end }}}}"


def service(objectives: Objectives) -> str:
    """Defines the matchers of the service that the alert is about."""
    matchers = ",".join(f"{label}=%q" for label in objectives.service)
    values = " ".join(f"$$labels.{label}" for label in objectives.service)
    return f"{{{{ $$service := printf `{matchers}` {values} }}}}"


def _fate() -> str:
    branches = "".join(
        f'{{{{ {"if" if not number else "else if"} eq $$fate "{outcome}" }}}}{FATES[outcome].replace("SERVER", SERVER)}'
        for number, outcome in enumerate(FAILED)
    )
    return f'{{{{ $$fate := label "$outcome" . }}}}{branches}{{{{ end }}}}'


def worst(window: str, otherwise: str, outcomes: str = "$failed_outcomes") -> str:
    """`34% of gpt-4o streams reset by api.example mid-stream, 5m`: of what broke most often, how large a share."""
    streams = f"streamvitals:streams:increase${{{window}}}"
    share = f"streamvitals:failure_share:increase${{{window}}}"
    top = f'topk(1, {streams}{{SERVICE,$outcome=~"{outcomes}"}} > 0)'
    # The labels of the most frequent failure, with the value of its share.
    expression = f"100 * {share} and on ($service, $model, $server, $outcome) {top}"
    return query_text(expression, f"{PERCENT} of {MODEL} streams {_fate()}, ${{{window}}}", otherwise)


def worst_now(otherwise: str, outcomes: str = "$failed_outcomes") -> str:
    """The same over the last minutes, or over a quarter of an hour where little is asked."""
    return worst("fast", worst("mid", otherwise, outcomes), outcomes)
