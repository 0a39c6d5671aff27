"""[io] The composition root: every part is made and joined here, started and stopped in order."""

from __future__ import annotations

import asyncio
import errno
import random
import resource
import secrets
import signal
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from ipaddress import ip_address, ip_network
from typing import Any

import structlog
from aiohttp import web

from media import MediaConfig, MediaEngine, rtp_ports
from signalling import (
    DialPlan,
    Extension,
    Inbound,
    InboundNumber,
    Limits,
    Pattern,
    People,
    Principal,
    Registry,
    Route,
    RouteTrunk,
    Switch,
    TrunkKeeper,
    TrunkLine,
    User,
)
from sip import (
    Binding,
    CallCore,
    DigestServer,
    Flow,
    KeptBinding,
    Listen,
    ParseError,
    Registrar,
    SipEndpoint,
    SipStack,
    TrunkConfig,
    WebSocketFlow,
    credentials,
)

from .api.model import build_models
from .api.openapi import Dialect
from .api.sip_ws import SipWebSocketApi
from .api.sockets import Sockets
from .auth import authenticator
from .dialects import Services, dialects_of, opened_by
from .errors import ConfigError, Fault, ServerError, StartError
from .garbage import Garbage
from .sections import Config, Trunk, split_listen
from .sections import Extension as ExtensionSection
from .settings import Settings
from .store.history import History
from .store.retention import Retention
from .store.store import Store
from .tokens import TokenBook
from .vault import KEY_FILE, Vault
from .web import http_log, make_app

log = structlog.get_logger("server.app")

DIGEST_ALGORITHMS = ("SHA-256", "MD5")
MODEL_PAUSE_S = 0.02  # between two models that take 1 to 3 ms each
HTTP_SHUTDOWN_S = 2.0  # for requests in flight when the server stops


class Ha1Book:
    """The credentials of the extensions, as digests for our one realm (signalling.CredentialStore)."""

    def __init__(self, realm: str, extensions: Sequence[ExtensionSection]) -> None:
        self._realm = realm
        self.set(extensions)

    def set(self, extensions: Sequence[ExtensionSection]) -> None:
        """From now on these extensions, and no others, have a password."""
        self._ha1 = {
            (extension.number, algorithm): credentials(
                extension.number, self._realm, extension.password.get_secret_value(), algorithm
            )
            for extension in extensions
            for algorithm in DIGEST_ALGORITHMS
        }

    def ha1(self, user: str, realm: str, algorithm: str) -> str | None:
        """H(user:realm:password) in hex; None for an unknown user, realm or algorithm."""
        return self._ha1.get((user, algorithm)) if realm == self._realm else None


@dataclass(slots=True)
class Parts:
    """What `build` made."""

    endpoint: SipEndpoint
    media: MediaEngine
    registry: Registry
    inbound: Inbound
    passwords: Ha1Book
    lines: dict[str, TrunkLine]
    keepers: dict[str, TrunkKeeper]
    domain: str
    started: bool = False
    closing: set[asyncio.Task[None]] = field(default_factory=set)
    "Trunks that were taken away and are leaving their registrars."

    def apply(self, config: Config) -> None:
        """Put other extensions, trunks, routes and numbers in force; calls that go on are not disturbed.

        ConfigError as `trunks_of` says, and then nothing has changed.
        """
        trunks = trunks_of(config)
        wanted = {trunk.name: trunk for trunk in trunks}
        now = asyncio.get_running_loop().time
        for name, line in list(self.lines.items()):
            if wanted.get(name) != line.config:
                del self.lines[name]
                task = asyncio.get_running_loop().create_task(self.keepers.pop(name).close())
                self.closing.add(task)
                task.add_done_callback(self.closing.discard)
        for trunk in trunks:
            if trunk.name not in self.lines:
                line = self.lines[trunk.name] = TrunkLine(trunk, now())
                keeper = self.keepers[trunk.name] = TrunkKeeper(line, self.endpoint)
                if self.started:
                    keeper.start()
        self.passwords.set(config.extensions)
        self.registry.switch.plan = dial_plan(config, lambda name: self.lines[name].unusable(now()))
        self.inbound.set_trunks(trunks, trunk_principals(config))

    def start(self) -> None:
        """Trunks register and are watched."""
        self.started = True
        for keeper in self.keepers.values():
            keeper.start()

    async def leave_trunks(self) -> None:
        """No longer registered anywhere; bounded."""
        await asyncio.gather(*(keeper.close() for keeper in self.keepers.values()), *self.closing)


