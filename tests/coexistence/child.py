"""An application with another instrumentation of the SDK in it, and perhaps with ours: what it saw, and which
spans came of it, as JSON in a file. Run by run.py; imports nothing of streamvitals unless told to.

    python child.py '{"peer": "traceloop", "order": "peer-first", "ours": "", "base_url": ..., "out": ...}'
"""

import asyncio
import gc
import json
import logging
import re
import sys

MESSAGES = [{"role": "user", "content": "hello"}]
VOLATILE = re.compile(r"req_\d+|0x[0-9a-f]+|\b[0-9a-f]{8,}\b|chatcmpl-\w+|resp_\w+|\d+\.\d+")
SPANS = []
SERVER = {}


def same(text):
    return VOLATILE.sub("*", text)


# -- what is seen -------------------------------------------------------------------------------------------


class View:
    """What one act shows the app."""

    def __init__(self):
        self.saw = []

    def stream(self, stream):
        import openai

        response = getattr(stream, "response", None)
        self.saw.append([
            type(stream).__qualname__, isinstance(stream, (openai.Stream, openai.AsyncStream)),
            [name for name in ("close", "__enter__", "__aenter__", "__next__", "__anext__") if hasattr(stream, name)],
            getattr(response, "status_code", None), getattr(response, "is_closed", None),
        ])
        return stream

    def item(self, item):
        self.saw.append([type(item).__name__, same(item.model_dump_json()) if hasattr(item, "model_dump_json") else ""])

    def closed(self, stream):
        self.saw.append(["closed", getattr(getattr(stream, "response", None), "is_closed", None)])

    def error(self, error):
        while error is not None:
            self.saw.append([f"{type(error).__module__}.{type(error).__qualname__}", same(str(error))])
            error = error.__cause__ or error.__context__


# -- the acts: (name, model, synchronous, asynchronous) -----------------------------------------------------


def create(client, model):
    return client.chat.completions.create(model=model, messages=MESSAGES, stream=True)


def responses(client, model):
    return client.responses.create(model=model, input="hello", stream=True)


def read(view, client, model, make=create):
    for item in view.stream(make(client, model)):
        view.item(item)


async def aread(view, client, model, make=create):
    async for item in view.stream(await make(client, model)):
        view.item(item)


def read_responses(view, client, model):
    read(view, client, model, responses)


async def aread_responses(view, client, model):
    await aread(view, client, model, responses)


def read_with(view, client, model):
    with create(client, model) as stream:
        for item in view.stream(stream):
            view.item(item)
    view.closed(stream)


async def aread_with(view, client, model):
    async with await create(client, model) as stream:
        async for item in view.stream(stream):
            view.item(item)
    view.closed(stream)


def read_helper(view, client, model):
    with client.chat.completions.stream(model=model, messages=MESSAGES) as stream:
        for event in stream:
            view.saw.append(event.type)


async def aread_helper(view, client, model):
    async with client.chat.completions.stream(model=model, messages=MESSAGES) as stream:
        async for event in stream:
            view.saw.append(event.type)


def read_raw(view, client, model):
    raw = client.chat.completions.with_raw_response.create(model=model, messages=MESSAGES, stream=True)
    view.saw.append([type(raw).__name__, hasattr(raw, "parse"), getattr(raw, "status_code", None)])
    for item in view.stream(raw.parse()):
        view.item(item)


async def aread_raw(view, client, model):
    raw = await client.chat.completions.with_raw_response.create(model=model, messages=MESSAGES, stream=True)
    view.saw.append([type(raw).__name__, hasattr(raw, "parse"), getattr(raw, "status_code", None)])
    async for item in view.stream(raw.parse()):
        view.item(item)


def read_lines(view, client, model):
    streaming = client.chat.completions.with_streaming_response
    with streaming.create(model=model, messages=MESSAGES, stream=True) as response:
        view.saw += [same(line) for line in response.iter_lines()]


async def aread_lines(view, client, model):
    streaming = client.chat.completions.with_streaming_response
    async with streaming.create(model=model, messages=MESSAGES, stream=True) as response:
        view.saw += [same(line) async for line in response.iter_lines()]


def break_(view, client, model):
    for item in create(client, model):
        view.item(item)
        break


async def abreak(view, client, model):
    async for item in await create(client, model):
        view.item(item)
        break


