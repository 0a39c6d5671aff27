"""A whole server for tests of the API: every dialect over real HTTP on loopback, a database in a file, real sessions.

Only the networks of SIP and media are simulated, in real time: `house.phone("1001")` is a phone that registers, rings
and answers as its script says. The tokens: see `TOKENS`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer

from server.auth import Authenticator
from server.dialects import Services, dialects_of, opened_by
from server.sections import Config, TokenRole
from server.settings import Settings
from server.store.database import Database
from server.store.history import History
from server.store.restore import keep_people, keep_rooms
from server.store.writer import Writer
from server.tokens import TokenBook
from server.vault import Vault
from server.web import make_app
from signalling import DialPlan, Extension, Inbound, Pattern, Registry, Session, Switch
from sip import CallCore, DigestServer, Registrar, SipStack
from tests.flows.house import Passwords
from tests.media.fake import FakeMediaEngine
from tests.sim.clock import Clock
from tests.sim.network import Network, SimEndpoint
from tests.sim.phones import SimPhone

TENANT = "default/default"
ACCOUNT, APP = TENANT.split("/")
OTHER_TENANT = "other/app"
EXTENSIONS = ("1001", "1002", "1003")
REAL_LIMIT_S = 5.0  # that a test waits for something in real time


@dataclass(frozen=True, slots=True)
class Who:
    """The holder of one of the tokens."""

    tenant: str
    user: str | None
    role: TokenRole


TOKENS: dict[str, Who] = {
    "admin": Who(TENANT, None, "admin"),
    "alice": Who(TENANT, "alice", "member"),
    "bob": Who(TENANT, "bob", "member"),
    "host": Who(TENANT, "hanna", "host"),
    "viewer": Who(TENANT, "vera", "viewer"),
    "stranger": Who(TENANT, "stranger", "token"),
    "machine": Who(TENANT, None, "token"),
    "other": Who(OTHER_TENANT, "oscar", "host"),
    "other-admin": Who(OTHER_TENANT, None, "admin"),
}
"""Name -> whose it is. alice and bob are members of every channel, hanna a host, vera a viewer; stranger has no role
anywhere, and machine no user; the last two are of another tenant. Further: "expired" and "revoked", once an admin's."""


class RealClock(Clock):
    """The loop that runs, for a simulated network in real time."""

    def __init__(self) -> None:
        self.loop = cast(Any, asyncio.get_running_loop())