def build(config: Config) -> Parts:
    """Make every part and join them; nothing is started. Needs a running loop. ConfigError as `trunks_of` says."""
    domain = domain_of(config)
    stack = SipStack(user_agent=config.sip.user_agent, trying_at_once=False)
    endpoint = SipEndpoint(
        stack, advertised=config.sip.advertised_host, local_networks=tuple(config.sip.local_networks)
    )
    calls = CallCore(stack)
    registrar = Registrar()
    media = MediaEngine(media_config(config))
    now = asyncio.get_running_loop().time
    trunks = trunks_of(config)
    lines = {trunk.name: TrunkLine(trunk, now()) for trunk in trunks}
    switch = Switch(
        sip=endpoint,
        calls=calls,
        media=media,
        plan=dial_plan(config, lambda name: lines[name].unusable(now())),
        registrar=registrar,
        lines=lines,
        domain=domain,
        limits=Limits(
            sessions=config.limits.sessions,
            early=config.limits.early_dialogs,
            retained=config.limits.ended_sessions,
            retained_s=config.limits.retention_s,
            retry_after_s=config.limits.retry_after_s,
        ),
        tenant=tenant_of(config),
        people=people_of(config),
    )
    registry = Registry(switch)
    passwords = Ha1Book(domain, config.extensions)
    inbound = stack.user = Inbound(
        registry,
        digest=DigestServer(domain, secrets.token_bytes(32), algorithms=DIGEST_ALGORITHMS),
        credentials=passwords,
        trunks=trunks,
        trunk_principals=trunk_principals(config),
    )
    endpoint.add_core(calls)
    endpoint.add_core(registrar)

    def forget_flow(flow: Flow, _now: float) -> None:
        registrar.flow_closed(flow)

    endpoint.on_flow_lost(forget_flow)
    keepers = {name: TrunkKeeper(line, endpoint) for name, line in lines.items()}
    return Parts(endpoint, media, registry, inbound, passwords, lines, keepers, domain)


# From configuration to the parts' own.


def tenant_of(config: Config) -> str:
    """account/app of the phones and trunks."""
    return f"{config.server.account}/{config.server.app}"


def people_of(config: Config) -> People:
    """The directory, with the users that the configuration names."""
    people = People(strict=config.users.strict)
    people.restore(
        User(
            tenant_of(config),
            user.id,
            people.number_of(tenant_of(config), user.id),
            user.handle or user.id,
            user.display_name,
            user.image_url,
            user.email,
            user.phone,
            tuple(user.extensions),
        )
        for user in config.users.people
    )
    return people


def trunk_principals(config: Config) -> dict[str, Principal]:
    """What calls that come in through each trunk may do."""
    tenant = tenant_of(config)
    return {
        trunk.name: Principal(trunk.name, "trunk", tuple(map(Pattern.parse, trunk.allow)), tenant=tenant)
        for trunk in config.trunks
    }


def domain_of(config: Config) -> str:
    """What stands behind the @ of our extensions: `domain`, else the host that others reach us by."""
    if config.sip.domain or config.sip.advertised_host:
        return config.sip.domain or config.sip.advertised_host or ""
    host = own_address(config.sip.first_host)
    return f"[{host}]" if ":" in host else host