def close(view, client, model):
    stream = view.stream(create(client, model))
    view.item(next(stream))
    stream.close()
    view.closed(stream)


async def aclose(view, client, model):
    stream = view.stream(await create(client, model))
    view.item(await stream.__anext__())
    await stream.close()
    view.closed(stream)


def raise_(view, client, model):
    for item in create(client, model):
        view.item(item)
        raise KeyError("the app's own")


async def cancelled(view, client, model):
    async def reader():
        async for item in await create(client, model):
            view.item(item)
            started.set()

    started = asyncio.Event()
    task = asyncio.ensure_future(reader())
    await started.wait()
    task.cancel()
    await task


async def deadline(view, client, model):
    await asyncio.wait_for(aread(view, client, model), 1.0)


LONG, HANGS = "sv-ok?chunks=300&gap=0.02", "sv-stall?after=3&stall=60"
ACTS = (
    *(
        (f"{what} {name}", f"sv-{name}", act, a_act)
        for what, act, a_act in (
            ("create", read, aread), ("with", read_with, aread_with), ("helper", read_helper, aread_helper),
            ("raw", read_raw, aread_raw), ("lines", read_lines, aread_lines),
            ("responses", read_responses, aread_responses),
        )
        for name in ("ok", "reset", "silent-cut", *(("broken-json", "429") if what == "create" else ()))
    ),
    ("break", LONG, break_, abreak),
    ("close", LONG, close, aclose),
    ("exception", LONG, raise_, None),
    ("cancelled", HANGS, None, cancelled),
    ("deadline", HANGS, None, deadline),
)


# -- running them -------------------------------------------------------------------------------------------


class Noise(logging.Handler):
    """What asyncio and the interpreter complain of."""

    def __init__(self):
        super().__init__(logging.ERROR)
        self.heard = set()
        logging.getLogger("asyncio").addHandler(self)
        sys.unraisablehook = lambda args: self.heard.add(f"unraisable {args.exc_type.__name__}: {same(str(args.exc_value))}")

    def emit(self, record):
        self.heard.add("asyncio: " + re.sub(r"<.*|'.*", "*", record.getMessage()))


def attempt(view, act, *args):
    try:
        act(view, *args)
    except (Exception, asyncio.CancelledError) as error:
        view.error(error)


async def aattempt(view, act, *args):
    try:
        await act(view, *args)
    except (Exception, asyncio.CancelledError) as error:
        view.error(error)


def run_all(chosen, around):
    import openai

    options = {"api_key": "key", "base_url": SERVER["base_url"], "max_retries": 0, "timeout": 20}
    seen = {}
    noise = Noise()
    client = openai.OpenAI(**options)
    for name, model, act, _ in ACTS:
        if act is not None and name in chosen:
            view = seen["sync " + name] = View()
            around(lambda: attempt(view, act, client, model))
            gc.collect()
    client.close()

    async def every():
        async_client = openai.AsyncOpenAI(**options)
        for name, model, _, act in ACTS:
            if act is not None and name in chosen:
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


# -- the pipeline and the peers -----------------------------------------------------------------------------


def keep_spans():
    """A provider whose spans are kept here; the one of opentelemetry-instrument, where there is one."""
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

    class Kept(SpanExporter):
        def export(self, spans):
            for span in spans:
                SPANS.append({
                    "scope": span.instrumentation_scope.name, "name": span.name, "status": span.status.status_code.name,
                    "parent": bool(span.parent), "start": span.start_time, "events": [e.name for e in span.events],
                    "attributes": {k: v if isinstance(v, (str, int)) else repr(v) for k, v in span.attributes.items()
                                   if not isinstance(v, float)},
                })
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
        for each in told["all"]:
            start_peer(each)
    elif name:
        __import__(MODULES[name])
        sys.modules[MODULES[name]].OpenAIInstrumentor().instrument()


def around_act(peer):
    if "sentry" not in peer:
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
    views = run_all(told["acts"] or [name for name, *_ in ACTS], around_act(told["peer"] if told["peer"] != "all" else ""))
    if told["ours"] == "instrument":
        sys.modules["streamvitals"].flush()
    with open(told["out"], "w") as file:
        json.dump({"views": views, "spans": SPANS}, file)
