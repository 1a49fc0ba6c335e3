"""What is replaced in the SDK's classes is put back."""

from __future__ import annotations

from streamvitals.sdk.replacing import Replacements, same_parameters


class Base:
    def method(self) -> str:
        return "original"


class Derived(Base):
    pass


def test_what_was_replaced_twice_is_the_original_again() -> None:
    """Two threads that see a class for the first time may both replace its method."""
    replaced, original = Replacements(), Base.method
    for _ in range(2):
        below = Base.method
        replaced.make(Base, "method", lambda self, below=below: "ours, over " + below(self))
    assert Base().method() == "ours, over ours, over original"
    replaced.undo()
    assert Base.method is original


def test_what_a_base_class_has_is_found_there_again() -> None:
    replaced = Replacements()
    replaced.make(Derived, "method", lambda self: "ours")
    replaced.undo()
    assert "method" not in vars(Derived)
    assert Derived().method() == "original"


def test_another_patch_over_ours_stays() -> None:
    replaced = Replacements()
    original = Base.method
    replaced.make(Base, "method", lambda self: "ours")
    theirs = lambda self: "theirs"  # noqa: E731
    Base.method = theirs  # type: ignore[method-assign, assignment]
    try:
        replaced.undo()
        assert Base.method is theirs
    finally:
        Base.method = original  # type: ignore[method-assign]


class Alike:
    def built(self, options: str, *, retries_taken: int = 0) -> None:
        """As an SDK's own."""

    def older(self, options: str) -> None: ...

    def other_default(self, options: str, *, retries_taken: int = 1) -> None: ...

    def by_position(self, options: str, retries_taken: int = 0) -> None: ...

    def anything(self, *args: object, **kwargs: object) -> None: ...


def test_parameters_are_the_same_only_if_names_kinds_and_defaults_are() -> None:
    def ours(client: object, options: object, *, retries_taken: int = 0) -> None: ...

    assert same_parameters(ours, Alike.built)
    for other in (Alike.older, Alike.other_default, Alike.by_position, Alike.anything, "no method"):
        assert not same_parameters(ours, other)  # type: ignore[arg-type]
