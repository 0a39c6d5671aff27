"""The whole server but for its sockets, in virtual time: real stack, calls, sessions; simulated network and media."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from ipaddress import ip_network

import pytest

from signalling import (
    DialPlan,
    Extension,
    Inbound,
    InboundNumber,
    Limits,
    Pattern,
    Principal,
    Registry,
    Route,
    RouteTrunk,
    Session,
    Switch,
    TrunkKeeper,
    TrunkLine,
)
from sip import CallCore, DigestServer, Registrar, SipStack, TrunkConfig, credentials
from tests.media.fake import FakeMediaEngine
from tests.sim.fixture import Sim
from tests.sim.network import SimEndpoint
from tests.sim.phones import SimPhone

ADMIN = Principal("admin", "admin")
QUIET = {"retained"}


class Passwords:
    """ringway-1001 for 1001, and so on."""

    def __init__(self, users: Sequence[str]) -> None:
        self._users = set(users)

    def ha1(self, user: str, realm: str, algorithm: str) -> str | None:
        return credentials(user, realm, f"ringway-{user}", algorithm) if user in self._users else None


class House:
    """A server named `ringway` on the network of `sim`."""

    def __init__(
        self,
        sim: Sim,
        *,
        host: str = "ringway",
        extensions: Sequence[Extension] | None = None,
        trunks: Sequence[TrunkConfig] = (),
        routes: Sequence[Route] = (),
        inbound: Sequence[InboundNumber] = (),
        trunk_patterns: dict[str, str] | None = None,
        limits: Limits | None = None,
        media: FakeMediaEngine | None = None,
    ) -> None:
        self.sim = sim
        self.host = host
        anything = (Pattern.parse("."),)
        extensions = extensions or [Extension(number, patterns=anything) for number in ("1001", "1002", "1003")]
        stack = SipStack(trying_at_once=False)
        self.endpoint = SimEndpoint(sim.network, host, stack)
        self.media = media or FakeMediaEngine()
        calls = CallCore(stack)
        self.lines = {trunk.name: TrunkLine(trunk, sim.now) for trunk in trunks}
        plan = DialPlan(
            extensions=extensions,
            services={"600": "echo", "601": "tone"},
            inbound=inbound,
            routes=routes,
            trunk_state=lambda name: self.lines[name].unusable(sim.now),
            random=lambda: 0.0,
        )
        registrar = Registrar()
        self.switch = Switch(
            sip=self.endpoint,
            calls=calls,
            media=self.media,
            plan=plan,
            registrar=registrar,
            lines=self.lines,
            domain=host,
            limits=limits or Limits(),
        )
        self.registry = Registry(self.switch)
        stack.user = Inbound(
            self.registry,
            digest=DigestServer(host, b"a secret of the test house"),
            credentials=Passwords([extension.number for extension in extensions]),
            trunks=trunks,
            trunk_principals={
                name: Principal(name, "trunk", (Pattern.parse(text),)) for name, text in (trunk_patterns or {}).items()
            },
        )
        for core in (calls, registrar):
            self.endpoint.add_core(core)
        self.keepers = [TrunkKeeper(line, self.endpoint) for line in self.lines.values()]

    def phone(self, number: str, name: str = "", *, transport: str = "UDP") -> SimPhone:
        """A registered phone of an extension."""
        phone = self.sim.phone(
            name or f"phone{number}", number, f"ringway-{number}", server=self.host, transport=transport
        )
        phone.register()
        self.sim.run_until(lambda: phone.registered_for_s)
        return phone

    def carrier(self, name: str) -> SimPhone:
        """The far end of a trunk."""
        return self.sim.phone(name)

    @property
    def session(self) -> Session:
        """The only live session."""
        (session,) = self.registry.sessions()
        return session

    def quiet(self) -> dict[str, int]:
        """What is left when nothing should be: empty once every transaction timer has run out."""
        self.sim.run_for(70)
        return {name: count for name, count in self.registry.counts().items() if count and name not in QUIET}

    def originate(self, **fields: object) -> Session:
        """As `POST /api/sessions` by an admin."""
        from signalling import OriginateRequest

        wanted: dict[str, object] = {"caller": "1001", "callee": "1002", "send_sdp": True, **fields}
        request = OriginateRequest(**wanted)  # type: ignore[arg-type]  # the test names real fields
        return self.sim.run(self.registry.originate(request, ADMIN))


def trunk(name: str, **fields: object) -> TrunkConfig:
    """A trunk to the host of the same name, without keep-alive."""
    settings: dict[str, object] = {"hosts": (f"sip:{name}",), "options_interval_s": 0.0, **fields}
    return TrunkConfig(name, **settings)  # type: ignore[arg-type]  # the test names real fields


def sources(*networks: str) -> tuple[object, ...]:
    """Address ranges of a trunk."""
    return tuple(map(ip_network, networks))


def route(pattern: str, *trunks: str, media: str | None = None) -> Route:
    """Trunks by rising priority."""
    return Route(
        Pattern.parse(pattern),
        tuple(RouteTrunk(name, place) for place, name in enumerate(trunks, 1)),
        media,  # type: ignore[arg-type]  # a mode
    )


@pytest.fixture
def sim() -> Iterator[Sim]:
    """Virtual time and a network; faults that phones saw fail the test."""
    sim = Sim()
    yield sim
    sim.close()


Build = Callable[..., House]
