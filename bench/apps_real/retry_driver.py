"""One framework's own retry, or one of plain_loops.py, around a streamed answer, with the SDK's retries switched off.
Prints how it went.

    python retry_driver.py FRAMEWORK MODE

Every function tries three times at most. Run by retries.py in the framework's environment.
"""

# ruff: noqa: BLE001 - retry loops as people write them

import asyncio
import sys

import plain_loops
from plain_loops import ATTEMPTS, PAUSE, QUESTION


def langchain_invoke(model):
    from langchain_openai import ChatOpenAI

    llm = ChatOpenAI(model=model, streaming=True, max_retries=0)
    return llm.with_retry(stop_after_attempt=ATTEMPTS, wait_exponential_jitter=False).invoke("hello").content


def langchain_ainvoke(model):
    from langchain_openai import ChatOpenAI

    llm = ChatOpenAI(model=model, streaming=True, max_retries=0)
    chain = llm.with_retry(stop_after_attempt=ATTEMPTS, wait_exponential_jitter=False)
    return asyncio.run(chain.ainvoke("hello")).content


def langchain_stream(model):
    from langchain_openai import ChatOpenAI

    llm = ChatOpenAI(model=model, max_retries=0)
    chain = llm.with_retry(stop_after_attempt=ATTEMPTS, wait_exponential_jitter=False)
    return "".join(str(chunk.content) for chunk in chain.stream("hello"))


def langchain_fallbacks(model):
    from langchain_openai import ChatOpenAI

    llm = ChatOpenAI(model=model, max_retries=0, streaming=True)
    return llm.with_fallbacks([ChatOpenAI(model="ok", max_retries=0, streaming=True)]).invoke("hello").content


def _graph(node):
    from typing import TypedDict

    from langgraph.graph import END, START, StateGraph
    from langgraph.types import RetryPolicy

    class State(TypedDict):
        answer: str

    policy = RetryPolicy(
        max_attempts=ATTEMPTS, initial_interval=PAUSE, max_interval=PAUSE, jitter=False, retry_on=lambda _: True
    )
    graph = StateGraph(State)
    graph.add_node("ask", node, retry_policy=policy)
    graph.add_edge(START, "ask")
    graph.add_edge("ask", END)
    return graph.compile()


def langgraph_invoke(model):
    from langchain_openai import ChatOpenAI

    llm = ChatOpenAI(model=model, streaming=True, max_retries=0)
    return _graph(lambda state: {"answer": llm.invoke("hello").content}).invoke({"answer": ""})["answer"]


def langgraph_ainvoke(model):
    from langchain_openai import ChatOpenAI

    llm = ChatOpenAI(model=model, streaming=True, max_retries=0)

    async def ask(state):
        return {"answer": (await llm.ainvoke("hello")).content}

    return asyncio.run(_graph(ask).ainvoke({"answer": ""}))["answer"]


def litellm_completion(model):
    import litellm

    parts = litellm.completion(
        model=f"openai/{model}", messages=QUESTION, stream=True, max_retries=0, num_retries=ATTEMPTS - 1
    )
    return "".join(part.choices[0].delta.content or "" for part in parts)


def litellm_acompletion(model):
    import litellm

    async def ask():
        parts = await litellm.acompletion(
            model=f"openai/{model}", messages=QUESTION, stream=True, max_retries=0, num_retries=ATTEMPTS - 1
        )
        return "".join([part.choices[0].delta.content or "" async for part in parts])

    return asyncio.run(ask())


def _router(model):
    from litellm import Router

    deployment = {"model_name": "m", "litellm_params": {"model": f"openai/{model}", "max_retries": 0}}
    return Router([deployment], num_retries=ATTEMPTS - 1, retry_after=0, disable_cooldowns=True)


def litellm_router(model):
    parts = _router(model).completion(model="m", messages=QUESTION, stream=True)
    return "".join(part.choices[0].delta.content or "" for part in parts)


def litellm_router_async(model):
    async def ask():
        parts = await _router(model).acompletion(model="m", messages=QUESTION, stream=True)
        return "".join([part.choices[0].delta.content or "" async for part in parts])

    return asyncio.run(ask())


def _llamaindex(model):
    from llama_index.core.llms import LLMMetadata
    from llama_index.llms.openai import OpenAI

    class Fake(OpenAI):
        @property
        def metadata(self):
            return LLMMetadata(model_name=self.model, is_chat_model=True)

    return Fake(model=model, max_retries=ATTEMPTS - 1)


def llamaindex_stream_chat(model):
    from llama_index.core.llms import ChatMessage

    return "".join(c.delta or "" for c in _llamaindex(model).stream_chat([ChatMessage(role="user", content="hello")]))


def llamaindex_astream_chat(model):
    from llama_index.core.llms import ChatMessage

    async def ask():
        parts = await _llamaindex(model).astream_chat([ChatMessage(role="user", content="hello")])
        return "".join([part.delta or "" async for part in parts])

    return asyncio.run(ask())


def instructor_partial(model):
    import instructor
    from openai import OpenAI
    from pydantic import BaseModel

    class User(BaseModel):
        name: str
        age: int

    client = instructor.from_openai(OpenAI(max_retries=0))
    parts = client.chat.completions.create_partial(
        model=model, response_model=User, messages=QUESTION, max_retries=ATTEMPTS
    )
    return repr(list(parts)[-1])


