"""Sets the attributes of a span that has just been started.

The SDK's ``set_attributes`` looks at every value for what cannot be exported, which takes longer than all that we do
for a stream's span. Ours can be, so a span of the SDK is given them in the place where it would keep them: only where
that place is known, the method is the SDK's own, and no limit of the user's could change what is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.trace import Span

_SDK = "opentelemetry.sdk.trace"


def set_attributes(span: Span, attributes: Mapping[str, Any]) -> None:
    """As ``span.set_attributes``, for values that are strings, numbers, bools, or tuples of strings."""
    own, kept = type(span).set_attributes, getattr(span, "_attributes", None)
    if (
        type(kept) is BoundedAttributes and own.__module__ == _SDK and not hasattr(own, "__wrapped__") and _is_known()
        and kept.max_value_len is None and (kept.maxlen is None or len(kept._dict) + len(attributes) <= kept.maxlen)
    ):
        kept._dict.update(attributes)  # one step: who reads it meanwhile sees all or none
    else:
        span.set_attributes(attributes)


@cache
def _is_known() -> bool:
    """Whether this version of OpenTelemetry keeps attributes as they are given, in a dictionary of this name."""
    given: dict[str, Any] = {"text": "a", "number": 1, "float": 0.5, "bool": True, "texts": ("a", "b")}
    try:
        kept: Any = BoundedAttributes(attributes={"first": 1}, immutable=False)
        kept._dict.update(given)
        as_given: bool = vars(BoundedAttributes(attributes=given))["_dict"] == given
        return as_given and dict(kept) == {"first": 1, **given}
    except Exception:  # noqa: BLE001  another version
        return False
