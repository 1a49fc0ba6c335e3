"""Alerts on whether the others can be believed: what is not seen, and our own faults."""

from __future__ import annotations

from .. import names
from . import links
from .language import MID, SERVICE
from .promql import OPENAI_VERSION, PATCHED, WHERE, equals, increase, name_of, selector, total
from .replicas import REPLICA_OPERATIONS
from .rule import Alert
from .texts import SERVICE as OURS
from .texts import label, query_text

_BUILD = name_of(names.BUILD_INFO)
_NOT_PATCHED = equals(PATCHED, "false")
_OBSERVED_HERE = REPLICA_OPERATIONS[MID]
_UNREPORTED = total(selector(names.UNREPORTED), SERVICE, "instance")

TELEMETRY = (
    Alert(
        "StreamvitalsTargetMissing", "telemetry", "ticket",
        """
        count by ($service) (
          (up == 0) and on ($service, instance) max_over_time(streamvitals:agents[$day])
        ) or (
          group by ($service) (max_over_time(streamvitals:reporting[$hour] offset $fast))
            unless on ($service) streamvitals:reporting
            and on ($service) (
              count_over_time(streamvitals:reporting[$hour:$five_minutes] offset $yesterday) >= 11
                or count_over_time(streamvitals:reporting[$hour:$five_minutes] offset $last_week) >= 11
                or (streamvitals:usually_busy unless on ($service) max_over_time(streamvitals:targets[$day]))
            )
            unless on ($service) group by ($service) (
              max_over_time(streamvitals:agents[$hour]) and on (instance) streamvitals:agents
            )
        )""",
        summary="telemetry of {{ $$value }} replicas or of the whole service is missing",
        description=(
            "A replica that had been scraped cannot be scraped any more, or nothing of the service reports: its streams"
            " may be well or not, nobody sees. Look next: 1. whether the service runs at all; 2. the target's error on"
            " Prometheus' page of targets, or the Collector's log."
        ),
        for_=600, keep_firing_for=600,
    ),
    Alert(
        "StreamvitalsAgentSilent", "telemetry", "ticket",
        f"""
        count by ($service) (
          (
            streamvitals:agents unless on ($service, instance) {_BUILD}
              and on ($service) max_over_time(streamvitals:observed[$day])
          ) or (
            streamvitals:agents
              unless on ($service, instance) {_OBSERVED_HERE} > 0
              and on ($service) avg by ($service) ({_OBSERVED_HERE}) > 20
              and on ($service, instance) max_over_time({_OBSERVED_HERE}[$day]) > 5
          ) or (
            {_UNREPORTED} > 0
          )
        )""",
        summary="{{ $$value }} replicas answer scrapes and observe nothing",
        description=(
            "The agent answers, and no process has reported to it, or nothing streams here while it does elsewhere: the"
            " program was not started under streamvitals run,"
            " ignores its environment (python -I, frozen), or has not imported the SDK. Look next: 1. streamvitals"
            " doctor in front of the same command; 2. /healthz of the agent, which names the processes."
        ),
        for_=1800, keep_firing_for=600,
    ),
    Alert(
        "StreamvitalsNotPatched", "telemetry", "ticket",
        f"count by ($service) ({selector(names.BUILD_INFO, _NOT_PATCHED)})",
        summary=query_text(
            f"topk(1, count by ({OPENAI_VERSION}) ({selector(names.BUILD_INFO, OURS, _NOT_PATCHED)}))",
            f"openai {label(OPENAI_VERSION)} is not observed: this version is not known",
            "the SDK is not observed",
        ),
        description=(
            "The installed openai lacks something that is patched, so streams of these processes are not seen. Look"
            " next: 1. streamvitals doctor, which says what; 2. a newer streamvitals, or an older openai."
        ),
        for_=300, keep_firing_for=600,
    ),
    Alert(
        "StreamvitalsInternalErrors", "telemetry", "ticket",
        f"{increase(names.INTERNAL_ERRORS, SERVICE, over=MID)} > 0",
        summary=query_text(
            f"topk(1, {increase(names.INTERNAL_ERRORS, WHERE, over=MID, where=(OURS,))})",
            f'streamvitals itself failed at "{label(WHERE)}"; the application is not affected',
        ),
        description=(
            "A fault of streamvitals: it goes on without what failed. Look next: 1. debug logging of the logger"
            f" streamvitals has the traceback; 2. report it with the versions in {_BUILD}."
        ),
        for_=0, keep_firing_for=3600,
    ),
    Alert(
        "StreamvitalsWatchdog", "watchdog", "none", "vector(1)",
        summary="alerts work: this one always fires",
        description=(
            "Send it to something that complains when it stops coming (a dead man's switch). Look next, when it has"
            " stopped: 1. whether Prometheus evaluates rules; 2. whether Alertmanager delivers."
        ),
        dashboard=links.STREAMS,
    ),
)
