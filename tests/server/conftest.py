"""The API over real HTTP on loopback, with a fake registry behind it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvloop
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer

from server.api.pbx import PbxApi
from server.auth import Authenticator
from server.sections import Token
from server.tokens import TokenBook
from server.web import make_app

from .fake_registry import FakeRegistry
from .house import House, open_house
from .postgres import cluster as cluster
from .postgres import clusters as clusters
from .postgres import database_url as database_url
from .postgres import empty_database_url as empty_database_url
from .postgres import sqlite_file as sqlite_file

ADMIN = "admin-token-of-the-tests"
GUEST = "guest-token-of-the-tests"
Client = TestClient[web.Request, web.Application]


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop that the server runs on."""
    return {"uvloop": uvloop.new_event_loop}


@dataclass
class Api:
    """A client of the API that sends the admin's token unless told otherwise."""

    client: Client
    registry: FakeRegistry
    not_ready: list[str] = field(default_factory=list)

    async def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        token: str | None = ADMIN,
        raw: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, Any, ClientResponse]:
        """Status, decoded body (None when empty) and the response."""
        sent = dict(headers or {})
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        kwargs: dict[str, Any] = {"data": raw} if raw is not None else {"json": body} if body is not None else {}
        response = await self.client.request(method, path, headers=sent, **kwargs)
        text = await response.text()
        is_json = response.content_type == "application/json" and text
        return response.status, (await response.json() if is_json else text or None), response

    async def create(self, key: str | None = None, /, **fields: Any) -> tuple[int, Any, ClientResponse]:
        """POST /api/sessions with the required fields and these; `key` is its Idempotency-Key."""
        body = {"caller": "1001", "callee": "1002", "send_sdp": True, **fields}
        headers = None if key is None else {"Idempotency-Key": key}
        return await self.call("POST", "/api/sessions", body, headers=headers)


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    """The API, ready to be called."""
    registry = FakeRegistry()
    ticks = itertools.count()
    why: list[str] = []
    tokens = TokenBook(
        [
            Token.model_validate({"name": "boss", "token": ADMIN, "role": "admin"}),
            Token.model_validate({"name": "guest", "token": GUEST, "allow": ["0."]}),
        ]
    )
    app = make_app(
        [PbxApi(registry, clock=lambda: float(next(ticks))).dialect()],
        tokens=Authenticator(tokens),
        why_not_ready=lambda: why[0] if why else None,
    )
    async with TestClient(TestServer(app)) as client:
        yield Api(client, registry, why)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """A whole server with every dialect, over simulated networks."""
    async for house in open_house(tmp_path):
        yield house
