"""How many series a label set has, by family: Prometheus keeps each of them for as long as the process runs."""

from __future__ import annotations

from collections import Counter

from prometheus_client.parser import text_string_to_metric_families

from store_support import LABELS
from streamvitals import names
from streamvitals.sinks.exposition import Exposition
from streamvitals.store.memory import HeapMemory
from streamvitals.store.store import Store

MOST = 230
# Typed by hand: each is what somebody reads, at the resolution at which it is read (docs/series.md).
AT_ZERO = {
    "streamvitals_streams": 15, "streamvitals_stream_errors": 13,
    "streamvitals_time_to_first_chunk_seconds": 21, "streamvitals_time_to_first_token_seconds": 21,
    "streamvitals_chunk_gap_seconds": 18, "streamvitals_stream_duration_seconds": 80, "streamvitals_chunks": 5,
    "streamvitals_wait_seconds": 1, "streamvitals_hold_seconds": 1, "streamvitals_stalls": 1,
    "streamvitals_retries": 29, "streamvitals_retry_backoff_seconds": 2, "streamvitals_recoveries": 2,
    "streamvitals_operations_failed": 1, "streamvitals_fallbacks": 1,
    "streamvitals_tokens": 5, "streamvitals_streams_unmetered": 4,
    "streamvitals_streams_active": 1, "streamvitals_streams_stalled": 3,
}


def series() -> Counter[str]:
    """Of each family, the series of one label set during its first stream."""
    store = Store(HeapMemory())
    store.open_slot(LABELS, 1.0)
    text = Exposition().text(store.snapshot(1.0)).decode()
    return Counter({
        family.name: len(own)
        for family in text_string_to_metric_families(text)
        if (own := [sample for sample in family.samples if {*names.STREAM_LABELS} <= {*sample.labels}])
    })


def test_a_label_set_has_few_series_at_0() -> None:
    found = series()
    assert found == AT_ZERO
    assert found.total() <= MOST