def own_address(host: str) -> str:
    """`host`; for "all addresses" the one that this machine would call the world from, else its loopback."""
    if not ip_address(host).is_unspecified:
        return host
    family, beyond, loopback = (
        (socket.AF_INET6, "2001:db8::1", "::1") if ":" in host else (socket.AF_INET, "192.0.2.1", "127.0.0.1")
    )
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((beyond, 9))  # sends nothing: a datagram socket only chooses its way
        except OSError:
            return loopback
        return str(probe.getsockname()[0])


def media_config(config: Config, source: str = "configuration") -> MediaConfig:
    """Media where SIP listens, unless told otherwise. ConfigError for ports that media cannot use."""
    try:
        rtp_ports(*config.media.port_range)
    except ValueError as error:
        raise ConfigError([Fault(source, "media.ports", str(error))]) from error
    bind = config.media.bind_host or config.sip.hosts
    advertised = {":" in host: host for host in config.media.advertised_host}
    if not advertised and config.sip.advertised_host is not None:
        with suppress(ValueError):  # a name, which SDP of ours does not hold
            host = str(ip_address(config.sip.advertised_host.strip("[]")))
            advertised[":" in host] = host
    return MediaConfig(
        bind_host=tuple(bind),
        advertised_host=tuple(advertised.get(":" in host) or own_address(host) for host in bind),
        port_range=config.media.port_range,
        codecs=tuple(config.media.codecs),
        timeout_s=config.media.timeout_s,
    )


def trunks_of(config: Config, source: str = "configuration") -> tuple[TrunkConfig, ...]:
    """The trunks as sip wants them. ConfigError for what only sip can judge, such as a host's URI."""
    trunks: list[TrunkConfig] = []
    faults: list[Fault] = []
    for at, trunk in enumerate(config.trunks):
        try:
            trunks.append(_trunk(trunk))
        except ValueError as error:
            field, colon, reason = str(error).partition(": ")
            key = f"trunks[{at}].{field} ({trunk.name})" if colon else f"trunks[{at}] ({trunk.name})"
            faults.append(Fault(source, key, reason if colon else str(error)))
    if faults:
        raise ConfigError(faults)
    return tuple(trunks)


def _trunk(trunk: Trunk) -> TrunkConfig:
    fields = trunk.model_dump(exclude={"allow", "password"}, by_alias=True)
    fields["hosts"] = tuple(trunk.hosts)
    fields["codecs"] = tuple(trunk.codecs)
    fields["inbound_sources"] = tuple(map(ip_network, trunk.inbound_sources))
    password = None if trunk.password is None else trunk.password.get_secret_value()
    return TrunkConfig(password=password, **fields)


def dial_plan(config: Config, trunk_state: Callable[[str], str | None]) -> DialPlan:
    """Extensions, services, inbound numbers and routes."""
    services: dict[str, str] = dict(config.services)
    services.update((did.to, did.to) for did in config.numbers if did.to in ("echo", "tone"))
    return DialPlan(
        extensions=[
            Extension(
                extension.number,
                extension.display_name,
                tuple(map(Pattern.parse, extension.allow)),
                extension.max_calls or config.limits.calls_per_extension,
                extension.ring_timeout_s,
            )
            for extension in config.extensions
        ],
        services=services,
        inbound=[InboundNumber(Pattern.parse(did.number), did.to, did.trunk) for did in config.numbers],
        routes=[
            Route(
                Pattern.parse(route.pattern),
                tuple(RouteTrunk(choice.trunk, choice.priority, choice.weight) for choice in route.trunks),
                route.media,
            )
            for route in config.routes
        ],
        trunk_state=trunk_state,
        random=random.random,
    )


class Preload:
    """Has what browsers need imported once, off the loop: as the first one connects, before anybody calls."""

    def __init__(self) -> None:
        self._done: asyncio.Future[None] | None = None

    def __call__(self) -> None:
        """A browser is here."""
        if self._done is None:
            self._done = asyncio.get_running_loop().run_in_executor(None, MediaEngine.preload)


