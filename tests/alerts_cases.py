"""For every alert: what makes it fire, what is just too little, and the sentence that it then says.

Of 360 operations a minute (three replicas, two models, each 60) ``x`` more that fail on one model are a share of
``3 x / (360 + 3 x)``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from alerts_world import COMPLETED, MODELS, REPLICAS, Course, Rate, Thing, calls, errors, latency, retries, streams
from streamvitals import names

Rates = dict[Thing, Rate]
ONE = REPLICAS[:1]


@dataclass(frozen=True)
class Case:
    """``over`` fires the alert ``soon`` minutes after it began, ``under`` never; ``over`` is over and the alert gone
    at the end of its course."""

    alert: str
    over: Course
    under: Course
    soon: float
    summary: str
    description: str = ""


def case(
    alert: str, over: Rates, under: Rates, summary: str, soon: float = 14, *, lighter: Course | None = None,
    where: tuple[str, ...] = REPLICAS, well: float = 20, ill: float = 30, after: float = 60, description: str = "",
) -> Case:
    course = Course(over, well=well, ill=ill, after=after, where=where)
    return Case(alert, course, lighter or replace(course, sick=under), soon, summary, description)


def _ended(alert: str, outcome: str, fate: str) -> Case:
    return case(
        alert, {streams(outcome): 5.0}, {streams(outcome): 1.9}, f"8% of gpt-4o streams (75 of 975) {fate} in 5m"
    )


FIRST, GAP, LAG = names.TIME_TO_FIRST_TOKEN, names.CHUNK_GAP, names.LOOP_LAG
STALLED, ACTIVE = Thing(names.STALLED, (("phase", "between_chunks"),)), Thing(names.ACTIVE)
LEFT = Thing(names.RATELIMIT_REMAINING, (("kind", "requests"),))
INTERNAL = Thing(names.INTERNAL_ERRORS, (("where", "sink"),))
BUILD = Thing(names.BUILD_INFO, (("version", "1.0"), ("openai_version", "3.51.0"), ("patched", "true")))
UNPATCHED = Thing(names.BUILD_INFO, (("version", "1.0"), ("openai_version", "4.0.0"), ("patched", "false")))
UP = Thing("up")
NOTHING: Rates = {
    streams(outcome, model=model): 0.0 for outcome in ("completed", "cancelled") for model in MODELS
} | {ACTIVE: 0.0}
DOWN: Rates = {UP: 0.0, INTERNAL: None, ACTIVE: None, STALLED: None, BUILD: None}


def fallbacks(rate: float) -> Rates:
    """Streams that are cut, and asked again without streaming."""
    return {
        streams("truncated"): rate, retries("app", "truncated"): rate, Thing(names.FALLBACKS): rate,
    }


# How a page about failures ends.
LOOK_NEXT = (
    "Look next: 1. on the dashboard, which outcome, model and server lead; 2. the provider's status page, and the log"
    " lines of the logger streamvitals, which say of each stream where it broke and its request id."
)


def _gone(left: float) -> Rates:
    return NOTHING | {streams("completed"): left}


CASES = (
    case(
        "StreamvitalsFailing", {streams("reset"): 17.0}, {streams("reset"): 7.0},
        "22% of gpt-4o streams (255 of 1155) reset by api.example mid-stream in 5m, since 00:20", soon=6,
        description="Users get errors, cut answers or silence: 255 of 2055 operations failed in 5m, 12% (at 00:26"
        " UTC). Affected: 1 of 2 models, 1 of 1 provider servers, 3 of 3 replicas."
        f" {LOOK_NEXT}",
    ),
    case(
        "StreamvitalsRefused", {streams("rejected"): 64.0, errors("rejected", "401"): 64.0},
        {streams("rejected"): 36.0, errors("rejected", "401"): 36.0},
        "1440 of 6840 requests for gpt-4o at api.example refused with 401 in 15m, since 00:21", soon=7,
    ),
    case(
        "StreamvitalsSlow", latency(FIRST, 4.0, 1.0, 2 * COMPLETED), latency(FIRST, 2.5, 1.0, 2 * COMPLETED),
        "first token of gpt-4o after 3.925s, promised 2.5s, since 01:20", soon=8, well=80,
    ),
    case(
        "StreamvitalsTrafficGone", dict(NOTHING), _gone(0.4),
        "no stream has ended for 5m, 1830 are usual, the last about 01:28", soon=9, well=90,
    ),
    case(
        "StreamvitalsCallsFailing", {calls("failed"): 5.0}, {calls("failed"): 0.6},
        "33% of gpt-4o calls without a stream fail at api.example in 5m, since 00:20", soon=6,
        description="Calls that are not streamed get errors: titles, embeddings, judges, the answers of whoever asks"
        " without streaming: 75 of 225 failed in 5m. Look next: 1. whether streams fail as well, which is a page"
        " of its own in the same notification: then it is the provider, else what only these calls use, such as"
        " another model, key or endpoint; 2. the error types on the dashboard, and the application's own log: there is"
        " no log line of ours for a call.",
    ),
    case(
        "StreamvitalsCallsHanging", {Thing(names.CALLS_STALLED): 1.0}, {Thing(names.CALLS_STALLED): 0.0},
        "3 calls of gpt-4o without a stream hang: no answer from api.example for two minutes", soon=5,
    ),
    case(
        "StreamvitalsBlind", dict(DOWN), {},
        "nothing is seen of a service that is usually busy now: all of its targets are down or have nothing to say",
        soon=13, well=50, lighter=Course(dict(DOWN), well=50, ill=8),
    ),
    _ended("StreamvitalsResetStorm", "reset", "reset by api.example mid-stream"),
    _ended("StreamvitalsTruncationWave", "truncated", "cut short by api.example without an error"),
    _ended("StreamvitalsTimeouts", "timeout", "timed out waiting for api.example"),
    _ended("StreamvitalsApiErrors", "api_error", "failed inside the stream by api.example"),
    _ended("StreamvitalsMalformedReplies", "malformed", "unreadable as api.example sent them"),
    _ended("StreamvitalsServerErrors", "http_error", "answered with an error status by api.example"),
    _ended("StreamvitalsUnreachable", "connect_error", "not sent, as api.example could not be reached"),
    case(
        "StreamvitalsStalled", {STALLED: 6.0}, {STALLED: 4.0},
        "18 open gpt-4o streams hang, no chunk comes from api.example", soon=5,
        description="Streams are open without a chunk for longer than the stall threshold of their phase, and far more"
        " of them than is usual. Nothing has failed yet: clients wait up to their timeout. Most of them: phase"
        " between_chunks. Look next: 1. the phase: first_token may be a model that thinks, keep_alive is a server that"
        " is up, and between_chunks is neither; 2. the client's read timeout, which is 10 minutes if nobody has set"
        " it.",
    ),
    case(
        "StreamvitalsRateLimited", {retries("sdk", "429"): 10.0}, {retries("sdk", "429"): 2.0},
        "435 requests for gpt-4o limited by api.example in 15m",
    ),
    case(
        "StreamvitalsRejected", {streams("rejected"): 12.0, errors("rejected", "401"): 12.0},
        {streams("rejected"): 5.5, errors("rejected", "401"): 5.5},
        "522 requests for gpt-4o at api.example rejected with 401 in 15m",
    ),
    case(
        "StreamvitalsRetryStorm", {retries("sdk", "503"): 22.0}, {retries("sdk", "503"): 11.0},
        "957 retries of gpt-4o at api.example for 503 by the sdk in 15m",
        description="Attempts are made again so often that a failing provider is hidden from the users, who wait longer"
        " and pay more. Look next: 1. the reason on the dashboard, and whether failures of whole operations rise as"
        " well; 2. the provider's status page: this is what an outage looks like before it is one.",
    ),
    case(
        "StreamvitalsFallbackWave", fallbacks(12.0), fallbacks(5.0),
        "522 streams of gpt-4o asked again without streaming in 15m",
    ),
    case(
        "StreamvitalsOneModelFailing", {streams("api_error"): 21.0}, {streams("api_error"): 14.0},
        "26% of gpt-4o fail, others do not", soon=6,
    ),
    case(
        "StreamvitalsOneReplicaFailing", {streams("reset"): 26.0}, {streams("reset"): 12.0},
        "17% of the streams of a:9464 fail, those of other replicas do not", where=ONE,
    ),
    case(
        "StreamvitalsBudgetBurn", {streams("reset"): 1.5}, {streams("reset"): 0.5},
        "0.92% of operations failed in 6h, the budget is 0.5%", soon=58, ill=60, after=180,
    ),
    case(
        "StreamvitalsFirstTokenRegression", latency(FIRST, 4.0, 1.0, 2 * COMPLETED),
        latency(FIRST, 2.5, 1.0, 2 * COMPLETED), "First tokens come late: gpt-4o 3.925s",
    ),
    case(
        "StreamvitalsChunkGapRegression", latency(GAP, 0.5, 1.0, 80 * COMPLETED),
        latency(GAP, 0.2, 1.0, 80 * COMPLETED), "Chunks come slowly, so far apart: gpt-4o 485ms",
    ),
    case(
        "StreamvitalsEventLoopLag", latency(LAG, 0.5, 1.0, 60), latency(LAG, 0.25, 1.0, 60),
        "the event loop runs 475ms late (p90, 15m): the service itself is slow", soon=22,
    ),
    case(
        "StreamvitalsStreamsLeaked", {ACTIVE: lambda minute: 16 + 3 * int(minute)}, {ACTIVE: 40.0},
        "606 streams are open that nobody reads, more than ever end", soon=92, ill=100, after=80,
    ),
    case(
        "StreamvitalsQuotaLow", {LEFT: 1000.0}, {LEFT: 2000.0},
        "10% of the limit of requests for gpt-4o is left at api.example", soon=24,
    ),
    case(
        "StreamvitalsTargetMissing", dict(DOWN), {}, "telemetry of 1 replicas or of the whole service is missing",
        where=ONE, lighter=Course(dict(DOWN), ill=8, where=ONE),
    ),
    case(
        "StreamvitalsAgentSilent", {BUILD: None}, {}, "1 replicas answer scrapes and observe nothing", soon=34, ill=40,
        where=ONE, lighter=Course({BUILD: None}, ill=25, where=ONE),
    ),
    case(
        "StreamvitalsNotPatched", {UNPATCHED: 1.0}, {}, "openai 4.0.0 is not observed: this version is not known",
        soon=7, where=ONE, lighter=Course({UNPATCHED: 1.0}, ill=4, where=ONE),
    ),
    case(
        "StreamvitalsInternalErrors", {INTERNAL: 0.5}, {},
        'streamvitals itself failed at "sink"; the application is not affected', after=90,
    ),
)
