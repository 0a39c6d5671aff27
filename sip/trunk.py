"""A trunk: what it is, whether it answers, how much it may carry, and who may come in through it."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from .uri import Uri

NumberFormat = Literal["as_is", "e164", "e164_plus"]


@dataclass(frozen=True, slots=True)
class TrunkConfig:
    """One trunk as the operator wrote it. ValueError names the field at fault."""

    name: str
    hosts: tuple[str, ...]
    "URIs in order of preference: sip:host[:port][;transport=tcp]"
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    register: bool = False
    registrar: str | None = None
    "URI to register at; the first host if None"
    register_expires_s: int = 3600
    inbound_sources: tuple[IPv4Network | IPv6Network, ...] = ()
    from_user: str = "caller"
    '"caller" or a fixed user part'
    from_host: str = ""
    'Empty: our own domain; "trunk": the host called; else that host'
    from_display: str = "caller"
    '"caller", "" for none, or a fixed name'
    pai: str = ""
    'P-Asserted-Identity: "" for none, "caller", or a fixed user part'
    rpi: str = ""
    "Remote-Party-ID: likewise"
    privacy: Literal["never", "caller", "always"] = "caller"
    "Withhold the caller's identity: never, when the caller asks, or always (RFC 3323)"
    number_format: NumberFormat = "as_is"
    country_code: str = ""
    'Without "+": "49". Needed to make E.164 of a national number'
    national_prefix: str = "0"
    international_prefix: str = "00"
    strip_prefix: str = ""
    "Taken from the front of the dialled number before its format is applied"
    add_prefix: str = ""
    "Put in front of the formatted number"
    codecs: tuple[str, ...] = ()
    max_calls: int | None = None
    max_calls_per_s: float | None = None
    options_interval_s: float = 30.0
    "0: no OPTIONS keep-alive; the trunk always counts as up"
    options_misses: int = 3
    answer_timeout_s: float = 10.0
    "No 18x or final answer within this: try the next trunk"
    media: Literal["anchor", "bypass"] = "anchor"

    @property
    def targets(self) -> tuple[Uri, ...]:
        """`hosts`, parsed."""
        raise NotImplementedError


def request_uri(trunk: TrunkConfig, callee: str, host: Uri) -> Uri:
    """The Request-URI of a call to `callee` (number, user part or sip/tel URI) at `host` of `trunk`."""
    raise NotImplementedError


def dialled_number(trunk: TrunkConfig, callee: str) -> str:
    """`callee` as `trunk` wants called numbers: prefix stripped, formatted, prefix added."""
    raise NotImplementedError


def matches_source(trunk: TrunkConfig, ip: str) -> bool:
    """Whether a message from `ip` belongs to `trunk`. A trunk without inbound_sources matches nothing."""
    raise NotImplementedError


def trunk_for_source(trunks: Iterable[TrunkConfig], ip: str) -> TrunkConfig | None:
    """The trunk whose most specific range holds `ip`; the first one on a tie."""
    raise NotImplementedError


class HealthState(Enum):
    """Whether a trunk may be given calls."""

    UP = "up"
    DOWN = "down"


class TrunkHealth:
    """OPTIONS keep-alive of one trunk (or one of its hosts), sans I/O."""

    def __init__(self, config: TrunkConfig, now: float, *, rng: random.Random | None = None) -> None:
        raise NotImplementedError

    state: HealthState

    @property
    def deadline(self) -> float | None:
        """When the next probe is due; None if probing is off or an answer is awaited."""
        raise NotImplementedError

    def probe_due(self, now: float) -> bool:
        """True once for each probe to be sent: send OPTIONS, then report on_answer or on_miss."""
        raise NotImplementedError

    def on_answer(self, status: int, now: float) -> None:
        """A final response to a probe; some statuses are no answer (see `counts_as_answer`)."""
        raise NotImplementedError

    def on_miss(self, now: float) -> None:
        """A probe timed out or could not be sent."""
        raise NotImplementedError


class CallRate:
    """Token bucket: `rate_per_s` calls a second, with a burst of one second's worth."""

    def __init__(self, rate_per_s: float | None, *, burst: float | None = None) -> None:
        raise NotImplementedError

    def take(self, now: float) -> bool:
        """Whether one more call may start now; takes its token."""
        raise NotImplementedError

    def retry_after_s(self, now: float) -> float:
        """Seconds until `take` would succeed."""
        raise NotImplementedError


class CallSlots:
    """Counts the calls that are up through a trunk, against `max_calls`."""

    def __init__(self, max_calls: int | None) -> None:
        raise NotImplementedError

    in_use: int

    def take(self) -> bool:
        """Whether one more call may be up; takes its place."""
        raise NotImplementedError

    def give_back(self) -> None:
        """A call that took a place ended."""
        raise NotImplementedError
