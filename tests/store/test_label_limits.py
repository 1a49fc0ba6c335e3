"""Custom labels have room of their own: they become `other` there, and never make a model or a server `other`."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from store_support import LABELS, OTHER_SET, record
from streamvitals import names
from streamvitals.store.labels import Admission, Limits
from streamvitals.store.memory import HeapMemory
from streamvitals.store.segment import shape
from streamvitals.store.store import Store, StoreSink
from streamvitals.stream.record import StreamLabels

ONE = ("tenant",)
TWO = ("tenant", "feature")
THREE = ("tenant", "feature", "route")


def labelled(model: str = "m", **custom: str) -> StreamLabels:
    return LABELS._replace(model=model, custom=tuple(custom.items()))


def custom_of(labels: StreamLabels) -> dict[str, str]:
    return dict(labels.custom)


def test_fifty_values_of_a_label_are_told_apart() -> None:
    admission = Admission(Limits(ONE))
    for _ in range(2):
        for tenant in range(names.MAX_LABEL_VALUES):
            assert custom_of(admission.admit(labelled(tenant=f"t{tenant}"))) == {"tenant": f"t{tenant}"}
    assert custom_of(admission.admit(labelled(tenant="one more"))) == {"tenant": "other"}
    assert custom_of(admission.admit(labelled("m2", tenant="one more"))) == {"tenant": "other"}
    assert custom_of(admission.admit(labelled("m2", tenant="t49"))) == {"tenant": "t49"}, "who is in stays in"
    assert custom_of(admission.admit(labelled())) == {}, "no value is no value"
    assert custom_of(Admission(Limits(ONE, values=1)).admit(labelled(tenant="other"))) == {"tenant": "other"}


def test_the_last_label_becomes_other_first() -> None:
    admission = Admission(Limits(TWO, sets=20))
    found = [custom_of(admission.admit(labelled(tenant="a", feature=f"f{number}"))) for number in range(20)]
    assert found[:9] == [{"tenant": "a", "feature": f"f{number}"} for number in range(9)]
    assert found[9:] == [{"tenant": "a", "feature": "other"}] * 11, "there was room left for this one"
    assert custom_of(admission.admit(labelled(tenant="b", feature="f0"))) == {"tenant": "other", "feature": "other"}
    assert custom_of(admission.admit(labelled(tenant="a", feature="f8"))) == {"tenant": "a", "feature": "f8"}


@given(st.lists(st.tuples(
    st.integers(0, 70), st.integers(0, 30), st.lists(st.integers(0, 70), min_size=3, max_size=3), st.integers(0, 7),
), max_size=400), st.sampled_from([20, 60, 200]))
def test_models_and_servers_are_as_without_custom_labels(
    streams: list[tuple[int, int, list[int], int]], sets: int
) -> None:
    with_custom, without = Admission(Limits(THREE, sets=sets)), Admission(Limits(sets=sets))
    found: set[StreamLabels] = set()
    for model, server, values, given_ in streams:
        labels = LABELS._replace(model=f"m{model}", server=f"s{server}")
        pairs = ((n, f"{n}{v}") for at, (n, v) in enumerate(zip(THREE, values, strict=True)) if given_ >> at & 1)
        admitted = with_custom.admit(labels._replace(custom=tuple(pairs)))
        assert admitted._replace(custom=()) == without.admit(labels)
        assert with_custom.admit(admitted) == admitted, "what was admitted stays admitted"
        found.add(admitted)
    assert len(found - {OTHER_SET}) <= sets


def test_thousands_of_tenants_take_no_model_its_name() -> None:
    store = Store(HeapMemory(), Limits(THREE))
    sink = StoreSink(store)
    for number in range(10_000):
        labels = labelled(f"m{number % 40}", tenant=f"t{number}", feature=f"f{number % 7}", route=f"r{number % 61}")
        sink.on_end(record(store.open_slot(labels, 990.0), labels=labels))
    snapshot = store.snapshot(1000.0)
    assert len(snapshot.streams) <= names.MAX_LABEL_SETS
    assert {labels.model for labels in snapshot.streams} == {f"m{number}" for number in range(40)}
    assert len(store._blocks) <= 4 * names.MAX_LABEL_SETS


def test_names_that_no_label_may_have_are_left_out() -> None:
    admission = Admission()
    strange = (("outcome", "x"), ("le", "1"), ('a"b', "c"), ("", "d"), ("tenant", "a"))
    assert admission.admit(LABELS._replace(custom=strange)).custom == (("tenant", "a"),)


def test_processes_that_declare_other_labels_are_added_up_all_the_same() -> None:
    admission = Admission(Limits(ONE))
    assert admission.admit(LABELS) == LABELS
    assert admission.admit(labelled(route="r")).custom == (("route", "r"),)
    turned = labelled(route="r", tenant="a"), labelled(tenant="a", route="r")
    assert {admission.admit(labels).custom for labels in turned} == {(("tenant", "a"), ("route", "r"))}
    many = labelled(**{f"n{number}": "v" for number in range(100)})
    assert len(admission.admit(many).custom) <= 6


def test_what_was_counted_under_other_stays_there_when_a_process_with_further_labels_comes() -> None:
    admission = Admission(Limits(ONE, values=1, sets=20))
    admission.admit(labelled(tenant="a"))
    others = admission.admit(labelled(tenant="b"))
    assert custom_of(others) == {"tenant": "other"}
    for number in range(20):
        admission.admit(labelled(f"m{number}", tenant="a", route=f"r{number}"))
    assert custom_of(admission.admit(labelled(tenant="b", route="r"))) == {"tenant": "other", "route": "other"}
    assert admission.admit(others) == others, "the dead's counts would leave their series"


def test_who_declares_none_pays_no_byte() -> None:
    without, with_room = (shape(first=False, slots=1, blocks=8, ordinal=0, custom=custom) for custom in (False, True))
    assert with_room.block_at(1) - with_room.block_at(0) - (without.block_at(1) - without.block_at(0)) == 40
