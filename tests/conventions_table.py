"""What semantic-conventions-genai v0.1.0 says, typed by hand from its pages: no code of ours makes it.

https://github.com/open-telemetry/semantic-conventions-genai/tree/v0.1.0/docs/gen-ai; not named test_*.
"""

from __future__ import annotations

from typing import NamedTuple

REQUIRED, IF_KNOWN, RECOMMENDED, ON_REQUEST = "required", "conditionally required", "recommended", "opt-in"

S = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
K = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864)

M = {
    "gen_ai.operation.name": REQUIRED,
    "gen_ai.provider.name": REQUIRED,
    "gen_ai.request.model": IF_KNOWN,
    "server.port": IF_KNOWN,  # if server.address is set
    "gen_ai.response.model": RECOMMENDED,
    "server.address": RECOMMENDED,
}
E = {"error.type": IF_KNOWN}  # only if it ended in an error
O = {"openai.response.service_tier": RECOMMENDED, "openai.response.system_fingerprint": RECOMMENDED}  # noqa: E741
MODALITY = {"gen_ai.token.modality": REQUIRED}


class Metric(NamedTuple):
    """One metric of a client."""

    instrument: str
    unit: str
    boundaries: tuple[float, ...]
    attributes: dict[str, str]


METRICS = {
    "gen_ai.client.inference.duration": Metric("histogram", "s", S, M | E | O),
    "gen_ai.client.inference.time_to_first_chunk": Metric("histogram", "s", S, M),
    "gen_ai.client.inference.time_per_output_chunk": Metric("histogram", "s", S, M),
    "gen_ai.client.inference.usage.input_tokens": Metric("counter", "{token}", (), M | MODALITY | O),
    "gen_ai.client.inference.usage.output_tokens": Metric("counter", "{token}", (), M | MODALITY | O),
    "gen_ai.client.inference.usage.cache_read.input_tokens": Metric("counter", "{token}", (), M | MODALITY | O),
    "gen_ai.client.inference.usage.cache_write.input_tokens": Metric("counter", "{token}", (), M | MODALITY | O),
    "gen_ai.client.inference.usage.reasoning.output_tokens": Metric("counter", "{token}", (), M | MODALITY | O),
    "gen_ai.client.inference.operation.input_tokens": Metric("histogram", "{token}", K, M | O),
    "gen_ai.client.inference.operation.output_tokens": Metric("histogram", "{token}", K, M | O),
    # For operations without a metric of their own: of streams, a fetch.
    "gen_ai.client.operation.duration": Metric("histogram", "s", S, M | E | O),
}
MODALITIES = {"text", "image", "audio", "unknown"}

# The generation before, of the core conventions v1.41.
OLD_TOKENS = M | O | {"gen_ai.token.type": REQUIRED}
OLD_METRICS = {
    "gen_ai.client.operation.duration": Metric("histogram", "s", S, M | E | O),
    "gen_ai.client.operation.time_to_first_chunk": Metric("histogram", "s", S, M),
    "gen_ai.client.operation.time_per_output_chunk": Metric("histogram", "s", S, M),
    "gen_ai.client.token.usage": Metric("histogram", "{token}", K, OLD_TOKENS),
}