class SipDoor:
    """The SIP endpoint, as the HTTP side hands it the WebSockets that it accepts (api.sip_ws.SipDoor)."""

    def __init__(self, endpoint: SipEndpoint, preload: Callable[[], None]) -> None:
        self._endpoint = endpoint
        self._preload = preload

    def connect(self, **ends: Any) -> WebSocketFlow:
        """A new connection."""
        self._preload()
        return WebSocketFlow(**ends)

    def receive(self, data: bytes, flow: WebSocketFlow) -> None:
        """One frame of it."""
        self._endpoint.receive_frame(data, flow)

    def lost(self, flow: WebSocketFlow) -> None:
        """It is gone: registrations and calls that hang on it end."""
        flow.closed = True
        self._endpoint.lose(flow)


# What outlives the process.


def services_of(config: Config, parts: Parts, store: Store) -> Services:
    """What the dialects work on."""
    writer = store.writer
    tokens = TokenBook(config.tokens, tenant=tenant_of(config))
    settings = Settings(config, vault=Vault(None if store.data is None else store.data / KEY_FILE))
    retention = Retention(store.database, config.retention)
    return Services(
        config=config,
        registry=parts.registry,
        database=store.database,
        writer=writer,
        history=History(parts.registry, store.database, writer),
        tokens=tokens,
        settings=settings,
        clock=asyncio.get_running_loop().time,
        counts=lambda: {**parts.registry.counts(), **writer.counts(), "tasks": len(asyncio.all_tasks())},
        authenticator=authenticator(config.auth, tokens, tenant=tenant_of(config)),
        preload=Preload(),
        at_start=[retention.start],
        at_stop=[retention.close],
    )


async def restore_access(services: Services, parts: Parts, store: Store) -> None:
    """Bring back the keys and entries that were made while an earlier process ran, and let new ones take effect."""
    await store.restore_access(services.tokens, services.settings)
    parts.apply(services.settings.config)
    services.settings.apply = parts.apply


async def restore_registrations(store: Store, parts: Parts) -> None:
    """Bring back which phones are registered, and keep what changes of it. SIP must be listening."""
    registrar, endpoint = parts.registry.switch.registrar, parts.endpoint

    def shifted(kept: KeptBinding, by_s: float) -> KeptBinding:
        return replace(kept, registered_at=kept.registered_at + by_s, expires_at=kept.expires_at + by_s)

    def ahead_s() -> float:
        """Of our clock the wall's is."""
        return time.time() - endpoint.now()

    for body in await store.registrations():
        try:
            kept = shifted(KeptBinding.of(body), -ahead_s())
            if kept.aor in parts.registry.switch.plan.extensions:
                registrar.restore(kept, endpoint.flow_again(kept.transport, kept.local, kept.remote))
        except (TypeError, ValueError, ParseError) as error:
            log.warning("registration_not_restored", body=body, error=str(error))

    def keep(binding: Binding, is_there: bool) -> None:
        key = {"aor": binding.aor, "key": binding.key}
        if is_there:
            kept = shifted(binding.kept(), ahead_s())
            row = {**key, "body": asdict(kept), "expires_at": round(kept.expires_at * 1000)}
            store.writer.write("registrations", row)
        else:
            store.writer.write("registrations", key, "delete")

    registrar.keeper = keep
    endpoint.pump()


# Life.


