"""The same service with streamvitals inside: it serves /metrics itself, with exemplars that lead to its traces."""

from __future__ import annotations

import asyncio
import os

import app
from prometheus_client import start_http_server

import streamvitals

if __name__ == "__main__":
    streamvitals.instrument()
    start_http_server(int(os.environ.get("PORT", "9464")))
    asyncio.run(app.main())
