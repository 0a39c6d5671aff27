"""[io] Where the commands find users and API keys: a running server's `/admin/v1`, or the database of one that is down.

In the second case the same API is served to this process alone, over the database, so that both have the same rules.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import web

from signalling import Rooms

from ..errors import ServerError

TIMEOUT_S = 10.0
LOOK_S = 1.0  # to find out whether a server runs
PAGE = 1000  # users of one answer
Json = dict[str, Any]


class Refused(ServerError):
    """The server, or the database, would not do it."""


class Admin:
    """The API for administrators, asked by a command."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url.rstrip("/")

    async def ask(self, method: str, path: str, body: Json | None = None) -> Json:
        """What it answers. Refused says why it does not."""
        try:
            async with self._session.request(method, f"{self._url}/admin/v1{path}", json=body) as response:
                answer = json.loads(await response.read())
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise Refused(f"no Ringway answers at {self._url}: {error}") from error
        if response.status >= 400 or not isinstance(answer, dict):
            reason = answer.get("message") if isinstance(answer, dict) else None
            raise Refused(str(reason or f"{self._url} answered {response.status}"))
        return answer

    async def users(self) -> list[Json]:
        """All of the tenant, oldest first."""
        found: list[Json] = []
        while True:
            page = await self.ask("GET", f"/users?skip={len(found)}&top={PAGE}")
            found += page["items"]
            if not page["items"] or len(found) >= page["total"]:
                return found


Work = Callable[[Admin], Awaitable[None]]


def carry_out(options: argparse.Namespace, work: Work) -> None:
    """Do `work` where `options` say. Refused, ConfigError or StartError when it cannot be done."""

    async def run() -> None:
        async with _place(options) as admin:
            await work(admin)

    asyncio.run(run())


@asynccontextmanager
async def _place(options: argparse.Namespace) -> AsyncIterator[Admin]:
    if options.config is not None or options.data is not None:
        async with _closed_server(options) as admin:
            yield admin
    elif options.url and options.token:
        async with _admin(options.url, options.token) as admin:
            yield admin
    else:
        raise Refused("say where: --url and --token of a running server, or --config or --data of one that is down")


@asynccontextmanager
async def _admin(url: str, token: str) -> AsyncIterator[Admin]:
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout, headers={"Authorization": f"Bearer {token}"}) as session:
        yield Admin(session, url)


@asynccontextmanager
async def _closed_server(options: argparse.Namespace) -> AsyncIterator[Admin]:
    """The API over the database alone, for this process alone."""
    from ..api.admin_people import AdminPeople
    from ..app import people_of, tenant_of
    from ..auth import Authenticator
    from ..store import restore
    from ..store.access import keep_tokens, restore_tokens
    from ..store.store import Store
    from ..tokens import TokenBook
    from ..web import make_app

    config = _config(options)
    await _nobody_runs(config)
    tenant = options.tenant or tenant_of(config)
    store = await Store.open(config.database)
    try:
        people, rooms = people_of(config), Rooms(lambda _id: None)
        book = TokenBook(config.tokens, tenant=tenant_of(config))
        await restore.restore_directory(store.database, people, rooms)
        async with store.database.connect() as connection:
            await restore_tokens(connection, book)
        restore.keep_people(people, store.writer)
        keep_tokens(book, store.writer)
        door = TokenBook()
        _, token = door.create(tenant, "command", role="admin")
        app = make_app(
            [AdminPeople(people, book).dialect()],
            tokens=Authenticator(door),
            why_not_ready=lambda: None,
            tenant=tenant_of(config),
        )
        async with _served(app) as url, _admin(url, token) as admin:
            yield admin
        await store.writer.settled()
    finally:
        await store.close()


@asynccontextmanager
async def _served(app: web.Application) -> AsyncIterator[str]:
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def _config(options: argparse.Namespace) -> Any:
    from ..config import dev_config, load

    if options.config is not None:
        return load(options.config, os.environ)
    config = dev_config(host="127.0.0.1", http_port=8080, sip_port=5060, rtp_ports="40000-49999", token="-" * 16)
    database = config.database.model_copy(update={"data_dir": str(options.data), "url": ""})
    return config.model_copy(update={"database": database, "tokens": []})


async def _nobody_runs(config: Any) -> None:
    """Refused when a server of this configuration runs: it would not notice what is done to its database."""
    host = config.server.host
    at = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    url = f"http://{at}:{config.server.http_port}"
    if config.server.http_port == 0:
        return
    timeout = aiohttp.ClientTimeout(total=LOOK_S)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(f"{url}/healthz") as response:
            await response.read()
    except (aiohttp.ClientError, TimeoutError):
        return
    raise Refused(f"a server runs at {url}: use --url {url} and --token, so that it notices")
