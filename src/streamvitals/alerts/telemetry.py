"""Whether the other rules can be believed: what is not seen, and our own faults."""

from __future__ import annotations

from . import links
from .rule import Alert
from .texts import query_text

TELEMETRY = (
    Alert(
        "StreamvitalsTargetMissing", "telemetry", "ticket",
        """
        count by ($service) (
          (up == 0) and on ($service, instance) max_over_time(streamvitals:agents[$day])
        ) or (
          group by ($service) (max_over_time(streamvitals:reporting[$hour] offset $fast))
            unless on ($service) streamvitals:reporting
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
        """
        count by ($service) (
          (
            streamvitals:agents unless on ($service, instance) $build
              and on ($service) max_over_time(streamvitals:observed[$day])
          ) or (
            streamvitals:agents
              unless on ($service, instance) streamvitals:replica_operations:increase$mid > 0
              and on ($service) avg by ($service) (streamvitals:replica_operations:increase$mid) > 20
          ) or (
            sum by ($service, instance) ($unreported) > 0
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
        "StreamvitalsNotPatched", "telemetry", "ticket", 'count by ($service) ($build{patched="false"})',
        summary=query_text(
            'topk(1, count by (openai_version) ($build{SERVICE,patched="false"}))',
            'openai {{ label "openai_version" . }} is not observed: this version is not known',
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
        "sum by ($service) (increase($internal[$mid])) > 0",
        summary=query_text(
            "topk(1, sum by ($where) (increase($internal{SERVICE}[$mid])))",
            'streamvitals itself failed at "{{ label "$where" . }}"; the application is not affected',
        ),
        description=(
            "A fault of streamvitals: it goes on without what failed. Look next: 1. debug logging of the logger"
            " streamvitals has the traceback; 2. report it with the versions in $build."
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
