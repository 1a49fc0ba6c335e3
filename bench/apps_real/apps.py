"""The applications: which recipe runs each, in which environment, with which settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

MODES = ("ok", "reset", "silent-cut", "429x2", "stall")
TWO = ("reset", "silent-cut")  # for what is slow, or differs from another only in how it is started
RECIPES = Path(__file__).parent / "recipes"


@dataclass(frozen=True)
class App:
    """``recipe`` is run_<recipe>.sh."""

    name: str
    recipe: str
    venv: str
    env: Mapping[str, str] = field(default_factory=dict)
    modes: tuple[str, ...] = MODES


def _more(name: str, venv: str = "") -> App:
    """A function of more_driver.py."""
    env = {"DRIVER": str(Path(__file__).with_name("more_driver.py")), "DRIVER_ARGS": name, "VENV_NAME": venv or name}
    return App(name.replace("_", "-"), "py", venv or name, env)


def _command(name: str, command: str, venv: str = "ways", setup: str = "") -> App:
    """See run_command.sh."""
    env = {"VENV_NAME": venv, "COMMAND": command, "SETUP": setup}
    return App(name, "command", venv, env, TWO)


def _server(name: str, command: str, asks: str, venv: str = "ways", client: str = "", **env: str) -> App:
    """See run_server.sh."""
    told = {"VENV_NAME": venv, "COMMAND": command, "ASKS": asks, "CLIENT": client, **env}
    return App(name, "server", venv, told, TWO)


APPS = (
    App("llm", "llm", "llm"),
    App("instructor", "instructor", "instructor"),
    App("sgpt", "sgpt", "sgpt"),
    App("pydantic-ai", "pydantic_ai", "pydantic-ai"),
    App("pydantic-ai chat", "pydantic_ai", "pydantic-ai", {"SURFACE": "chat"}),
    App("langchain", "langchain", "langchain"),
    App("langchain responses", "langchain", "langchain", {"SURFACE": "responses"}),
    App("llamaindex", "llamaindex", "llamaindex"),
    App("smolagents", "smolagents", "smolagents"),
    App("autogen", "autogen", "autogen"),
    App("ag2", "ag2", "ag2"),
    App("ag2 responses", "ag2", "ag2", {"SURFACE": "responses"}),
    App("haystack", "haystack", "haystack"),
    App("litellm", "litellm", "litellm"),
    App("semantic-kernel", "semantic_kernel", "semantic-kernel"),
    App("dspy", "dspy", "dspy"),
    # Its recipe switches OpenTelemetry off, all of it, which switches streamvitals off too.
    App("crewai", "crewai", "crewai", {"OTEL_SDK_DISABLED": ""}),
    # The SDK's own, which 2.54 no longer has.
    _command("openai CLI", "openai api chat.completions.create -m $MODE -g user hello --stream", "openai-cli"),
    _more("openai_agents", "agents"), _more("langgraph"), _more("agno"), _more("strands"), _more("mirascope"),
    _more("magentic"), _more("griptape"),
    App("uvicorn --workers 2", "uvicorn2", "fastapi"),
    App("gunicorn uvicorn workers", "gunicorn_uvicorn", "fastapi"),
    App("gunicorn --preload flask", "flask_preload", "flask"),
    _more("guidance"), _more("langfuse"), _more("outlines"), _more("promptflow"), _more("gradio"), _more("streamlit"),
    _more("ell"),
    _command("aider", (
        "aider --model openai/$MODE --message hello --no-git --yes-always --no-show-model-warnings --no-check-update"
        " --no-analytics --no-pretty --no-detect-urls --no-show-release-notes"
        " --chat-history-file $TMP/said --input-history-file $TMP/asked"
    ), "aider"),
    # It breaks lines where it shows what is logged, and says at any time that it cannot fetch its encodings.
    _command("gptme", (
        "env COLUMNS=999 GPTME_TIKTOKEN_TIMEOUT=0 gptme --non-interactive --no-confirm --tools none --name x"
        " -m openai/$MODE hello"
    ), "gptme"),
    _server("litellm proxy", "litellm --model openai/$MODE --port $P --host 127.0.0.1", "ask", "litellm-proxy",
            "proxy_client.py", LITELLM_MASTER_KEY="sk-1", LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY="true"),
    _server("gunicorn gthread django", "gunicorn -w 2 --threads 4 -b 127.0.0.1:$P djangoapp:application", "/s"),
    _server("gunicorn gevent django", "gunicorn -w 2 -k gevent -b 127.0.0.1:$P djangoapp:application", "/s"),
    _server("uvicorn django", "uvicorn djangoapp:asgi --port $P", "/s /a"),
    _server("uvicorn sse-starlette", "uvicorn sseapp:app --port $P", "/a"),
    _server("hypercorn on trio", "hypercorn -k trio -b 127.0.0.1:$P sseapp:app", "/a"),
    _server("celery worker", "celery -A celeryapp worker -c 2 -l WARNING", "ask", client="celery_client.py"),
    _command("nohup", "nohup python $D/ask.py $MODE"),
    _command("uv run", "uv run --active --no-project python $D/ask.py $MODE"),
    _command("zipapp", "./ask.pyz $MODE", setup=(
        "mkdir z; cp $D/ask.py z/__main__.py; python -m zipapp z -o ask.pyz -p '/usr/bin/env python'"
    )),
    _command("python -W error", "python -W error $D/ask.py $MODE"),
    # What pytest shows of a test that failed has our frame and our warning in it, and is meant to.
    _command("pytest", "python -m pytest -q --tb=line --show-capture=no -p no:cacheprovider $D/app_tests.py"),
    _command("jupyter execute", "jupyter execute $D/ask.ipynb"), _command("ipython", "ipython $D/ask.py -- $MODE"),
    _command("pools of processes", "python $D/pools.py $MODE"), _command("gevent", "python $D/gevent_app.py $MODE"),
    _command("trio", "python $D/trio_app.py $MODE"), _command("uvloop", "python $D/uvloop_app.py $MODE"),
)
# What every run of the tests affords: these start fast, and get along in one environment.
TOGETHER = (
    "llm", "instructor", "shell-gpt", "click", "langchain-openai", "pydantic-ai-slim[openai]", "openai-agents",
    "fastapi", "uvicorn[standard]", "flask", "gunicorn",
)
FAST = (
    ("llm", "reset"), ("llm", "silent-cut"), ("instructor", "reset"), ("instructor", "429x2"), ("sgpt", "429x2"),
    ("sgpt", "stall"), ("pydantic-ai", "silent-cut"), ("langchain", "reset"), ("langchain", "ok"),
    ("openai-agents", "reset"), ("uvicorn --workers 2", "reset"), ("gunicorn --preload flask", "silent-cut"),
)


def requirements() -> dict[str, tuple[str, ...]]:
    """What each environment is made of."""
    lines = (RECIPES / "venvs.txt").read_text().splitlines()
    return {name: tuple(what.split()) for name, _, what in (line.partition(":") for line in lines if line)}
