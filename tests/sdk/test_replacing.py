"""What is replaced in the SDK's classes is put back."""

from __future__ import annotations

from streamvitals.sdk.replacing import Replacements


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
