"""The names of the recorded series, a count's for each window: `failed[FAST]` is streamvitals:failed:increase5m."""

from __future__ import annotations

from .language import MODEL, SERVER, SERVICE
from .promql import Recorded

STREAMS = Recorded("streamvitals:streams:increase")
# What the application tried again without streaming, and in any way.
FALLBACKS, RETRIED = Recorded("streamvitals:model_fallbacks:increase"), Recorded("streamvitals:model_retried:increase")
# Operations and what was rejected: all that was asked for.
ASKED, REFUSED = Recorded("streamvitals:asked:increase"), Recorded("streamvitals:refused:increase")
REFUSED_RATIO = Recorded("streamvitals:refused_ratio:increase")
# Streams whose answer has begun, of each model.
BEGUN = Recorded("streamvitals:begun:increase")
# Streams that ended, and how many were to be expected.
ENDED, EXPECTED = Recorded("streamvitals:ended:increase"), Recorded("streamvitals:expected:increase")
# Since when it is so, as seconds of Unix time.
FAILING_SINCE, REFUSING_SINCE, SLOW_SINCE, CALLS_SINCE = (
    f"streamvitals:since:{what}" for what in ("failing", "refusing", "slow", "calls_failing")
)
FAILURE_SHARE = Recorded("streamvitals:failure_share:increase")


class Scope:
    """The series that are recorded alike for the service, each of its models, and each model at each server."""

    def __init__(self, name: str, prefix: str, *by: str) -> None:
        self.by = by
        self.operations = Recorded(f"streamvitals:{prefix}operations:increase")
        self.failed = Recorded(f"streamvitals:{prefix}failed:increase")
        self.none_well = Recorded(f"streamvitals:{prefix}none_well:increase")
        self.failure_ratio = Recorded(f"streamvitals:{prefix}failure_ratio:increase")
        self.usual = f"streamvitals:{prefix}failure_ratio:usual"
        self.lasting, self.over = f"streamvitals:{prefix}failures:lasting", f"streamvitals:{prefix}failures:over"
        self.stalled, self.active = f"streamvitals:{prefix}stalled", f"streamvitals:{prefix}active"
        self.failing, self.hanging = f"streamvitals:failing:{name}", f"streamvitals:hanging:{name}"
        self.attempts = Recorded(f"streamvitals:{prefix}attempts:increase")
        self.attempts_failed = Recorded(f"streamvitals:{prefix}attempts_failed:increase")
        self.bad, self.begun_anew = f"streamvitals:{prefix}failures:bad", f"streamvitals:{prefix}failures:begun_anew"
        self.evening = f"streamvitals:{prefix}failures:evening"
        self.often, self.flapping = f"streamvitals:{prefix}failures:often", f"streamvitals:{prefix}failures:flapping"


WHOLE = Scope("service", "", SERVICE)
EACH_MODEL = Scope("model", "model_", SERVICE, MODEL)
EACH_SERVER = Scope("server", "server_", SERVICE, MODEL, SERVER)
# Calls without a stream, which are in no ratio of streams.
CALLS = Scope("calls", "calls_", SERVICE)
EACH_MODELS_CALLS = Scope("calls_of_model", "model_calls_", SERVICE, MODEL)