@dataclass
class House:
    """The server, and a client that sends alice's token unless told otherwise."""

    client: TestClient[web.Request, web.Application]
    services: Services
    network: Network
    endpoint: SimEndpoint
    media: FakeMediaEngine
    tokens: dict[str, str]
    "Name in TOKENS -> the token itself."
    phones: dict[str, SimPhone] = field(default_factory=dict)
    "Those that `phone` made, by number."
    now: list[float] = field(default_factory=lambda: [0.0])
    "Add to its only item to let tokens expire: seconds."

    @property
    def registry(self) -> Registry:
        """The live sessions."""
        return self.services.registry

    @property
    def book(self) -> TokenBook:
        """The tokens."""
        return self.services.tokens

    async def call(
        self,
        method: str,
        path: str,
        *,
        token: str | None = "alice",
        json: object = None,
        raw: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, Any, ClientResponse]:
        """Status, decoded body (text when it is no JSON, None when empty), response.

        `token`: a name in TOKENS, or a token itself; None sends none.
        """
        sent = dict(headers or {})
        if token is not None:
            sent["Authorization"] = f"Bearer {self.tokens.get(token, token)}"
        kwargs: dict[str, Any] = {"data": raw} if raw is not None else {"json": json} if json is not None else {}
        response = await self.client.request(method, path, headers=sent, allow_redirects=False, **kwargs)
        text = await response.text()
        is_json = response.content_type == "application/json" and text
        return response.status, (await response.json() if is_json else text or None), response

    async def get(self, path: str, *, token: str | None = "alice", **more: Any) -> tuple[int, Any]:
        """Status and decoded body."""
        return (await self.call("GET", path, token=token, **more))[:2]

    async def post(
        self, path: str, json: object = None, *, token: str | None = "alice", **more: Any
    ) -> tuple[int, Any]:
        """Status and decoded body."""
        return (await self.call("POST", path, token=token, json=json, **more))[:2]

    async def put(self, path: str, json: object = None, *, token: str | None = "alice", **more: Any) -> tuple[int, Any]:
        """Status and decoded body."""
        return (await self.call("PUT", path, token=token, json=json, **more))[:2]

    async def patch(
        self, path: str, json: object = None, *, token: str | None = "alice", **more: Any
    ) -> tuple[int, Any]:
        """Status and decoded body."""
        return (await self.call("PATCH", path, token=token, json=json, **more))[:2]

    async def delete(self, path: str, *, token: str | None = "alice", **more: Any) -> tuple[int, Any]:
        """Status and decoded body."""
        return (await self.call("DELETE", path, token=token, **more))[:2]

    def session(self, host: str | None = "alice", *, tenant: str = TENANT, **fields: Any) -> Session:
        """A live session without a call; `host` takes part."""
        return self.registry.create(tenant=tenant, made_by="callsession", host=host, **fields)

    async def phone(self, number: str = "1001") -> SimPhone:
        """A phone of an extension, registered; it rings until its script says something else."""
        phone = SimPhone(self.network, f"phone{number}", user=number, password=f"ringway-{number}", server="ringway")
        phone.register()
        await self.until(lambda: phone.registered_for_s)
        self.phones[number] = phone
        return phone

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for `condition` in real time; AssertionError when it does not come true."""
        give_up_at = time.monotonic() + REAL_LIMIT_S
        while not condition():
            assert time.monotonic() < give_up_at, "still waiting"
            await asyncio.sleep(0.002)


def book_of_tokens(now: list[float]) -> tuple[TokenBook, dict[str, str]]:
    """A book with TOKENS, and the tokens themselves by name."""
    book = TokenBook(clock=lambda: time.time() + now[0])
    tokens: dict[str, str] = {}
    for name, who in TOKENS.items():
        _, tokens[name] = book.create(who.tenant, name, role=who.role, user=who.user, allow=["."])
    _, tokens["expired"] = book.create(TENANT, "expired", role="admin", expires_at=time.time() - 1)
    key, tokens["revoked"] = book.create(TENANT, "revoked", role="admin")
    book.revoke(TENANT, key.id)
    return book, tokens


def no_trunk(name: str) -> str | None:
    """The state of a trunk where there is none."""
    raise KeyError(name)


def simulated() -> tuple[Network, SimEndpoint, FakeMediaEngine, Registry]:
    """Real sessions and calls over a simulated network, in the loop that runs."""
    network = Network(RealClock())
    stack = SipStack(trying_at_once=False)
    endpoint = SimEndpoint(network, "ringway", stack)
    media = FakeMediaEngine()
    calls, registrar = CallCore(stack), Registrar()
    switch = Switch(
        sip=endpoint,
        calls=calls,
        media=media,
        plan=DialPlan(
            extensions=[Extension(number, patterns=(Pattern.parse("."),)) for number in EXTENSIONS],
            services={"600": "echo", "601": "tone"},
            trunk_state=no_trunk,
            random=lambda: 0.0,
        ),
        registrar=registrar,
        lines={},
        domain="ringway",
    )
    registry = Registry(switch)
    stack.user = Inbound(
        registry,
        digest=DigestServer("ringway", b"a secret of the test house"),
        credentials=Passwords(EXTENSIONS),
        trunks=(),
        trunk_principals={},
    )
    endpoint.add_core(calls)
    endpoint.add_core(registrar)
    return network, endpoint, media, registry


async def open_house(
    folder: Path, *, database_url: str | None = None, config: Config | None = None, **app: Any
) -> AsyncIterator[House]:
    """A house as long as the generator is not resumed; `app` goes to make_app."""
    now = [0.0]
    network, endpoint, media, registry = simulated()
    book, tokens = book_of_tokens(now)
    database = await Database.open(database_url or f"sqlite:///{folder}/ringway.db")
    writer: Writer = cast(Any, None)
    history: History = cast(Any, None)
    with suppress(NotImplementedError):
        writer = Writer(database, spool=folder / "spool")
        writer.follow(registry.bus, registry.people)
        keep_people(registry.people, writer)
        keep_rooms(registry.rooms, writer)
        history = History(registry, database, writer)
        await writer.start()
    services = Services(
        config=config or Config(),
        registry=registry,
        database=database,
        writer=writer,
        history=history,
        tokens=book,
        settings=Settings(config or Config(), vault=Vault(None)),
        clock=asyncio.get_running_loop().time,
        counts=registry.counts,
        authenticator=Authenticator(book),
    )
    assert services.authenticator is not None
    app.setdefault("opened", opened_by(services.config))
    application = make_app(dialects_of(services), tokens=services.authenticator, why_not_ready=lambda: None, **app)
    for begin in (*services.before_restore, *services.at_start):
        await begin()
    try:
        async with TestClient(TestServer(application)) as client:
            yield House(client, services, network, endpoint, media, tokens, now=now)
    finally:
        await registry.close()
        for stop in services.at_stop:
            await stop()
        if writer is not None:
            await writer.close()
        await database.close()
        await endpoint.close()
