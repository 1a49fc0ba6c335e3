"""More applications, each as its own documentation begins, and the shape of what it printed.

    python more_driver.py FRAMEWORK MODE
"""

import asyncio
import sys

# ruff: noqa: BLE001 - prints what an app would die of


def openai_agents(model):
    from agents import Agent, Runner, set_tracing_disabled

    set_tracing_disabled(True)

    async def ask():
        result = Runner.run_streamed(Agent(name="a", instructions="be brief", model=model), "hello")
        kinds = [event.type async for event in result.stream_events()]
        return f"{len(kinds)} events, {result.final_output!r}"

    return asyncio.run(ask())


def langgraph(model):
    from langchain_openai import ChatOpenAI
    from langgraph.graph import START, MessagesState, StateGraph

    llm = ChatOpenAI(model=model)
    graph = StateGraph(MessagesState)
    graph.add_node("ask", lambda state: {"messages": [llm.invoke(state["messages"])]})
    graph.add_edge(START, "ask")
    parts = graph.compile().stream({"messages": [("user", "hello")]}, stream_mode="messages")
    return "".join(str(message.content) for message, _ in parts)


def agno(model):
    from agno.agent import Agent
    from agno.models.openai import OpenAIChat

    events = Agent(model=OpenAIChat(id=model), telemetry=False).run("hello", stream=True)
    return "".join(str(event.content or "") for event in events)


def strands(model):
    from strands import Agent
    from strands.models.openai import OpenAIModel

    said = Agent(model=OpenAIModel(client_args={}, model_id=model), callback_handler=None)("hello")
    return str(said.message)


def mirascope(model):
    from mirascope import llm

    return "".join(llm.Model(f"openai/{model}:completions").stream("hello").text_stream())


def magentic(model):
    from magentic import OpenaiChatModel, StreamedStr, prompt

    @prompt("hello", model=OpenaiChatModel(model))
    def ask() -> StreamedStr: ...

    return "".join(ask())


def griptape(model):
    import logging

    from griptape.drivers.prompt.openai import OpenAiChatPromptDriver
    from griptape.structures import Agent
    from griptape.utils import Stream

    agent = Agent(prompt_driver=OpenAiChatPromptDriver(model=model, stream=True))
    logging.disable()  # its lines hold the time of day only if that has changed
    return "".join(str(part.value) for part in Stream(agent).run("hello"))


def guidance(model):
    from guidance import assistant, gen, user
    from guidance.models import OpenAI

    said = OpenAI(model, echo=False)
    with user():
        said += "hello"
    with assistant():
        said += gen("answer", max_tokens=50)
    return said["answer"]


def langfuse(model):
    """The drop-in client of an observability service, which patches the SDK too."""
    from langfuse.openai import OpenAI

    asked = [{"role": "user", "content": "hello"}]
    parts = OpenAI().chat.completions.create(model=model, messages=asked, stream=True)
    return "".join(part.choices[0].delta.content or "" for part in parts)


def outlines(model):
    import openai
    import outlines as outlines_

    return "".join(outlines_.from_openai(openai.OpenAI(), model).stream("hello"))


def promptflow(model):
    from pathlib import Path

    from promptflow.core import Prompty

    Path("ask.prompty").write_text(
        f"---\nname: a\nmodel:\n  api: chat\n  configuration:\n    type: openai\n    model: {model}\n"
        "  parameters:\n    stream: true\n---\nuser:\nhello\n"
    )
    return "".join(part or "" for part in Prompty.load("ask.prompty")())


def gradio(model):
    import gradio as gradio_
    import openai
    from gradio_client import Client

    def answer(message, history):
        said = ""
        asked = [{"role": "user", "content": message}]
        for part in openai.OpenAI().chat.completions.create(model=model, messages=asked, stream=True):
            said += part.choices[0].delta.content or ""
            yield said

    app = gradio_.ChatInterface(answer)
    _, url, _ = app.launch(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1")
    try:
        return Client(url, verbose=False).predict("hello", api_name="/answer")
    finally:
        app.close()


def streamlit(model):
    from streamlit.testing.v1 import AppTest

    def app(model):
        import openai
        import streamlit as st

        if prompt := st.chat_input("say"):
            asked = [{"role": "user", "content": prompt}]
            parts = openai.OpenAI().chat.completions.create(model=model, messages=asked, stream=True)
            st.chat_message("assistant").write_stream(parts)

    shown = AppTest.from_function(app, kwargs={"model": model}, default_timeout=30).run()
    ran = shown.chat_input[0].set_value("hello").run()
    if ran.exception:
        raise RuntimeError([e.message for e in ran.exception])
    return ran.chat_message[0].markdown[0].value


def ell(model):
    """It streams whatever it asks."""
    import ell as ell_
    import openai

    @ell_.simple(model=model, client=openai.OpenAI())
    def ask():
        return "hello"

    return ask()


if __name__ == "__main__":
    try:
        print(str(globals()[sys.argv[1]](sys.argv[2]))[:300])
    except Exception as error:
        print(f"{type(error).__module__}.{type(error).__name__}: {str(error)[:150]}")
        sys.exit(1)
