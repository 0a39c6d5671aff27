"""The dial plan: which way a dialled number goes, who may go it, and why.

Pure: it reads the configuration and the trunks' present state, and decides. Patterns are those of a dial pad: a
digit, `+`, `*` or `#` stands for itself, `X` is 0-9, `Z` is 1-9, `N` is 2-9, `[136-8]` a set, `.` at the end one or
more of anything, `!` at the end none or more.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from .errors import NoRoute, NotAllowed, TrunkUnavailable, UnknownTrunk
from .people import DEFAULT_TENANT
from .rooms import Role

MAX_PATTERN = 64  # characters; longer than any number of E.164 with prefixes

MediaMode = Literal["anchor", "bypass"]
Kind = Literal["admin", "token", "extension", "trunk"]

_CLASSES = {"X": "[0-9]", "Z": "[1-9]", "N": "[2-9]"}


@dataclass(frozen=True, slots=True)
class Pattern:
    """A dial pattern and the expression it is compiled to."""

    text: str
    _fits: re.Pattern[str] = field(repr=False, compare=False)

    @classmethod
    def parse(cls, text: str) -> Pattern:
        """Compile `text`; ValueError says what is wrong with it."""
        if not text or len(text) > MAX_PATTERN:
            raise ValueError(f"a dial pattern has 1 to {MAX_PATTERN} characters")
        expression = ""
        at = 0
        while at < len(text):
            char = text[at]
            if char in ".!":
                if at != len(text) - 1:
                    raise ValueError(f"{char!r} may only end a dial pattern: {text!r}")
                expression += ".+" if char == "." else ".*"
            elif char == "[":
                close = text.find("]", at)
                if close < 0:
                    raise ValueError(f"unclosed [ in dial pattern {text!r}")
                expression += f"[{re.escape(_character_set(text[at + 1 : close], text))}]"
                at = close
            else:
                expression += _CLASSES.get(char) or re.escape(char)
            at += 1
        return cls(text, re.compile(expression, re.DOTALL))

    def matches(self, number: str) -> bool:
        """Whether the whole of `number` fits."""
        return self._fits.fullmatch(number) is not None


def _character_set(inside: str, pattern: str) -> str:
    chars = ""
    at = 0
    while at < len(inside):
        if at + 2 < len(inside) and inside[at + 1] == "-":
            first, last = ord(inside[at]), ord(inside[at + 2])
            if first > last:
                raise ValueError(f"range runs backwards in dial pattern {pattern!r}")
            chars += "".join(map(chr, range(first, last + 1)))
            at += 3
        else:
            chars += inside[at]
            at += 1
    if not chars:
        raise ValueError(f"empty [] in dial pattern {pattern!r}")
    return chars


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks for a call: an authenticated extension, a trunk by its source address, or a token."""

    name: str
    kind: Kind
    patterns: tuple[Pattern, ...] = ()
    "What it may dial through trunks; an admin may dial anything."
    user: str | None = None
    "Id of the user it acts for; an admin may act for any of its tenant."
    tenant: str = DEFAULT_TENANT
    scopes: frozenset[str] = frozenset()
    "What its token is good for; empty: all that its role allows."
    roles: Mapping[str, Role] = field(default_factory=dict)
    "Channel id -> role; `*` stands for every channel of its tenant."

    @property
    def owner(self) -> str:
        """What a session remembers of who started it: an extension and a token may bear the same name."""
        return f"{self.kind}:{self.name}"

    def may_dial(self, number: str) -> bool:
        """Whether `number` may go to a trunk for this principal."""
        if self.kind == "admin":
            return True
        for pattern in self.patterns:  # noqa: SIM110 -- a generator costs more than what it asks, at each call
            if pattern.matches(number):
                return True
        return False


@dataclass(frozen=True, slots=True)
class Extension:
    """A number of ours, with what its user may do."""

    number: str
    display_name: str | None = None
    patterns: tuple[Pattern, ...] = ()
    max_calls: int = 4
    ring_timeout_s: float = 60.0


@dataclass(frozen=True, slots=True)
class RouteTrunk:
    """A trunk of a route: the lower priority first, among equals by weight (as RFC 2782 does)."""

    name: str
    priority: int = 1
    weight: int = 1


@dataclass(frozen=True, slots=True)
class Route:
    """A dialled pattern and the trunks that carry it."""

    pattern: Pattern
    trunks: tuple[RouteTrunk, ...]
    media: MediaMode | None = None
    "None: as the trunk says."


@dataclass(frozen=True, slots=True)
class InboundNumber:
    """A number that trunks call us by (DID), and where it leads."""

    pattern: Pattern
    to: str
    "An extension or a service number."
    trunk: str | None = None
    "Only when it comes through this trunk; None: through any."


@dataclass(frozen=True, slots=True)
class ToExtension:
    """Ring the registered contacts of an extension."""

    extension: Extension
    why: str


