"""What is known of an operation besides its stream: facts about the request, and from the response's headers."""

from __future__ import annotations

from typing import NamedTuple

from .record import RateLimit, StreamLabels

EVENT_STREAM = "text/event-stream"
Key = int  # a hash: no id is kept


class Place(NamedTuple):
    """Where a response is: ids are compared within one host and port."""

    host: str
    port: int | None

    def key(self, response_id: str) -> Key:
        """What stands for a response there."""
        return hash((self.host, self.port, response_id))


class RequestFacts(NamedTuple):
    """What is known of an operation when it is issued. ``finish_optional``: this server is known never to
    send a finish_reason, its ``[DONE]`` alone is believed. ``place``: another request can name its response, by the
    id; ``named``: this request names one. ``fetch`` and ``resumes``: see ``Responses.settle``."""

    labels: StreamLabels
    method: str = "POST"
    url_path: str = ""
    server_port: int | None = None
    finish_optional: bool = False
    place: Place | None = None
    named: Key | None = None
    fetch: bool = False
    resumes: bool = False

    def key_of(self, response_id: str | None) -> Key | None:
        """What stands for the response of this id, if another request can name it."""
        if self.named is not None:
            return self.named
        return self.place.key(response_id) if self.place is not None and response_id is not None else None


class ResponseFacts(NamedTuple):
    """Facts from the final response's headers. ``content_type`` is lower case and without parameters."""

    status: int
    content_type: str
    request_id: str | None = None
    rate_limits: tuple[RateLimit, ...] = ()
    retry_after: float | None = None
