"""Answers what applications ask beside their streams: the list of models, embeddings and moderations."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any
from urllib.parse import unquote

from .ask import Ask
from .payloads import PROMPT_TOKENS, Json, dumps, models
from .plays import PLAYS, answers_whole, page
from .scenarios import SCENARIOS
from .steps import Steps
from .wire import Request

VECTOR = (0.6, 0.0, 0.8)


def model_of(request: Request) -> Steps | None:
    """The list of models, or any one model: every name is one."""
    before, _, name = request.path.partition("?")[0].rpartition("/models")
    if request.method != "GET" or not before:
        return None
    if name.startswith("/"):
        return page(200, "application/json", dumps(models([unquote(name[1:])])["data"][0]))
    if name:
        return None
    names = [scenario.model for scenario in SCENARIOS.values() if scenario.kind == "server"]
    return page(200, "application/json", dumps(models(names)))


def embeddings(ask: Ask, body: bytes) -> Steps:
    """One vector for each input, or the failure that a request without a stream can meet."""
    if not answers_whole(ask):
        return PLAYS[ask.scenario](ask)
    return page(200, "application/json", dumps(_embedded(ask, json.loads(body))))


def moderations(ask: Ask) -> Steps:
    """No objection, or the failure that a request without a stream can meet."""
    if not answers_whole(ask):
        return PLAYS[ask.scenario](ask)
    result: Json = {"flagged": False, "categories": {}, "category_scores": {}, "category_applied_input_types": {}}
    return page(200, "application/json", dumps({"id": "modr_1", "model": ask.model, "results": [result]}))


def _embedded(ask: Ask, asked: Json) -> Json:
    inputs = asked.get("input")
    # A list of numbers is one input in tokens.
    one = not isinstance(inputs, list) or all(isinstance(token, int) for token in inputs)
    vector: Any = list(VECTOR)
    if asked.get("encoding_format") == "base64":
        vector = base64.b64encode(struct.pack(f"<{len(VECTOR)}f", *VECTOR)).decode()
    count = 1 if one else len(inputs or ())
    data = [{"object": "embedding", "index": index, "embedding": vector} for index in range(count)]
    usage = {"prompt_tokens": PROMPT_TOKENS, "total_tokens": PROMPT_TOKENS}
    return {"object": "list", "data": data, "model": ask.model, "usage": usage}
