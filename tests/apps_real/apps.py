"""The applications: which recipe runs each, in which environment, with which settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

RECIPES = Path(__file__).parent / "recipes"


@dataclass(frozen=True)
class App:
    """``recipe`` is run_<recipe>.sh; ``slow`` is what CI need not spend its time on: it takes long to install or
    to start, or another one shows the same."""

    name: str
    recipe: str
    venv: str
    env: Mapping[str, str] = field(default_factory=dict)
    slow: bool = False


def _more(name: str, venv: str = "") -> App:
    """A function of more_driver.py."""
    env = {"DRIVER": str(Path(__file__).with_name("more_driver.py")), "DRIVER_ARGS": name, "VENV_NAME": venv or name}
    return App(name.replace("_", "-"), "py", venv or name, env, slow=True)


APPS = (
    App("llm", "llm", "llm"),
    App("instructor", "instructor", "instructor"),
    App("sgpt", "sgpt", "sgpt"),
    App("pydantic-ai", "pydantic_ai", "pydantic-ai"),
    App("pydantic-ai chat", "pydantic_ai", "pydantic-ai", {"SURFACE": "chat"}, slow=True),
    App("langchain", "langchain", "langchain"),
    App("langchain responses", "langchain", "langchain", {"SURFACE": "responses"}, slow=True),
    App("llamaindex", "llamaindex", "llamaindex"),
    App("smolagents", "smolagents", "smolagents", slow=True),
    App("autogen", "autogen", "autogen", slow=True),
    App("ag2", "ag2", "ag2", slow=True),
    App("ag2 responses", "ag2", "ag2", {"SURFACE": "responses"}, slow=True),
    App("haystack", "haystack", "haystack", slow=True),
    App("litellm", "litellm", "litellm", slow=True),
    App("semantic-kernel", "semantic_kernel", "semantic-kernel", slow=True),
    App("dspy", "dspy", "dspy", slow=True),
    # Its recipe switches OpenTelemetry off, all of it, which switches streamvitals off too.
    App("crewai", "crewai", "crewai", {"OTEL_SDK_DISABLED": ""}, slow=True),
    App("openai CLI", "py", "sgpt", {
        "VENV_NAME": "sgpt", "DRIVER": "-m",
        "DRIVER_ARGS": "openai.cli api chat.completions.create -g user hello --stream -m",
    }, slow=True),
    _more("openai_agents", "agents"), _more("langgraph"), _more("agno"), _more("strands"), _more("mirascope"),
    _more("magentic"), _more("griptape"),
    App("uvicorn --workers 2", "uvicorn2", "fastapi"),
    App("gunicorn uvicorn workers", "gunicorn_uvicorn", "fastapi", slow=True),
    App("gunicorn --preload flask", "flask_preload", "flask"),
)
MODES = ("ok", "reset", "silent-cut", "429x2", "stall")


def requirements() -> dict[str, tuple[str, ...]]:
    """What each environment is made of."""
    lines = (RECIPES / "venvs.txt").read_text().splitlines()
    return {name: tuple(what.split()) for name, _, what in (line.partition(":") for line in lines if line)}
