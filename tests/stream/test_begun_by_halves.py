"""A fault of ours while a stream begins: its slot is free again, and nothing of it writes there."""

from __future__ import annotations

import openai
import pytest

from app_support import MESSAGES, settle
from counting_support import counted, open_streams
from streamvitals.faults import ThreadedFaultServer
from streamvitals.process import lifecycle
from streamvitals.testing import recorded


def test_a_stream_that_began_by_halves_writes_into_nobodys_slot(
    server: ThreadedFaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with recorded() as records, openai.OpenAI(api_key="key", base_url=server.base_url, max_retries=0) as client:

        def stream() -> int:
            return sum(1 for _ in client.chat.completions.create(model="sv-ok", messages=MESSAGES, stream=True))

        current = lifecycle.current()
        assert current is not None
        whole = stream()
        with monkeypatch.context() as broken:
            broken.setattr(current._lag, "watch", lambda _: 1 / 0)
            assert stream() == whole
        assert open_streams() == 0
        assert stream() == whole
        settle()
        assert counted() == {"completed": 2}
        assert records.faults == ["observe"]
