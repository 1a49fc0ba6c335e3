"""An OpenAI-compatible server that breaks streams as it is asked to, for tests of programs that stream.

    with ThreadedFaultServer() as server:               # or, in an event loop: async with FaultServer() as server
        client = openai.OpenAI(base_url=server.base_url, api_key="any")
        server.play("reset?after=5", "ok")              # the first request is cut, every later one is answered
        run_my_code(client)
        assert [entry.scenario for entry in server.log] == ["reset-after-n", "ok"]

A scenario is one way in which a stream can go; ``SCENARIOS`` has them all, each with the outcome that streamvitals
reports for it. A request names its scenario in the model (``sv-reset?after=5``), in the header ``sv-scenario`` or in
the body (``extra_body={"sv_scenario": "reset"}``). For requests that name none, the server plays what is set for their
model (``by_model``), and then its ``default``: a scenario, or a callable that returns one, such as ``Mix``.

What no server can play has base URLs of its own: ``refused_url()``, ``connect_timeout_url()``, ``dns_failure_url()``
and ``tls_failure_url()``. The command ``streamvitals faults`` serves the same to any program; the pytest fixture
``streamvitals_faults`` to a test. Only the standard library is needed.
"""

from .mix import InTurn, Mix
from .request_log import RequestLog
from .scenarios import SCENARIOS, Scenario
from .server import FaultServer
from .threaded import ThreadedFaultServer
from .unreachable import connect_timeout_url, dns_failure_url, refused_url, tls_failure_url

__all__ = [
    "SCENARIOS",
    "FaultServer",
    "InTurn",
    "Mix",
    "RequestLog",
    "Scenario",
    "ThreadedFaultServer",
    "connect_timeout_url",
    "dns_failure_url",
    "refused_url",
    "tls_failure_url",
]
