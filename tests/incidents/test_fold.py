"""Records that are alike are one incident, across processes, with a count that is true."""

from __future__ import annotations

from typing import Any

from streamvitals.incidents.fold import QUIET, fold
from streamvitals.store.incident_record import ENDED, SLOW_GAP, IncidentRecord
from streamvitals.stream.record import StreamLabels

LABELS = StreamLabels("chat", "openai", "gpt-4o", "api.example")


def one(id_: str, time: float, **facts: Any) -> IncidentRecord:
    given = {"run_since": time, "labels": LABELS, "chunks": 20, "seconds": 12.0, **facts}
    pid = int(id_.split("-")[0])
    plain = IncidentRecord(id_, ENDED, pid, LABELS, "reset", "connection_reset", time, 12.0, 20)
    return plain._replace(**given)


def test_runs_of_several_processes_are_one_incident() -> None:
    (incident,) = fold([
        one("1-1-1", 1000.0), one("1-1-2", 1010.0, run_since=1000.0, run_number=2, repeats=3, last_repeat=1050.0),
        one("2-1-1", 1020.0, chunks=40, seconds=30.0), one("2-1-9", 1100.0, run_since=1020.0, run_number=20),
    ])
    assert (incident.number, incident.first, incident.last) == (25, 1000.0, 1100.0)
    assert (incident.chunks, incident.seconds) == (20, 12.0)
    assert [record.id for record in incident.records] == ["2-1-9", "2-1-1", "1-1-2", "1-1-1"], "the newest first"


def test_what_was_overwritten_still_counts() -> None:
    (incident,) = fold([one("1-1-900", 2000.0, run_since=1000.0, run_number=800, repeats=7, last_repeat=2001.0)])
    assert (incident.number, incident.first, incident.last) == (807, 1000.0, 2001.0)


def test_what_is_not_alike_is_apart() -> None:
    others = (
        {"outcome": "truncated"}, {"error_type": "broken_pipe"}, {"labels": LABELS._replace(model="gpt-5")},
        {"labels": LABELS._replace(server="other.example")},
    )
    assert len(fold([one("1-1-0", 1.0), *(one(f"1-1-{n}", 1.0, **facts) for n, facts in enumerate(others, 1))])) == 5
    assert fold([one("1-1-1", 1.0, kind=SLOW_GAP)]) == [], "a slow one is none"


def test_own_labels_are_named_if_all_have_them() -> None:
    def labelled(id_: str, *pairs: tuple[str, str]) -> IncidentRecord:
        return one(id_, 1.0, labels=LABELS._replace(custom=pairs))

    region = ("region", "eu")
    (incident,) = fold([
        labelled("1-1-1", ("tenant", "a"), region), labelled("1-1-2", ("tenant", "b"), region),
    ])
    assert (incident.labels, incident.number) == ((region,), 2), "two label sets, each with a count of its own"


def test_a_pause_parts_incidents_and_a_long_run_bridges_it() -> None:
    def at(id_: str, first: float, last: float) -> IncidentRecord:
        return one(id_, last, run_since=first, run_number=2)

    early, late = at("1-1-1", 0.0, 10.0), at("1-1-2", 11.0 + QUIET, 20.0 + QUIET)
    assert [incident.number for incident in fold([early, late])] == [2, 2]
    assert [incident.number for incident in fold([early, late, at("2-1-1", 5.0, 15.0 + QUIET)])] == [6]
    assert [i.last for i in fold([early, late])] == [20.0 + QUIET, 10.0], "the last one first"


def test_what_has_recovered_is_counted() -> None:
    (incident,) = fold([
        one("1-1-1", 1.0, recovered=5.0), one("1-1-2", 2.0, run_since=1.0, run_number=2, repeats=4,
                                              recovered_repeats=3), one("1-1-3", 3.0, run_since=1.0, run_number=7,
                                                                        given_up=9.0),
    ])
    assert (incident.number, incident.recovered, incident.given_up) == (7, 4, 1)


def test_an_id_stays_while_an_incident_goes_on() -> None:
    first = one("1-1-1", 1000.0)
    (before,), (after,) = fold([first]), fold([first, one("1-1-2", 1200.0, run_since=1000.0, run_number=2)])
    assert before.id == after.id
    assert before.id != fold([one("1-1-1", 1001.0)])[0].id