# The inference's span: type and level of each attribute. Those of content are opt-in, and never ours.
SPAN: dict[str, tuple[type, str]] = {
    "gen_ai.operation.name": (str, REQUIRED),
    "gen_ai.provider.name": (str, REQUIRED),
    "gen_ai.request.model": (str, IF_KNOWN),
    "error.type": (str, IF_KNOWN),
    "gen_ai.conversation.id": (str, IF_KNOWN),
    "gen_ai.output.type": (str, IF_KNOWN),
    "gen_ai.prompt.name": (str, IF_KNOWN),
    "gen_ai.prompt.version": (str, IF_KNOWN),
    "gen_ai.request.choice.count": (int, IF_KNOWN),  # if it is not 1
    "gen_ai.request.seed": (int, IF_KNOWN),
    "gen_ai.request.stream": (bool, IF_KNOWN),
    "gen_ai.request.top_k": (int, IF_KNOWN),
    "server.port": (int, IF_KNOWN),
    "gen_ai.conversation.compacted": (bool, RECOMMENDED),
    "gen_ai.request.frequency_penalty": (float, RECOMMENDED),
    "gen_ai.request.presence_penalty": (float, RECOMMENDED),
    "gen_ai.request.temperature": (float, RECOMMENDED),
    "gen_ai.request.top_p": (float, RECOMMENDED),
    "gen_ai.request.max_tokens": (int, RECOMMENDED),
    "gen_ai.request.stop_sequences": (tuple, RECOMMENDED),
    "gen_ai.request.previous_response.id": (str, RECOMMENDED),
    "gen_ai.request.reasoning.level": (str, RECOMMENDED),
    "gen_ai.response.finish_reasons": (tuple, RECOMMENDED),
    "gen_ai.response.id": (str, RECOMMENDED),
    "gen_ai.response.model": (str, RECOMMENDED),
    "gen_ai.response.time_to_first_chunk": (float, RECOMMENDED),
    "gen_ai.usage.input_tokens": (int, RECOMMENDED),
    "gen_ai.usage.output_tokens": (int, RECOMMENDED),
    "gen_ai.usage.cache_read.input_tokens": (int, RECOMMENDED),
    "gen_ai.usage.cache_write.input_tokens": (int, RECOMMENDED),
    "gen_ai.usage.reasoning.output_tokens": (int, RECOMMENDED),
    **{
        f"gen_ai.usage.{modality}.{count}": (int, RECOMMENDED)
        for modality in ("text", "image", "audio")
        for count in ("input_tokens", "output_tokens", "cache_read.input_tokens")
    },
    "server.address": (str, RECOMMENDED),
    "openai.request.service_tier": (str, IF_KNOWN),  # if it is not auto
    "openai.response.service_tier": (str, IF_KNOWN),
    "openai.response.system_fingerprint": (str, RECOMMENDED),
    "openai.api.type": (str, RECOMMENDED),
}
SPAN_LEFT_OUT = {
    "gen_ai.request.stop_sequences": "they are the app's text, and no content leaves the process",
    "gen_ai.prompt.name": "the SDK knows no name of a prompt but the provider's id of one",
    "gen_ai.prompt.version": "the same",
    "gen_ai.conversation.compacted": "what the SDK is told of it is an item of the content",
}
AT_CREATION = {
    "gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model", "server.address", "server.port",
}
# The span of a fetch: no model was asked, and the tokens are those of another span.
FETCH_SPAN: dict[str, tuple[type, str]] = {
    "gen_ai.operation.name": (str, REQUIRED),
    "gen_ai.provider.name": (str, REQUIRED),
    "gen_ai.response.id": (str, REQUIRED),
    "error.type": (str, IF_KNOWN),
    "server.port": (int, IF_KNOWN),
    "gen_ai.request.stream_cursor": (str, IF_KNOWN),
    "gen_ai.response.model": (str, RECOMMENDED),
    "gen_ai.response.status": (str, RECOMMENDED),
    "gen_ai.response.finish_reasons": (tuple, RECOMMENDED),
    "gen_ai.response.time_to_first_chunk": (float, RECOMMENDED),
    "server.address": (str, RECOMMENDED),
    "openai.api.type": (str, RECOMMENDED),
}
STATUSES = {"queued", "in_progress", "completed", "incomplete", "failed", "cancelled"}

# What we send besides, and what of the recommended we leave out, and why.
OURS = {"streamvitals.outcome"}
LEFT_OUT = {
    "openai.response.system_fingerprint": "a provider changes it at will, and each change would make new series",
}

OPERATIONS = {
    "chat", "generate_content", "text_completion", "embeddings", "retrieval", "fetch_response", "create_agent",
    "invoke_agent", "invoke_workflow", "execute_tool", "plan", "search_memory", "create_memory", "update_memory",
    "upsert_memory", "delete_memory", "create_memory_store", "delete_memory_store",
}
PROVIDERS = {
    "anthropic", "aws.bedrock", "azure.ai.inference", "azure.ai.openai", "cohere", "deepseek", "gcp.gemini",
    "gcp.gen_ai", "gcp.vertex_ai", "groq", "ibm.watsonx.ai", "mistral_ai", "moonshot_ai", "openai", "perplexity",
    "x_ai",
}
