"""Everything that is particular to openai's SDK, in one description that the patches are given.

Other SDKs come from the same generator, with the same seven patch points and the same names inside (``_client``,
``_iterator``, ``json_data``): the patches would work for all of them. Each would need a description of its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from ..names import OF_CALLS
from ..stream.chunks import ChatChunks, CompletionChunks, Reader
from ..stream.events import AgentEvents, AssistantEvents, BodyBytes, ImageEvents, ResponsesEvents, TranscriptEvents
from . import versions
from .versions import Versions

Surface = tuple[str, type[Reader]]  # operation name and reader


class SDK(NamedTuple):
    """One SDK of the generator. Paths are those of its resources, below the base URL.

    ``by_path`` and ``by_pattern`` give the surfaces by method and path, ``plain`` those of calls without a stream.
    ``named`` finds in a path the response, session or run that a GET names by its id. ``nameable`` are the operations,
    and ends of paths, whose responses can be named in this way. ``body_as_bytes`` is the path whose answer is not
    events, but a body that is played as it comes.
    ``client_providers`` are providers by the client's class, ``runtime_providers`` by the configuration that a client
    takes as `provider=`. ``resources`` are classes by module from which all resources are derived, and
    ``socket_modules`` contain the connections that carry responses. ``helpers`` is the package of the helpers that read
    a stream for the app, ``parsing`` the package that parses into the app's models, ``requests`` the module that sends,
    and ``answered`` its methods that are given every response.
    """

    versions: Versions
    by_path: Mapping[tuple[str, str], Surface]
    by_pattern: tuple[tuple[str, re.Pattern[str], Surface], ...]
    plain: Mapping[tuple[str, str], Surface]
    named: re.Pattern[str]
    nameable: tuple[frozenset[str], str]
    body_as_bytes: str
    client_providers: Mapping[str, str]
    runtime_providers: Mapping[str, str]
    resources: Mapping[str, tuple[str, ...]]
    socket_modules: tuple[str, ...]
    helpers: str
    parsing: str
    requests: str
    answered: tuple[str, ...]

    @property
    def package(self) -> str:
        """The name by which it is imported."""
        return self.versions.package


OPENAI = SDK(
    versions.OPENAI,
    # Operation names are those of OpenTelemetry's conventions where one applies.
    by_path={
        ("post", "/chat/completions"): ("chat", ChatChunks),
        ("post", "/responses"): ("chat", ResponsesEvents),
        ("post", "/completions"): ("text_completion", CompletionChunks),
        ("post", "/agents/sessions"): ("invoke_agent", AgentEvents),
        ("post", "/images/generations"): ("generate_content", ImageEvents),
        ("post", "/images/edits"): ("generate_content", ImageEvents),
        ("post", "/audio/transcriptions"): ("transcription", TranscriptEvents),
        ("post", "/audio/speech"): ("speech", BodyBytes),
    },
    by_pattern=tuple(
        (method, re.compile(pattern), surface)
        for method, pattern, surface in (
            ("get", "/responses/[^/]+", ("fetch_response", ResponsesEvents)),
            ("post", "/threads/(?:[^/]+/)?runs(?:/[^/]+/submit_tool_outputs)?", ("invoke_agent", AssistantEvents)),
            ("get", "/agents/sessions/[^/]+/events", ("invoke_agent", AgentEvents)),
        )
    ),
    # Inference only; what is created and polled for (runs, batches, videos) is no answer. `BodyBytes`: the answer does
    # not say how it ended.
    plain={
        ("post", "/chat/completions"): (f"{OF_CALLS}chat", ChatChunks),
        ("post", "/responses"): (f"{OF_CALLS}chat", ResponsesEvents),
        ("post", "/completions"): (f"{OF_CALLS}text_completion", CompletionChunks),
        ("post", "/embeddings"): (f"{OF_CALLS}embeddings", BodyBytes),
        ("post", "/moderations"): (f"{OF_CALLS}moderation", BodyBytes),
        ("post", "/images/generations"): (f"{OF_CALLS}generate_content", BodyBytes),
        ("post", "/images/edits"): (f"{OF_CALLS}generate_content", BodyBytes),
        ("post", "/images/variations"): (f"{OF_CALLS}generate_content", BodyBytes),
        ("post", "/audio/transcriptions"): (f"{OF_CALLS}transcription", BodyBytes),
        ("post", "/audio/translations"): (f"{OF_CALLS}translation", BodyBytes),
        ("post", "/audio/speech"): (f"{OF_CALLS}speech", BodyBytes),
    },
    named=re.compile(r"(?:.*/)?(?:responses/([^/]+)|agents/sessions/([^/]+)/events|threads/[^/]+/runs/([^/]+))/?"),
    nameable=(frozenset({"fetch_response", "invoke_agent"}), "/responses"),
    body_as_bytes="/audio/speech",
    client_providers={
        "BaseAzureClient": "azure.ai.openai",
        "BedrockOpenAI": "aws.bedrock",
        "AsyncBedrockOpenAI": "aws.bedrock",
    },
    runtime_providers={"bedrock": "aws.bedrock", "vertex": "gcp.vertex_ai"},  # since 3.0
    resources={"openai._resource": ("SyncAPIResource", "AsyncAPIResource")},
    # The connections of other modules, such as translations, carry no responses with a begin and an end.
    socket_modules=(
        "openai.resources.responses.responses",
        "openai.resources.beta.responses.responses",
        "openai.resources.realtime.realtime",
        "openai.resources.beta.realtime.realtime",
    ),
    helpers="openai.lib.streaming",
    parsing="openai.lib._parsing",
    requests="openai._base_client",
    answered=("SyncAPIClient._process_response", "AsyncAPIClient._process_response"),
)
