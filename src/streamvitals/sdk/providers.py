"""Finds gen_ai.provider.name, from a closed vocabulary: by the SDK's client, else by the host.

vLLM, Ollama and a LiteLLM proxy run on any host of their owner, and the header that identifies them (LiteLLM's
``x-litellm-version``) comes with the response, when the stream has long been counted as open under its labels. A port
would be a guess. So they are ``other``, distinguished by ``server_address``, until ``STREAMVITALS_PROVIDERS`` names
them.
"""

from __future__ import annotations

import re
from typing import Any

from ..names import OTHER
from .openai_sdk import SDK

AZURE = "azure.ai.openai"
# Hosts, with all hosts below them: documented base URLs of the OpenAI-compatible endpoints.
_BY_HOST = {
    "api.openai.com": "openai",  # and eu.api.openai.com and the like
    "openai.azure.com": "azure.ai.openai",
    "openai.azure.us": "azure.ai.openai",
    "openai.azure.cn": "azure.ai.openai",
    "cognitiveservices.azure.com": "azure.ai.openai",
    "models.ai.azure.com": "azure.ai.inference",
    "generativelanguage.googleapis.com": "gcp.gemini",
    "openrouter.ai": "openrouter",
    "api.deepseek.com": "deepseek",
    "api.groq.com": "groq",
    "api.x.ai": "x_ai",
    "api.mistral.ai": "mistral_ai",
    "codestral.mistral.ai": "mistral_ai",
    "api.perplexity.ai": "perplexity",
    "api.together.xyz": "together_ai",
    "api.together.ai": "together_ai",
    "api.fireworks.ai": "fireworks_ai",
    "api.cohere.ai": "cohere",
    "api.cohere.com": "cohere",
    "api.anthropic.com": "anthropic",
    "ml.cloud.ibm.com": "ibm.watsonx.ai",
    "wxai.ibm.com": "ibm.watsonx.ai",
}
_FOUNDRY = "services.ai.azure.com"
# Hosts with the region in the middle.
_BEDROCK = re.compile(r"(?:.+\.)?bedrock-[a-z-]+\.[a-z0-9-]+\.(?:vpce\.)?(?:amazonaws\.com(?:\.cn)?|api\.aws)")
_VERTEX = re.compile(r"(?:[a-z0-9-]+-)?aiplatform(?:\.[a-z0-9-]+\.rep)?\.googleapis\.com")


def provider_of(sdk: SDK, client: Any, host: str, path: str) -> str:
    """The provider of a client's base URL; ``other`` where the provider is not known."""
    for base in type(client).__mro__:
        if base.__name__ in sdk.client_providers and base.__module__.partition(".")[0] == sdk.package:
            return sdk.client_providers[base.__name__]
    runtime = getattr(getattr(client, "_provider_runtime", None), "name", None)
    return sdk.runtime_providers.get(str(runtime)) or _by_host(host.rstrip("."), path)


def _by_host(host: str, path: str) -> str:
    for suffix, provider in _BY_HOST.items():
        if _below(host, suffix):
            return provider
    if _below(host, _FOUNDRY):
        # One host for both APIs: https://learn.microsoft.com/azure/ai-foundry/foundry-models/concepts/endpoints
        return "azure.ai.openai" if "/openai" in path else "azure.ai.inference"
    if _BEDROCK.fullmatch(host):
        return "aws.bedrock"
    return "gcp.vertex_ai" if _VERTEX.fullmatch(host) else OTHER


def _below(host: str, suffix: str) -> bool:
    return host == suffix or host.endswith("." + suffix)
