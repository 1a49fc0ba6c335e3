"""An application with another instrumentation of the SDK in it, and perhaps with ours: what it saw, and which
spans came of it, as JSON in a file. Run by run.py; imports nothing of streamvitals unless told to.

    python child.py '{"peer": "traceloop", "order": "peer-first", "ours": "", "base_url": ..., "out": ...}'
"""

import asyncio
import functools
import gc
import json
import logging
import re
import sys

SPANS = []
SERVER = {}


class Noise(logging.Handler):
    """What asyncio and the interpreter complain of."""

    def __init__(self):
        super().__init__(logging.ERROR)
        self.heard = set()
        logging.getLogger("asyncio").addHandler(self)
        sys.unraisablehook = self.unraisable

    def unraisable(self, args):
        self.heard.add(f"unraisable {args.exc_type.__name__}: {args.exc_value}")

    def emit(self, record):
        self.heard.add("asyncio: " + re.sub(r"<.*|'.*", "*", record.getMessage()))


def attempt(view, act, *args):
    try:
        act(view, *args)
    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001
        view.error(error)


async def aattempt(view, act, *args):
    try:
        await act(view, *args)
    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001
        view.error(error)


def run_all(chosen, around):
    import openai
    from acts import ACTS, View

    options = {"api_key": "key", "base_url": SERVER["base_url"], "max_retries": 0, "timeout": 20}
    seen = {}
    noise = Noise()
    client = openai.OpenAI(**options)
    for name, model, act, _ in ACTS:
        if act is not None and (not chosen or name in chosen):
            view = seen["sync " + name] = View()
            around(functools.partial(attempt, view, act, client, model))
            gc.collect()
    client.close()

    async def every():
        async_client = openai.AsyncOpenAI(**options)
        for name, model, _, act in ACTS:
            if act is not None and (not chosen or name in chosen):
                view = seen["async " + name] = View()
                # A task of its own, as a request's handler has.
                await asyncio.ensure_future(aattempt(view, act, async_client, model))
                gc.collect()
                await asyncio.sleep(0)
        await async_client.close()

    around(lambda: asyncio.run(every()))
    gc.collect()
    views = {name: view.saw for name, view in seen.items()}
    views["noise"] = sorted(noise.heard)
    return views


def keep_spans():
    """A provider whose spans are kept here; the one of opentelemetry-instrument, where there is one."""
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

    class Kept(SpanExporter):
        def export(self, spans):
            SPANS.extend(
                {
                    "scope": span.instrumentation_scope.name, "name": span.name, "status": span.status.status_code.name,
                    "parent": bool(span.parent), "start": span.start_time, "events": [e.name for e in span.events],
                    "attributes": {k: v if isinstance(v, (str, int)) else repr(v) for k, v in span.attributes.items()
                                   if not isinstance(v, float)},
                }
                for span in spans
            )
            return SpanExportResult.SUCCESS

    if not isinstance(trace.get_tracer_provider(), TracerProvider):
        trace.set_tracer_provider(TracerProvider())
    trace.get_tracer_provider().add_span_processor(SimpleSpanProcessor(Kept()))


MODULES = {
    "genai-openai": "opentelemetry.instrumentation.genai.openai",
    "openai-v2": "opentelemetry.instrumentation.openai_v2",
    "traceloop": "opentelemetry.instrumentation.openai",
    "openinference": "openinference.instrumentation.openai",
}


def start_peer(name):
    if name == "sentry":
        import sentry_sdk
        from sentry_sdk.transport import Transport

        class Kept(Transport):
            def capture_envelope(self, envelope):
                for item in envelope.items:
                    told = item.payload.json or {}
                    SPANS.extend(
                        {"scope": "sentry", "name": span.get("op"), "status": span.get("status"), "parent": True,
                         "start": 0, "events": [], "attributes": {}}
                        for span in told.get("spans", ())
                    )

        sentry_sdk.init(dsn="http://key@127.0.0.1:9/1", traces_sample_rate=1.0, transport=Kept)
    elif name == "all":
        for each in SERVER["all"]:
            start_peer(each)
    elif name:
        __import__(MODULES[name])
        sys.modules[MODULES[name]].OpenAIInstrumentor().instrument()


def around_act(peer):
    if peer != "sentry":
        return lambda act: act()
    import sentry_sdk

    def in_transaction(act):
        with sentry_sdk.start_transaction(name="act"):
            act()

    return in_transaction


def start(order, peer, ours):
    """Our patches stand below the peer's, or above."""
    def instrument():
        if ours == "instrument":
            import streamvitals

            streamvitals.instrument()

    if order == "peer-first":
        start_peer(peer)
        import openai

        instrument()
    else:
        import openai  # noqa: F401

        instrument()
        start_peer(peer)


if __name__ == "__main__":
    told = json.loads(sys.argv[1])
    SERVER.update(told)
    if told["peer"] != "sentry":
        keep_spans()
    start(told["order"], told["peer"], told["ours"])
    views = run_all(told["acts"], around_act(told["peer"]))
    if told["ours"] == "instrument":
        sys.modules["streamvitals"].flush()
    with open(told["out"], "w") as file:
        json.dump({"views": views, "spans": SPANS}, file)
