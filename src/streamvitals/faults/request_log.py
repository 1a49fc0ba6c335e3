"""The log of what the fault server really did, request by request, to compare a report with."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

MAX_GAPS = 4096


@dataclass
class RequestLog:
    """One request. Times are `time.monotonic()`, durations seconds; nothing of prompts or keys is kept."""

    number: int  # of the request, counted from 1
    connection: int  # of its connection, counted from 1: equal numbers mean reuse
    path: str
    t_request: float  # the request was read to its end
    headers: dict[str, str]  # traceparent, tracestate, x-stainless-*
    authorization: bool  # whether there was a key
    attempt: int = 0  # x-stainless-retry-count
    scenario: str = ""  # "" for what is no scenario, such as the list of models or an unknown name
    surface: str = ""  # "" for chat completions
    stream: bool = False
    t_headers: float | None = None
    status: int = 0  # 0 while nothing was answered
    first_chunk: float | None = None  # from t_request
    first_token: float | None = None  # from t_request
    chunks: int = 0  # SSE events that the client sees as chunks
    gaps: list[float] = field(default_factory=list)  # between the sends of chunks; the first MAX_GAPS of them
    max_gap: float = 0.0  # of all of them
    t_last_chunk: float | None = None
    bytes_sent: int = 0  # everything, heads and framing included
    ratelimit: dict[str, int] = field(default_factory=dict)
    t_end: float | None = None
    # "" while it is under way; "close" is a WebSocket's, by the server.
    ended: Literal["", "complete", "fin", "reset", "close", "client_gone", "stopped", "failed"] = ""

    @staticmethod
    def of_interest(headers: Mapping[str, str]) -> dict[str, str]:
        return {
            name: value[:256]
            for name, value in headers.items()
            if name in ("traceparent", "tracestate") or name.startswith("x-stainless-")
        }

    def sent_head(self, status: int) -> None:
        self.status = status
        self.t_headers = time.monotonic()

    def sending(self, chunks: int, token: bool) -> None:
        now = time.monotonic()
        if self.t_last_chunk is None:
            self.first_chunk = now - self.t_request
        else:
            gap = now - self.t_last_chunk
            self.max_gap = max(self.max_gap, gap)
            if len(self.gaps) < MAX_GAPS:
                self.gaps.append(gap)
        if token and self.first_token is None:
            self.first_token = now - self.t_request
        self.t_last_chunk = now
        self.gaps += [0.0] * min(chunks - 1, MAX_GAPS - len(self.gaps))  # chunks in the same write
        self.chunks += chunks

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)
