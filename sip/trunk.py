"""A trunk: what it is, whether it answers, how much it may carry, and who may come in through it."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv4Network, IPv6Network
from typing import Final, Literal

from .errors import ParseError
from .grammar import parse_host_port
from .number import NumberFormat, NumberPlan, number_of, user_part
from .source import address_of
from .text import refuse_controls
from .uri import Uri

__all__ = [
    "CallRate",
    "CallSlots",
    "HealthState",
    "TrunkConfig",
    "TrunkHealth",
    "counts_as_answer",
    "dialled_number",
    "matches_source",
    "request_uri",
    "trunk_for_source",
]

_PROBE_JITTER: Final = 0.1  # of the interval, either way: trunks configured together are not probed together
_NO_ANSWER: Final = frozenset({408, 502, 503, 504})
_UP_AFTER: Final = 2  # answers in a row
_DOUBT_S: Final = 5.0  # to the next probe after a first miss or a first answer: the question is settled soon


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
    ring_timeout_s: float = 60.0
    "No final answer within this: likewise"
    media: Literal["anchor", "bypass"] = "anchor"
    targets: tuple[Uri, ...] = field(init=False, repr=False, compare=False)
    "`hosts`, parsed"
    registrar_uri: Uri = field(init=False, repr=False, compare=False)
    "`registrar` parsed, or the first target"
    numbers: NumberPlan = field(init=False, repr=False, compare=False)
    "How this trunk writes numbers"

    def __post_init__(self) -> None:
        """Check every field, and parse once what each call needs."""
        for name in _TEXT_FIELDS:
            refuse_controls(name, getattr(self, name) or "")
        if not self.name:
            raise ValueError("name: empty")
        if not self.hosts:
            raise ValueError("hosts: none given")
        targets = tuple(_host_uri(f"hosts[{index}]", text) for index, text in enumerate(self.hosts))
        object.__setattr__(self, "targets", targets)
        registrar = targets[0] if self.registrar is None else _host_uri("registrar", self.registrar)
        object.__setattr__(self, "registrar_uri", registrar)
        self._check_identity()
        self._check_numbers()
        self._check_limits()
        plan = NumberPlan(
            self.number_format,
            self.country_code,
            self.national_prefix,
            self.international_prefix,
            self.strip_prefix,
            self.add_prefix,
        )
        object.__setattr__(self, "numbers", plan)

    def _check_identity(self) -> None:
        if self.register and not self.username:
            raise ValueError("username: needed to register")
        if self.username and self.password is None:
            raise ValueError("password: missing")
        if not self.from_user:
            raise ValueError('from_user: empty; "caller" or a fixed user part')
        if self.from_host not in ("", "trunk"):
            try:
                parse_host_port(self.from_host)
            except ParseError as error:
                raise ValueError(f"from_host: {error.reason}") from None
        if self.privacy not in ("never", "caller", "always"):
            raise ValueError('privacy: "never", "caller" or "always"')
        if self.media not in ("anchor", "bypass"):
            raise ValueError('media: "anchor" or "bypass"')

    def _check_numbers(self) -> None:
        if self.number_format not in ("as_is", "e164", "e164_plus"):
            raise ValueError('number_format: "as_is", "e164" or "e164_plus"')
        for name in ("country_code", "national_prefix", "international_prefix"):
            digits = getattr(self, name)
            if digits and not (digits.isdecimal() and digits.isascii()):
                raise ValueError(f"{name}: digits only")

    def _check_limits(self) -> None:
        if self.max_calls is not None and self.max_calls < 0:
            raise ValueError("max_calls: negative")
        if self.max_calls_per_s is not None and self.max_calls_per_s <= 0:
            raise ValueError("max_calls_per_s: not above 0")
        if self.options_interval_s < 0 or 0 < self.options_interval_s < 1:
            raise ValueError("options_interval_s: 0 (off), or 1 and more")
        if self.options_misses < 1:
            raise ValueError("options_misses: 1 or more")
        if self.answer_timeout_s <= 0:
            raise ValueError("answer_timeout_s: not above 0")
        if self.ring_timeout_s <= 0:
            raise ValueError("ring_timeout_s: not above 0")
        if not 60 <= self.register_expires_s <= 86_400:
            raise ValueError("register_expires_s: 60 to 86400")


_TEXT_FIELDS: Final = (
    "name",
    "username",
    "from_user",
    "from_display",
    "pai",
    "rpi",
    "strip_prefix",
    "add_prefix",
)


def _host_uri(name: str, text: str) -> Uri:
    try:
        uri = Uri.parse(text)
    except ParseError as error:
        raise ValueError(f"{name}: {error.reason}") from None
    if uri.scheme != "sip":
        raise ValueError(f"{name}: not a sip: URI")
    if uri.user is not None or uri.headers:
        raise ValueError(f"{name}: a host has neither user part nor headers")
    transport = uri.parameter("transport")
    if transport is not None and transport.lower() not in ("udp", "tcp"):
        raise ValueError(f"{name}: transport is udp or tcp")
    return uri


def dialled_number(trunk: TrunkConfig, callee: str) -> str:
    """`callee` (number, user part, sip/tel URI) as `trunk` wants it. ValueError if a URI is malformed."""
    return trunk.numbers.dialled(number_of(callee))


def request_uri(trunk: TrunkConfig, callee: str, host: Uri) -> Uri:
    """The Request-URI of a call to `callee` at `host`, one of `trunk.targets`. ValueError as above."""
    user = user_part(dialled_number(trunk, callee))
    return Uri(host.scheme, user or None, None, host.host, host.port, host.parameters)


# ------------------------------------------------------------------------------------------------------ who c


def matches_source(trunk: TrunkConfig, ip: str) -> bool:
    """Whether a message from `ip` belongs to `trunk`. A trunk without inbound_sources matches nothing.

    The address of the packet is all that counts: From, Contact and Via are what anybody writes into them.
    """
    address = address_of(ip)
    return address is not None and any(address in network for network in trunk.inbound_sources)


def trunk_for_source(trunks: Iterable[TrunkConfig], ip: str) -> TrunkConfig | None:
    """The trunk whose most specific range holds `ip`; the first one on a tie."""
    address = address_of(ip)
    if address is None:
        return None
    best: TrunkConfig | None = None
    longest = -1
    for trunk in trunks:
        for network in trunk.inbound_sources:
            if network.prefixlen > longest and address in network:
                best, longest = trunk, network.prefixlen
    return best


# ------------------------------------------------------------------------------------------------------------


class HealthState(Enum):
    """Whether a trunk may be given calls."""

    UP = "up"
    DOWN = "down"


def counts_as_answer(status: int) -> bool:
    """Whether a final response to OPTIONS shows that calls can be tried: all but 408, 502, 503 and 504.

    404, 405 or 501 come from a living server that does not do OPTIONS, 401 and 403 from one that wants to
    know us. 408, 502 and 504 are a proxy's word that the server behind it is gone, 503 is the server's own
    that it takes no calls.
    """
    return status not in _NO_ANSWER


class TrunkHealth:
    """OPTIONS keep-alive of one trunk (or of one of its hosts), sans I/O.

    Starts UP, so that calls flow from the first second; down after `options_misses` misses in a row, up again
    after 2 answers in a row. While such a row grows, probes come every 5 s if the interval is longer.
    """

    __slots__ = ("_awaiting", "_interval_s", "_max_misses", "_next_at", "_rng", "answers", "misses", "state")

    def __init__(self, config: TrunkConfig, now: float, *, rng: random.Random | None = None) -> None:
        self._interval_s = config.options_interval_s
        self._max_misses = config.options_misses
        self._rng = rng if rng is not None else random.Random()
        self._awaiting = False
        self.state = HealthState.UP
        self.misses = 0
        "In a row."
        self.answers = 0
        "In a row."
        # The first probes spread over a tenth of the interval: a restart is no burst, and a dead trunk shows
        # early.
        self._next_at = now + self._rng.random() * _PROBE_JITTER * self._interval_s

    @property
    def deadline(self) -> float | None:
        """When the next probe is due; None if probing is off or an answer is awaited."""
        return None if self._awaiting or not self._interval_s else self._next_at

    def probe_due(self, now: float) -> bool:
        """True once for each probe to be sent: send OPTIONS, then report on_answer or on_miss."""
        if self._awaiting or not self._interval_s or now < self._next_at:
            return False
        self._awaiting = True
        spread = 1 + _PROBE_JITTER * (2 * self._rng.random() - 1)
        self._next_at = now + self._interval_s * spread
        return True

    def on_answer(self, status: int, now: float) -> None:
        """A final response to a probe; some statuses are no answer (see `counts_as_answer`)."""
        if not counts_as_answer(status):
            self.on_miss(now)
            return
        self.misses = 0
        self.answers += 1
        if self.answers >= _UP_AFTER:
            self.state = HealthState.UP
        self._settle(now, in_doubt=self.state is HealthState.DOWN)

    def on_miss(self, now: float) -> None:
        """A probe timed out or could not be sent."""
        self.answers = 0
        self.misses += 1
        if self.misses >= self._max_misses:
            self.state = HealthState.DOWN
        self._settle(now, in_doubt=self.state is HealthState.UP)

    def _settle(self, now: float, *, in_doubt: bool) -> None:
        # Timer F may outlast the interval: the next probe then goes at once, and the wait begins anew.
        self._awaiting = False
        self._next_at = max(self._next_at, now)
        if in_doubt:
            self._next_at = min(self._next_at, now + _DOUBT_S)


# ------------------------------------------------------------------------------------------------------------


class CallRate:
    """Token bucket: `rate_per_s` calls a second (None: no limit), a second's worth (1 at least) at once."""

    __slots__ = ("_burst", "_filled_at", "_rate", "_tokens")

    def __init__(self, rate_per_s: float | None, *, burst: float | None = None) -> None:
        if rate_per_s is not None and rate_per_s <= 0:
            raise ValueError("rate_per_s: not above 0")
        self._rate = rate_per_s
        self._burst = max(1.0, burst if burst is not None else rate_per_s or 1.0)
        self._tokens = self._burst
        self._filled_at: float | None = None

    def take(self, now: float) -> bool:
        """Whether one more call may start now; takes its token."""
        if self._rate is None:
            return True
        self._fill(self._rate, now)
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True

    def retry_after_s(self, now: float) -> float:
        """Seconds until `take` would succeed."""
        if self._rate is None:
            return 0.0
        self._fill(self._rate, now)
        return max(0.0, (1.0 - self._tokens) / self._rate)

    def _fill(self, rate: float, now: float) -> None:
        if self._filled_at is not None and now > self._filled_at:
            # A billionth forgives rounding: after exactly retry_after_s there is a whole token.
            self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * rate + 1e-9)
        self._filled_at = now


class CallSlots:
    """Counts the calls that are up through a trunk, against `max_calls`. None: no limit."""

    __slots__ = ("_max_calls", "in_use")

    def __init__(self, max_calls: int | None) -> None:
        self._max_calls = max_calls
        self.in_use = 0

    def take(self) -> bool:
        """Whether one more call may be up; takes its place."""
        if self._max_calls is not None and self.in_use >= self._max_calls:
            return False
        self.in_use += 1
        return True

    def give_back(self) -> None:
        """A call that took a place ended."""
        assert self.in_use > 0, "a place was given back twice"
        self.in_use -= 1
