"""What is read of fields of a provider's answers, in any form."""

from __future__ import annotations

from streamvitals.stream import fields
from streamvitals.stream.fields import model_name, word


def test_names_that_come_again_are_held_once() -> None:
    """By the streams that are open, and not at all where a name is longer than any model's."""
    first, again = "".join(["gpt", "-4o"]), "".join(["gpt", "-4o"])
    assert first is not again
    assert model_name(first) is model_name(again)
    known = fields._known_names.cache_info().currsize, fields._known_words.cache_info().currsize
    long = "m" * 1000
    assert (model_name(long), word(long)) == ("m" * 128, "m" * 128)
    assert (fields._known_names.cache_info().currsize, fields._known_words.cache_info().currsize) == known
    assert (model_name(7), word(None), model_name("\x1b"), word("\u00e9")) == (None, None, None, None)
