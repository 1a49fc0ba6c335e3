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
    from griptape.drivers.prompt.openai import OpenAiChatPromptDriver
    from griptape.structures import Agent
    from griptape.utils import Stream

    agent = Agent(prompt_driver=OpenAiChatPromptDriver(model=model, stream=True))
    return "".join(str(part.value) for part in Stream(agent).run("hello"))


if __name__ == "__main__":
    try:
        print(str(globals()[sys.argv[1]](sys.argv[2]))[:300])
    except Exception as error:
        print(f"{type(error).__module__}.{type(error).__name__}: {str(error)[:150]}")
        sys.exit(1)
