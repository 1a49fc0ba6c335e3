"""``@streamvitals.labels(…)``: functions of every kind keep their kind, and only their own lines have the labels."""

from __future__ import annotations

import asyncio
import functools
import inspect
import types
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from typing import Any

import pytest

import streamvitals
from streamvitals.stream.code_labels import labels, value_of


def feature() -> object:
    return value_of("feature")


def passed_on(function: Callable[..., Any]) -> Callable[..., Any]:
    """As decorators are that know nothing of coroutines."""
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return call


def test_a_function_and_what_it_raises() -> None:
    @labels(feature="a")
    def ask(more: int, *, raises: bool = False) -> tuple[object, int]:
        """Ask."""
        if raises:
            raise ZeroDivisionError
        return feature(), more

    assert ask(1) == ("a", 1)
    with pytest.raises(ZeroDivisionError):
        ask(1, raises=True)
    assert feature() is None
    assert (ask.__name__, ask.__doc__, list(inspect.signature(ask).parameters)) == ("ask", "Ask.", ["more", "raises"])


def test_methods_of_every_kind_and_callable_objects() -> None:
    class App:
        @labels(feature="a")
        def method(self) -> tuple[object, object]:
            return self, feature()

        @labels(feature="b")
        @staticmethod
        def static() -> object:
            return feature()

        @labels(feature="c")
        @classmethod
        def of_class(cls) -> tuple[object, object]:
            return cls, feature()

        async def __call__(self) -> object:
            return feature()

    app = App()
    assert app.method() == (app, "a")
    assert (app.static(), App.static()) == ("b", "b")
    assert app.of_class() == (App, "c")
    called = labels(feature="d")(functools.partial(app))
    assert inspect.iscoroutinefunction(called)
    assert asyncio.run(called()) == "d"


@pytest.mark.parametrize("between", [lambda function: function, passed_on])
def test_a_coroutine_function_has_them_while_its_caller_does_not(between: Callable[..., Any]) -> None:
    @labels(feature="a")
    @between
    async def ask() -> object:
        await asyncio.sleep(0)
        return feature()

    async def main() -> list[object]:
        waiting = ask()
        before = feature()
        return [before, await waiting, feature(), *await asyncio.gather(ask(), ask())]

    assert asyncio.run(main()) == [None, "a", None, "a", "a"]


@pytest.mark.parametrize("between", [lambda function: function, passed_on])
def test_a_generator_is_labelled_and_its_reader_is_not(between: Callable[..., Any]) -> None:
    closed: list[object] = []

    @labels(feature="a")
    @between
    def ask() -> Generator[object, object, str]:
        try:
            sent = yield feature()
            try:
                yield sent, feature()
            except KeyError as error:
                yield type(error), feature()
            return "end"
        finally:
            closed.append(feature())

    def whole() -> Iterator[Any]:
        yield (yield from asked)

    asked = ask()
    assert (next(asked), feature()) == ("a", None)
    assert (asked.send(1), feature()) == ((1, "a"), None)
    assert (asked.throw(KeyError()), feature()) == ((KeyError, "a"), None)
    assert list(whole()) == ["end"]
    half_read = ask()
    next(half_read)
    half_read.close()
    assert closed == ["a", "a"]
    assert inspect.isgeneratorfunction(ask) == (between is not passed_on)


@pytest.mark.parametrize("between", [lambda function: function, passed_on])
def test_an_asynchronous_generator_is_labelled_and_its_reader_is_not(between: Callable[..., Any]) -> None:
    closed: list[object] = []

    @labels(feature="a")
    @between
    async def ask() -> AsyncIterator[object]:
        try:
            await asyncio.sleep(0)
            yield feature()
            try:
                yield feature()
            except KeyError:
                yield "thrown", feature()
        finally:
            await asyncio.sleep(0)
            closed.append(feature())

    async def main() -> None:
        assert [(item, feature()) async for item in ask()] == [("a", None)] * 2
        asked: Any = ask()
        await anext(asked)
        await anext(asked)
        assert await asked.athrow(KeyError()) == ("thrown", "a")
        await asked.aclose()
        half_read: Any = ask()
        await anext(half_read)
        await half_read.aclose()
        assert closed == ["a"] * 3

    asyncio.run(main())


def test_a_generator_that_is_awaited() -> None:
    @labels(feature="a")
    @types.coroutine
    def ask() -> Generator[None, None, object]:
        yield
        return feature()

    async def main(asked: Awaitable[object]) -> object:
        return await asked

    assert asyncio.run(main(ask())) == "a"


def test_what_cannot_be_labelled_is_refused_where_it_is_decorated() -> None:
    with pytest.raises(TypeError, match=r'labels are given by name: .*@streamvitals\.labels\(feature="search"\)'):
        @streamvitals.labels  # type: ignore[arg-type]
        def ask() -> None: ...

    with pytest.raises(TypeError, match=r"labels\(…\) decorates functions and methods, not the class App"):
        @streamvitals.labels(feature="a")
        class App: ...

    with pytest.raises(TypeError, match="not a str"):
        labels(feature="a")("text")
    with labels(self="a"):
        assert value_of("self") == "a"