class Server:
    """All parts, running between `start` and `stop`."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.parts: Parts | None = None
        self.http_ports: tuple[int, ...] = ()
        "What is really listened on, the main port first."
        self.sip_addresses: tuple[Listen, ...] = ()
        self._store: Store | None = None
        self._services: Services | None = None
        self._runner: web.AppRunner | None = None
        self._why_not_ready: str | None = "the server starts"

    @property
    def domain(self) -> str:
        """What stands behind the @ of our extensions."""
        return self.parts.domain if self.parts is not None else domain_of(self.config)

    async def start(self) -> None:
        """Open the database, listen on every port. StartError names what cannot be had; then nothing is left open."""
        parts = self.parts = build(self.config)
        try:
            store = self._store = await Store.open(self.config.database)
            services = self._services = services_of(self.config, parts, store)
            sockets = Sockets(origins=self.config.server.websocket_origins)
            dialects = [
                *dialects_of(services),
                SipWebSocketApi(SipDoor(parts.endpoint, services.preload), sockets).dialect(),
            ]
            for begin in services.before_restore:
                await begin()
            await store.restore(parts.registry)
            await restore_access(services, parts, store)
            await self._listen_sip(parts)
            await restore_registrations(store, parts)
            for begin in services.at_start:
                await begin()
            await self._listen_http(services, dialects)
        except ServerError:
            await self.stop()
            raise
        parts.start()
        self._why_not_ready = None

    async def _listen_sip(self, parts: Parts) -> None:
        listens = [Listen(*split_listen(text)) for text in self.config.sip.listen]
        try:
            await parts.endpoint.start(listens)
        except OSError as error:
            raise StartError(f"SIP cannot listen on {' and '.join(self.config.sip.listen)}: {_why(error)}") from error
        self.sip_addresses = parts.endpoint.addresses

    async def _listen_http(self, services: Services, dialects: list[Dialect]) -> None:
        server = self.config.server
        tenant = tenant_of(self.config)
        assert services.authenticator is not None
        app = make_app(
            dialects,
            tokens=services.authenticator,
            why_not_ready=self._why_not,
            cors_origins=server.cors_origins,
            opened=opened_by(self.config),
            tenant=tenant,
        )
        self._runner = web.AppRunner(app, access_log=None, logger=http_log, shutdown_timeout=HTTP_SHUTDOWN_S)
        await self._runner.setup()
        for port in (server.http_port, *server.extra_http_ports):
            try:
                await web.TCPSite(self._runner, server.host, port).start()
            except OSError as error:
                raise StartError(f"HTTP cannot listen on {server.host} port {port}: {_why(error)}") from error
        self.http_ports = tuple(address[1] for address in self._runner.addresses)

    def _why_not(self) -> str | None:
        return self._why_not_ready or (None if self._store is None else self._store.why_not_ready)

    async def stop(self) -> None:
        """End every call with BYE, leave the trunks, close every port. Bounded; may follow a failed start."""
        self._why_not_ready = "the server stops"
        parts = self.parts
        if parts is None:
            return
        await parts.registry.close()
        await parts.leave_trunks()
        if self._runner is not None:
            await self._runner.cleanup()
        if self._services is not None:
            for end in self._services.at_stop:
                await end()
        await parts.endpoint.close()
        parts.media.close()
        if self._store is not None:
            await self._store.close()
        self.parts = self._store = self._services = None


def run(config: Config, announce: Callable[[Server], None]) -> None:
    """Serve until SIGINT or SIGTERM; `announce` is called once all is ready. StartError when it cannot start."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(config, announce))


async def _serve(config: Config, announce: Callable[[Server], None]) -> None:
    loop = asyncio.get_running_loop()
    told_to_stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, told_to_stop.set)
    _allow_many_files()
    server = Server(config)
    await server.start()
    garbage = Garbage(loop.call_soon_threadsafe)
    garbage.start()
    announce(server)
    log.info("ready", http=server.http_ports, sip=config.sip.listen)
    building = loop.create_task(_finish(server))
    await told_to_stop.wait()
    log.info("stopping")
    building.cancel()
    await server.stop()
    garbage.end()


async def _finish(server: Server) -> None:
    """What the start left undone, a little at a time."""
    await asyncio.sleep(MODEL_PAUSE_S)
    if server.parts is not None:
        await server.parts.media.load_codecs([name for trunk in server.config.trunks for name in trunk.codecs])
    for _ in build_models():
        await asyncio.sleep(MODEL_PAUSE_S)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's loop where it is installed, else asyncio's own."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def _allow_many_files() -> None:
    """A call with media has four sockets, and the usual soft limit is 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _why(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "the port is in use by another program"
    if error.errno == errno.EACCES:
        return "ports below 1024 need privileges"
    if error.errno == errno.EADDRNOTAVAIL:
        return "this machine has no such address"
    return error.strerror or str(error)
