"""What is known of an operation besides its stream: facts from the request and from the response's headers."""

from __future__ import annotations

from typing import NamedTuple

from .record import RateLimit, StreamLabels

EVENT_STREAM = "text/event-stream"
Key = int  # a hash, so that no id is kept


class Place(NamedTuple):
    """The host and port of a response: ids are compared only within one."""

    host: str
    port: int | None

    def key(self, response_id: str) -> Key:
        """The key of the response with this id at this place."""
        return hash((self.host, self.port, response_id))


class RequestFacts(NamedTuple):
    """What is known of an operation when it is issued.

    ``finish_optional``: this server is known never to send a finish_reason, so its ``[DONE]`` is enough. ``place``: set
    where another request can name the response by its id; ``named``: the response that this request names. ``fetch``
    and ``resumes``: see ``Responses.settle``. ``hints`` are what could not be known of the request."""

    labels: StreamLabels
    method: str = "POST"
    url_path: str = ""
    server_port: int | None = None
    finish_optional: bool = False
    place: Place | None = None
    named: Key | None = None
    fetch: bool = False
    resumes: bool = False
    hints: tuple[str, ...] = ()

    def key_of(self, response_id: str | None) -> Key | None:
        """The key of the response with this id; None if no other request can name it."""
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