@dataclass(frozen=True, slots=True)
class ToService:
    """Answer here: the echo test or the tone."""

    service: str
    why: str


@dataclass(frozen=True, slots=True)
class TrunkChoice:
    """One trunk to try, and why it is tried."""

    name: str
    media: MediaMode | None
    why: str


@dataclass(frozen=True, slots=True)
class ToTrunks:
    """Try these trunks in order; the skipped ones with the reason."""

    choices: tuple[TrunkChoice, ...]
    skipped: tuple[tuple[str, str], ...]


Decision = ToExtension | ToService | ToTrunks
TrunkState = Callable[[str], str | None]
"Why a trunk cannot take a call at this moment, or None when it can. KeyError: no such trunk."


class DialPlan:
    """Extensions, services, inbound numbers and routes, asked in this order."""

    def __init__(
        self,
        *,
        extensions: Iterable[Extension] = (),
        services: Mapping[str, str] | None = None,
        inbound: Sequence[InboundNumber] = (),
        routes: Sequence[Route] = (),
        trunk_state: TrunkState,
        random: Callable[[], float],
    ) -> None:
        self.extensions = {extension.number: extension for extension in extensions}
        self.services = dict(services or {})
        self.inbound = tuple(inbound)
        self.routes = tuple(routes)
        self._trunk_state = trunk_state
        self._random = random

    def decide(self, number: str, principal: Principal, *, trunk: str | None = None) -> Decision:
        """The way of `number`; `trunk` names the one to use when it has to leave us.

        Raises NoRoute, NotAllowed, UnknownTrunk or TrunkUnavailable.
        """
        if principal.kind == "trunk":
            for did in self.inbound:
                if did.trunk in (None, principal.name) and did.pattern.matches(number):
                    return self._local(did.to, f"inbound number {did.pattern.text} leads to {did.to}")
            if not principal.may_dial(number):
                raise NoRoute(f"no inbound number matches {number}")
        if number in self.extensions or number in self.services:
            return self._local(number, f"{number} is a number of this server")
        if trunk is not None:
            return self._named_trunk(number, principal, trunk)
        return self._routed(number, principal)

    def _local(self, number: str, why: str) -> Decision:
        if (service := self.services.get(number)) is not None:
            return ToService(service, why)
        if (extension := self.extensions.get(number)) is not None:
            return ToExtension(extension, why)
        raise NoRoute(f"{why}, which does not exist")

    def _named_trunk(self, number: str, principal: Principal, trunk: str) -> ToTrunks:
        _require(principal, number)
        try:
            unusable = self._trunk_state(trunk)
        except KeyError:
            raise UnknownTrunk(f"there is no trunk named {trunk}") from None
        if unusable is not None:
            raise TrunkUnavailable(f"trunk {trunk} is unavailable: {unusable}")
        skipped = tuple(
            (other.name, f"the request names trunk {trunk}")
            for route in self.routes
            if route.pattern.matches(number)
            for other in route.trunks
            if other.name != trunk
        )
        media = next((r.media for r in self.routes if any(t.name == trunk for t in r.trunks)), None)
        return ToTrunks((TrunkChoice(trunk, media, "named by the request"),), skipped)

    def _routed(self, number: str, principal: Principal) -> ToTrunks:
        route = next((r for r in self.routes if r.pattern.matches(number)), None)
        if route is None:
            raise NoRoute(f"no extension, service or route matches {number}")
        _require(principal, number)
        choices: list[TrunkChoice] = []
        skipped: list[tuple[str, str]] = []
        for place, choice in enumerate(self._ordered(route.trunks), 1):
            unusable = self._trunk_state(choice.name)
            if unusable is not None:
                skipped.append((choice.name, unusable))
                continue
            why = f"route {route.pattern.text}: priority {choice.priority}, weight {choice.weight}, place {place}"
            choices.append(TrunkChoice(choice.name, route.media, why))
        if not choices:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in skipped)
            raise TrunkUnavailable(f"route {route.pattern.text} has no usable trunk ({reasons})")
        return ToTrunks(tuple(choices), tuple(skipped))

    def _ordered(self, trunks: Sequence[RouteTrunk]) -> list[RouteTrunk]:
        """By priority, and by chance in proportion to the weight among equals (RFC 2782's way)."""
        if len(trunks) == 1:
            return list(trunks)
        ordered: list[RouteTrunk] = []
        for priority in sorted({trunk.priority for trunk in trunks}):
            left = [trunk for trunk in trunks if trunk.priority == priority]
            while left:
                mark = self._random() * sum(trunk.weight for trunk in left)
                chosen = left[-1]
                for trunk in left:
                    mark -= trunk.weight
                    if mark < 0:
                        chosen = trunk
                        break
                left.remove(chosen)
                ordered.append(chosen)
        return ordered


def _require(principal: Principal, number: str) -> None:
    if not principal.may_dial(number):
        raise NotAllowed(f"{principal.kind} {principal.name} may not dial {number}")
