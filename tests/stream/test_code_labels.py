"""``streamvitals.labels``: it follows the context, and never breaks what it stands around."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

import pytest

import streamvitals
from streamvitals.stream.code_labels import labels, value_of


def feature() -> object:
    return value_of("feature")


def test_inner_blocks_add_to_outer_ones_and_take_away() -> None:
    assert streamvitals.labels is labels
    with labels(feature="a", team="x"):
        with labels(feature="b"):
            assert (feature(), value_of("team")) == ("b", "x")
        with labels(feature=None):
            assert feature() is None
        assert feature() == "a"
    assert feature() is None


def test_an_exception_goes_through_and_the_labels_are_gone() -> None:
    with pytest.raises(ZeroDivisionError), labels(feature="a"):
        raise ZeroDivisionError
    assert feature() is None


def test_tasks_threads_of_asyncio_and_copied_contexts_have_them() -> None:
    async def one(name: str) -> list[object]:
        with labels(feature=name):
            await asyncio.sleep(0)
            task = asyncio.create_task(asyncio.sleep(0, None))
            later = asyncio.create_task(read_later())
            await task
            found = [feature(), await asyncio.to_thread(feature), copy_context().run(feature)]
        # A task that was started in the block has them when the block has ended, too.
        return [*found, await later]

    async def read_later() -> object:
        await asyncio.sleep(0.01)
        return feature()

    async def main() -> list[list[object]]:
        return await asyncio.gather(*(one(f"f{number}") for number in range(20)))

    assert asyncio.run(main()) == [[f"f{number}"] * 4 for number in range(20)]


def test_threads_and_executors_have_none() -> None:
    found: list[object] = []
    with labels(feature="a"):
        thread = threading.Thread(target=lambda: found.append(feature()))
        thread.start()
        thread.join()
        with ThreadPoolExecutor(1) as pool:
            pool.submit(lambda: None).result()
            found.append(pool.submit(feature).result())
            found.append(pool.submit(copy_context().run, feature).result())
    assert found == [None, None, "a"]


def test_a_generator_shows_them_only_while_it_is_alive() -> None:
    def answers() -> Iterator[object]:
        with labels(feature="a"):
            yield feature()
            yield feature()

    with labels(feature="outer"):
        asked = answers()
        assert next(asked) == "a"
        del asked
        gc.collect()
        assert feature() == "outer"
        assert list(answers()) == ["a", "a"]
        assert feature() == "outer"


def test_blocks_that_are_left_in_another_order_leave_nothing_behind() -> None:
    def answers() -> Iterator[object]:
        with labels(feature="generator"):
            yield feature()

    asked = answers()
    next(asked)
    with labels(team="x"):
        asked.close()
        assert (feature(), value_of("team")) == (None, "x")
    assert (feature(), value_of("team")) == (None, None)


def test_a_generator_that_is_closed_in_another_context_raises_nothing_and_leaks_nothing() -> None:
    async def answers() -> AsyncIterator[object]:
        with labels(feature="a"):
            yield feature()
            yield feature()

    async def half_read() -> object:
        asked = answers()
        first = await anext(asked)
        await asyncio.create_task(asked.aclose())  # type: ignore[attr-defined]
        return first, feature()

    assert asyncio.run(half_read()) == ("a", None)


def test_one_object_may_be_entered_by_many_at_once() -> None:
    shared = labels(feature="a")

    async def one() -> list[object]:
        found = []
        for _ in range(3):
            with shared:
                found.append(feature())
                await asyncio.sleep(0)
                with shared:
                    await asyncio.sleep(0)
                    found.append(feature())
            found.append(feature())
            await asyncio.sleep(0)
        return found

    async def main() -> list[list[object]]:
        return await asyncio.gather(*(one() for _ in range(5)))

    assert asyncio.run(main()) == [["a", "a", None] * 3] * 5
    assert not shared._entered


def test_threads_may_share_one_object() -> None:
    shared, wrong = labels(feature="a"), []

    def enter_often() -> None:
        for _ in range(5000):
            with shared:
                if feature() != "a":
                    wrong.append("no label in the block")
            if feature() is not None:
                wrong.append("a label after the block")

    switching = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            for done in [pool.submit(enter_often) for _ in range(8)]:
                done.result()
    finally:
        sys.setswitchinterval(switching)
    assert wrong == []
    assert not shared._entered


def test_a_shared_object_is_left_where_it_was_entered_whatever_lies_above_it() -> None:
    shared, found = labels(feature="a"), {}

    def suspended() -> Iterator[None]:
        with labels(team="x"):
            yield

    def first() -> None:
        with shared:
            generator = suspended()
            next(generator)
            other.run(shared.__enter__)
        found["first, after it"] = feature()
        generator.close()

    other = copy_context()
    first()
    found["other, in it"] = other.run(feature)
    other.run(shared.__exit__, None, None, None)
    found["other, after it"] = other.run(feature)
    assert found == {"first, after it": None, "other, in it": "a", "other, after it": None}


def test_a_block_that_is_left_twice_raises_nothing() -> None:
    block = labels(feature="a")
    with labels(feature="outer"), block:
        block.__exit__(None, None, None)
        assert feature() == "outer"
    block.__exit__(None, None, None)
    assert feature() is None


def test_blocks_that_are_never_left_hold_no_more_than_the_last_ones() -> None:
    def enter_many() -> int:
        labels(team="x").__enter__()
        for number in range(1000):
            labels(feature=number).__enter__()
        assert (feature(), value_of("team")) == (999, "x")
        block, depth = _current(), 0
        while block is not None:
            block, depth = block.outer, depth + 1
        return depth

    assert copy_context().run(enter_many) <= 51


def test_what_is_left_behind_does_not_pile_up() -> None:
    def answers() -> Iterator[object]:
        with labels(feature="a"):
            yield feature()

    for _ in range(100):
        asked = answers()
        next(asked)
        copy_context().run(asked.close)
    with labels(team="x"):
        block, depth = _current(), 0
        while block is not None:
            block, depth = block.outer, depth + 1
    assert depth == 1


def _current():  # type: ignore[no-untyped-def]
    from streamvitals.stream import code_labels

    return code_labels._current.get()