def smolagents_stream(model):
    from smolagents import ChatMessage, MessageRole, OpenAIModel, models

    models.RETRY_WAIT = PAUSE
    asked = [ChatMessage(role=MessageRole.USER, content=[{"type": "text", "text": "hello"}])]
    llm = OpenAIModel(model_id=model, client_kwargs={"max_retries": 0})
    llm.retryer.wait_seconds = PAUSE
    return "".join(part.content or "" for part in llm.generate_stream(asked))


def dspy_streamify(model):
    import dspy

    dspy.configure(lm=dspy.LM(f"openai/{model}", cache=False, num_retries=ATTEMPTS - 1), adapter=dspy.ChatAdapter())
    ask = dspy.streamify(dspy.Predict("question -> answer"))

    async def collect():
        return [part async for part in ask(question="hi")]

    return f"{len(asyncio.run(collect()))} items"


def haystack_generator(model):
    from haystack.components.generators.chat import OpenAIChatGenerator
    from haystack.dataclasses import ChatMessage

    generator = OpenAIChatGenerator(model=model, streaming_callback=lambda _: None, max_retries=ATTEMPTS - 1)
    return generator.run([ChatMessage.from_user("hello")])["replies"][0].text


def _pydantic_ai(model, client=None):
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    return OpenAIChatModel(model, provider=OpenAIProvider(openai_client=client) if client else "openai")


def pydantic_ai_fallback(model):
    from openai import AsyncOpenAI
    from pydantic_ai import Agent
    from pydantic_ai.models.fallback import FallbackModel

    client = AsyncOpenAI(max_retries=0)
    agent = Agent(FallbackModel(_pydantic_ai(model, client), _pydantic_ai("ok", client)))

    async def ask():
        async with agent.run_stream("hello") as result:
            return await result.get_output()

    return asyncio.run(ask())


def pydantic_ai_transport(model):
    """Its own advice for retries: a transport that tries again below the SDK."""
    import httpx2
    from openai import AsyncOpenAI
    from pydantic_ai import Agent
    from pydantic_ai.retries import AsyncHTTPX2TenacityTransport, RetryConfig
    from tenacity import retry_if_exception_type, stop_after_attempt, wait_fixed

    def validate(response):
        response.raise_for_status()

    transport = AsyncHTTPX2TenacityTransport(
        config=RetryConfig(
            retry=retry_if_exception_type(httpx2.HTTPStatusError), wait=wait_fixed(PAUSE),
            stop=stop_after_attempt(ATTEMPTS), reraise=True,
        ),
        wrapped=httpx2.AsyncHTTPTransport(), validate_response=validate,
    )
    client = AsyncOpenAI(max_retries=0, http_client=httpx2.AsyncClient(transport=transport))
    agent = Agent(_pydantic_ai(model, client))

    async def ask():
        async with agent.run_stream("hello") as result:
            return await result.get_output()

    return asyncio.run(ask())


def openai_agents(model):
    from agents import Agent, OpenAIChatCompletionsModel, Runner, set_tracing_disabled
    from openai import AsyncOpenAI

    set_tracing_disabled(True)
    agent = Agent(name="a", model=OpenAIChatCompletionsModel(model, AsyncOpenAI(max_retries=0)))

    async def ask():
        for attempt in range(ATTEMPTS):
            try:
                result = Runner.run_streamed(agent, "hello")
                async for _ in result.stream_events():
                    pass
            except Exception:
                if attempt == ATTEMPTS - 1:
                    raise
                await asyncio.sleep(PAUSE)
            else:
                return str(result.final_output)
        return ""

    return asyncio.run(ask())


def openai_agents_policy(model):
    """Its own retries, which are of a model's settings."""
    from agents import Agent, ModelSettings, OpenAIChatCompletionsModel, Runner, set_tracing_disabled
    from agents.retry import ModelRetrySettings, retry_policies
    from openai import AsyncOpenAI

    set_tracing_disabled(True)
    policy = retry_policies.any(retry_policies.http_status([429]), retry_policies.network_error())
    again = ModelRetrySettings(
        max_retries=ATTEMPTS - 1, policy=policy, backoff={"initial_delay": PAUSE, "max_delay": PAUSE, "jitter": False}
    )
    answers = OpenAIChatCompletionsModel(model, AsyncOpenAI(max_retries=0))
    agent = Agent(name="a", model=answers, model_settings=ModelSettings(retry=again))

    async def ask():
        result = Runner.run_streamed(agent, "hello")
        async for _ in result.stream_events():
            pass
        return str(result.final_output)

    return asyncio.run(ask())


def griptape(model):
    import logging

    from griptape.drivers.prompt.openai import OpenAiChatPromptDriver
    from griptape.structures import Agent
    from griptape.utils import Stream

    driver = OpenAiChatPromptDriver(
        model=model, stream=True, max_attempts=ATTEMPTS, min_retry_delay=PAUSE, max_retry_delay=PAUSE,
        ignored_exception_types=(),
    )
    driver.client.max_retries = 0
    logging.disable()  # its lines hold the time of day only if that has changed
    return "".join(str(part.value) for part in Stream(Agent(prompt_driver=driver)).run("hello"))


if __name__ == "__main__":
    try:
        print(repr((globals().get(sys.argv[1]) or getattr(plain_loops, sys.argv[1]))(sys.argv[2]))[:120])
    except Exception as error:
        print(f"{type(error).__module__}.{type(error).__name__}: {str(error)[:120]}")
        sys.exit(1)
