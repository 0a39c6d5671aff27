"""[io] All dialects of the API, made over the same parts: by the server, and by its tests."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from time import time

from signalling import Registry

from .api.admin_people import AdminPeople
from .api.admin_settings import AdminSettings
from .api.app_sessions import AppSessionsApi
from .api.callsession import CallSessionApi
from .api.channels import ChannelsApi
from .api.debug import DebugApi
from .api.ice_servers import IceServerBook, IceServersApi
from .api.invitations import InvitationsApi
from .api.openapi import Dialect
from .api.pbx import PbxApi
from .api.realtimekit_dialect import realtimekit_dialect
from .api.sockets import Sockets
from .api.ws import WebSocketApi
from .artefacts import Artefacts
from .auth import PERMISSIONS, Authenticator
from .delivery.invitation import Courier, inviting_of
from .delivery.invitation import restore as restore_invitations
from .delivery.outbox import Outbox
from .invitations import Inviting
from .outward import Outward, links_to
from .pages.join import JoinPage
from .pages.phone import PhonePage, demo_of
from .sections import Config, Extension
from .settings import Settings
from .store.app_sessions import AppSessions, LogLimits
from .store.database import Database
from .store.history import History
from .store.writer import Writer
from .tokens import TokenBook


@dataclass(slots=True)
class Services:
    """What the dialects work on."""

    config: Config
    registry: Registry
    database: Database
    writer: Writer
    history: History
    tokens: TokenBook
    settings: Settings
    clock: Callable[[], float]
    "Seconds, monotonic."
    counts: Callable[[], dict[str, int]]
    "How many there are of what calls are made of."
    outbox: Outbox = field(init=False)
    inviting: Inviting = field(init=False)
    outward: Outward = field(init=False)
    preload: Callable[[], None] = lambda: None
    "To be called when a browser connects: what its media needs takes a second to import."
    authenticator: Authenticator | None = None
    "Finds out whose a token is; None: by `tokens` alone."
    before_restore: list[Callable[[], Awaitable[None]]] = field(default_factory=list)
    "What to await before the sessions are restored: who hears of those that were interrupted."
    at_start: list[Callable[[], Awaitable[None]]] = field(default_factory=list)
    "What to await, in this order, once the sessions are restored and before requests are taken."
    at_stop: list[Callable[[], Awaitable[None]]] = field(default_factory=list)
    "What to await, in this order, before the writer is closed."

    def __post_init__(self) -> None:
        self.outbox = Outbox(self.writer, self.database, time)
        self.inviting = inviting_of(self.config, self.registry, self.outbox, self.database, self.writer)


def dialects_of(services: Services) -> list[Dialect]:
    """Every dialect, ready for `make_app`."""
    registry, history, database, writer = services.registry, services.history, services.database, services.writer
    api = services.config.api
    artefacts = Artefacts(registry, history, database, writer)
    services.at_stop.append(artefacts.close)
    ice = IceServerBook(services.config.webrtc, clock=time)
    dialects = [
        CallSessionApi(registry, history, legacy_status=api.legacy_status).dialect(),
        ChannelsApi(registry, history, database, writer).dialect(),
        AppSessionsApi(
            registry,
            database,
            writer,
            AppSessions(database, writer, limits=LogLimits(api.app_session_logs, api.app_session_size)),
            max_log=api.app_session_log_length,
        ).dialect(),
        PbxApi(services.registry, clock=services.clock).dialect(),
        _realtimekit(services, artefacts),
        AdminSettings(services.settings, registry).dialect(),
        AdminPeople(registry.people, services.tokens).dialect(),
        *_invitations(services),
        *_outward(services, artefacts),
        PhonePage(
            demo_of(services.config), ice, partial(_password_of, services.settings), clock=services.clock
        ).dialect(),
        _channel(services),
        IceServersApi(ice).dialect(),
        DebugApi(services.counts).dialect(),
    ]
    services.at_start.append(services.outbox.start)
    services.at_stop.insert(0, services.outbox.close)
    return dialects


def _password_of(settings: Settings, number: str) -> str | None:
    """An extension's, as it is in force."""
    entry = settings.entry("extension", number)
    return entry.section.password.get_secret_value() if entry and isinstance(entry.section, Extension) else None


def _channel(services: Services) -> Dialect:
    server = services.config.server
    api = WebSocketApi(
        services.registry,
        services.authenticator or Authenticator(services.tokens),
        services.database,
        services.writer,
        Sockets(origins=server.websocket_origins),
        tenant=f"{server.account}/{server.app}",
        preload=services.preload,
    )
    services.at_stop.append(api.close)
    return api.dialect()


def _invitations(services: Services) -> list[Dialect]:
    config, inviting, database, writer = services.config, services.inviting, services.database, services.writer
    courier = Courier(config, inviting)
    courier.register(services.outbox)

    async def begin() -> None:
        await restore_invitations(inviting, database)
        inviting.start()

    services.at_start.append(begin)
    services.at_stop += (inviting.close, courier.close)
    region = config.invitations.default_region
    api = InvitationsApi(inviting, services.history, database, writer, clock=services.clock, default_region=region)
    return [api.dialect(), JoinPage(inviting, services.tokens).dialect()]


def _outward(services: Services, artefacts: Artefacts) -> list[Dialect]:
    config = services.config
    outward = services.outward = Outward(
        services.registry,
        services.history,
        services.database,
        services.writer,
        services.outbox,
        services.authenticator or Authenticator(services.tokens),
        allow_private=config.webhooks.allow_private,
        links=links_to(artefacts, config.api.public_url, config.api.link_lifetime_s) if config.api.public_url else None,
        vault=services.settings.vault,
    )
    services.before_restore.append(outward.start)
    services.at_stop.append(outward.close)
    return outward.dialects()


def _realtimekit(services: Services, artefacts: Artefacts) -> Dialect:
    config = services.config.api
    return realtimekit_dialect(
        services.registry,
        services.history,
        services.database,
        services.writer,
        artefacts,
        services.tokens,
        clock=services.clock,
        public_url=config.public_url or None,
        requests_per_10_s=config.requests_per_10_s,
        link_lifetime_s=config.link_lifetime_s,
        at_start=services.at_start,
    )


def opened_by(config: Config) -> frozenset[str]:
    """Permissions that the configuration gives to clients without a token."""
    opened: set[str] = set()
    if config.api.open_callsession:
        opened.update(name for name in PERMISSIONS if name.startswith("callsession."))
    if config.api.open_app_sessions:
        opened.update(("channels.app-session.create", "channels.app-session.log"))
    return frozenset(opened)
