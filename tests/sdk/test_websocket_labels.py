"""Custom labels of requests over WebSockets: several of one connection may differ."""

from __future__ import annotations

import pytest

import streamvitals
from app_support import App, run, settle
from streamvitals.config import Config
from streamvitals.config.labels import parse
from streamvitals.faults import ThreadedFaultServer
from streamvitals.testing import recorded
from surface_cases import CONNECTED
from websocket_acts import Socket, client, listen

pytestmark = pytest.mark.skipif(not CONNECTED, reason="no WebSockets in this SDK")


@pytest.mark.parametrize("call", CONNECTED, ids=lambda call: call.name)
def test_custom_labels_are_those_of_each_request(call: Socket, server: ThreadedFaultServer) -> None:
    def act(app: App) -> None:
        with call.connect(client(app), "ok") as connection:
            for tenant in ("acme", "globex"):
                asks = call.asks("ok")
                asks["response" if call.realtime else "metadata"] = (
                    {"metadata": {"sv_scenario": "ok", "tenant": tenant}} if call.realtime else {"tenant": tenant}
                )
                with streamvitals.labels(feature=f"of {tenant}"):
                    connection.response.create(**asks)
                listen(app, connection, "events")

    declared = Config(labels=parse("tenant=metadata:tenant,feature=code"))
    with recorded(declared) as records:
        run(act, server)
        settle()
    assert [dict(record.labels.custom) for record in records] == [
        {"tenant": tenant, "feature": f"of {tenant}"} for tenant in ("acme", "globex")
    ]
