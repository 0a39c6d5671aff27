"""Our registration at a trunk, kept alive (RFC 3261 §10.2, back-off as RFC 5626 §4.5)."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from .digest import DigestClient
from .errors import ParseError
from .grammar import parse_number
from .message import Request, Response
from .uri import Uri

__all__ = ["Registration", "RegistrationConfig", "RegistrationState"]

MAX_EXPIRES_S: Final = 86_400  # a registrar that grants, or demands, more is asked again daily, or not at all
MAX_RETRY_AFTER_S: Final = 3600.0  # a mistyped Retry-After does not cut a trunk off for a day
MAX_CHALLENGES: Final = 4  # in one attempt: a proxy and the registrar, each stale once
_REFRESH_EARLIEST: Final = 0.8  # of the time granted
_REFRESH_LATEST: Final = 0.9
_REFUSED: Final = frozenset({401, 403, 404, 407})  # asking again soon changes nothing, and some count it as an attack


class RegistrationState(Enum):
    """Where a registration stands."""

    STOPPED = "stopped"
    REGISTERING = "registering"
    REGISTERED = "registered"
    WAITING = "waiting"
    "An attempt failed; the next one is due at `deadline`."
    UNREGISTERING = "unregistering"


@dataclass(frozen=True, slots=True)
class RegistrationConfig:
    """What to register, and where. ValueError for what is no SIP URI."""

    registrar: str
    "Request-URI, such as sip:carrier.example"
    aor: str
    "To and From, such as sip:user@carrier.example"
    contact: str
    "Contact URI, such as sip:user@192.0.2.1:5060"
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    expires_s: int = 3600
    retry_base_s: float = 30.0
    "RFC 5626 §4.5: the first wait is 15 to 30 s times two."
    retry_max_s: float = 300.0
    "Less than the RFC's 1800: a trunk that comes back is to be used within minutes."

    def __post_init__(self) -> None:
        """Check the URIs."""
        for name in ("registrar", "aor", "contact"):
            try:
                uri = Uri.parse(getattr(self, name))
            except ParseError as error:
                raise ValueError(f"{name}: {error.reason}") from None
            if uri.scheme not in ("sip", "sips"):
                raise ValueError(f"{name}: not a SIP URI")
        if not 0 < self.retry_base_s <= self.retry_max_s:
            raise ValueError("retry_base_s: above 0, and not above retry_max_s")
        if not 0 < self.expires_s <= MAX_EXPIRES_S:
            raise ValueError(f"expires_s: 1 to {MAX_EXPIRES_S}")


class Registration:
    """Sans-I/O client: drain `requests_to_send` after every call, hand back final answers and failures.

    At most one REGISTER is under way (RFC 3261 §10.2). All use one Call-ID, with rising CSeq.
    """

    def __init__(
        self,
        config: RegistrationConfig,
        *,
        call_id: str,
        from_tag: str,
        rng: random.Random | None = None,
        on_change: Callable[[Registration], None] | None = None,
    ) -> None:
        """`on_change` is called after each change of `state` or `why`."""
        self.config = config
        self.state = RegistrationState.STOPPED
        self.why = ""
        "The last failure, for people; empty while all is well."
        self.service_route: tuple[str, ...] = ()
        "Service-Route values of the registrar, for the Route of calls through it (RFC 3608)."
        self._contact_uri = Uri.parse(config.contact)
        self._client = DigestClient(config.username, config.password or "") if config.username else None
        self._call_id = call_id
        self._from_tag = from_tag
        self._rng = rng if rng is not None else random.Random()
        self._on_change = on_change
        self._told = (self.state, self.why)
        self._cseq = 0
        self._sent: Request | None = None
        self._answers: dict[str, str] = {}
        self._challenges = 0
        self._wanted_s = config.expires_s
        self._failures = 0
        self._due_at: float | None = None
        self._expires_at: float | None = None
        self._leaving = False
        self._outbox: list[Request] = []

    def start(self, now: float) -> None:
        """Register, and stay registered until `unregister`."""
        self._leaving = False
        if self._sent is None and self.state is not RegistrationState.REGISTERED:
            self._attempt(RegistrationState.REGISTERING)
            self._tell()

    def unregister(self, now: float) -> None:
        """Take the binding away; ends in STOPPED whatever the registrar says. A REGISTER under way is awaited first."""
        self._leaving = True
        if self._sent is None:
            self._leave(now)
        self._tell()

    def requests_to_send(self) -> list[Request]:
        """REGISTER requests without Via, to be sent through the stack; drained."""
        drained, self._outbox = self._outbox, []
        return drained

    def on_response(self, response: Response, now: float) -> None:
        """A response to a REGISTER of ours; provisional ones and those to earlier requests are ignored."""
        sent = self._sent
        if sent is None or response.status < 200 or response.cseq.number != self._cseq:
            return
        self._sent = None
        if response.status < 300:
            self._granted(response, now)
        elif not self._answered(response, sent):
            if self.state is RegistrationState.UNREGISTERING:
                self._left()
            else:
                self._failed(f"{response.status} {response.reason}", now, response)
        self._tell()

    def on_failure(self, now: float, why: str = "no answer") -> None:
        """The transaction timed out, or the transport failed."""
        if self._sent is None:
            return
        self._sent = None
        if self.state is RegistrationState.UNREGISTERING:
            self._left()
        else:
            self._failed(why, now, None)
        self._tell()

    @property
    def deadline(self) -> float | None:
        """When `handle_timeout` wants to be called next."""
        return self._due_at

    def handle_timeout(self, now: float) -> None:
        """Refresh, or try again."""
        if self._due_at is not None and now >= self._due_at:
            self._attempt(RegistrationState.REGISTERING)
            self._tell()

    @property
    def next_refresh_at(self) -> float | None:
        """When the next REGISTER is due while registered."""
        return self._due_at if self.state is RegistrationState.REGISTERED else None

    def registered(self, now: float) -> bool:
        """Whether the registrar holds our binding now, also while a refresh is under way or failed."""
        return self._expires_at is not None and now < self._expires_at

    # Sending.

    def _attempt(self, state: RegistrationState) -> None:
        self.state = state
        self._due_at = None
        self._answers = {}
        self._challenges = 0
        self._send()

    def _send(self) -> None:
        config = self.config
        self._cseq += 1
        expires_s = 0 if self.state is RegistrationState.UNREGISTERING else self._wanted_s
        fields = [
            ("Max-Forwards", "70"),
            ("From", f"<{config.aor}>;tag={self._from_tag}"),
            ("To", f"<{config.aor}>"),
            ("Call-ID", self._call_id),
            ("CSeq", f"{self._cseq} REGISTER"),
            ("Contact", f"<{config.contact}>"),
            ("Expires", str(expires_s)),
            *self._answers.items(),
        ]
        self._sent = Request("REGISTER", config.registrar, fields)
        self._outbox.append(self._sent)

    def _leave(self, now: float) -> None:
        if self.registered(now):
            self._attempt(RegistrationState.UNREGISTERING)
        else:
            self._stop()

    def _left(self) -> None:
        """Unregistering has ended, well or not; `start` may have been called meanwhile."""
        self._stop()
        if not self._leaving:
            self._attempt(RegistrationState.REGISTERING)

    def _stop(self) -> None:
        self.state = RegistrationState.STOPPED
        self.why = ""
        self._due_at = None
        self._expires_at = None
        self._failures = 0

    # Answers.

    def _granted(self, response: Response, now: float) -> None:
        if self.state is RegistrationState.UNREGISTERING:
            self._left()
            return
        granted_s = self._granted_s(response)
        if granted_s <= 0:
            self._expires_at = None
            self._failed("the registrar did not keep our contact", now, None)
            return
        self.state = RegistrationState.REGISTERED
        self.why = ""
        self._failures = 0
        self._expires_at = now + granted_s
        self._due_at = now + granted_s * self._rng.uniform(_REFRESH_EARLIEST, _REFRESH_LATEST)
        try:
            self.service_route = tuple(response.headers.values("Service-Route"))
        except ParseError:
            self.service_route = ()  # a route that nobody can read is none; the registration stands
        if self._leaving:
            self._leave(now)

    def _granted_s(self, response: Response) -> int:
        """Seconds granted to our contact: its expires, else Expires, else what was asked (RFC 3261 §10.2.4)."""
        contacts = response.contacts
        mine = [contact for contact in contacts if _same_place(contact.uri, self._contact_uri)]
        if not mine and len(contacts) == 1:
            mine = list(contacts)  # a border controller on the way rewrote it
        if mine:
            text = mine[0].parameter("expires")
            granted_s = parse_number(text, MAX_EXPIRES_S) if text else None
            if granted_s is not None:
                return granted_s
        header_s = response.expires
        return self._wanted_s if header_s is None else min(header_s, MAX_EXPIRES_S)

    def _answered(self, response: Response, sent: Request) -> bool:
        """Send again at once where the answer says how: with credentials, or asking for longer."""
        if response.status in (401, 407) and self._client is not None and self._challenges < MAX_CHALLENGES:
            answer = self._client.authorize(response, sent)
            if answer is not None:
                self._challenges += 1
                self._answers[answer[0]] = answer[1]
                self._send()
                return True
        if response.status == 423:
            least_s = parse_number(response.get("Min-Expires") or "", MAX_EXPIRES_S + 1)
            if least_s is not None and self._wanted_s < least_s <= MAX_EXPIRES_S:
                self._wanted_s = least_s
                self._answers = {}
                self._send()
                return True
        return False

    def _failed(self, why: str, now: float, response: Response | None) -> None:
        self.state = RegistrationState.WAITING
        self.why = why
        if self._leaving:
            self._leave(now)
            return
        self._failures += 1
        self._due_at = now + self._wait_s(now, response)

    def _wait_s(self, now: float, response: Response | None) -> float:
        """RFC 5626 §4.5: base * 2^failures, at most the maximum, of which 50 to 100 %; Retry-After goes before."""
        config = self.config
        asked_s = _retry_after_s(response) if response is not None else None
        if asked_s:
            return min(asked_s, MAX_RETRY_AFTER_S) * self._rng.uniform(1.0, 1.1)
        if response is not None and response.status in _REFUSED:
            return config.retry_max_s * self._rng.uniform(0.5, 1.0)
        longest_s = min(config.retry_max_s, config.retry_base_s * 2.0 ** min(self._failures, 16))
        wait_s = longest_s * self._rng.uniform(0.5, 1.0)
        if self._expires_at is not None and now < self._expires_at:
            # A refresh failed, the binding still lives: try again while it does.
            wait_s = min(wait_s, max(1.0, (self._expires_at - now) / 2))
        return wait_s

    def _tell(self) -> None:
        if self._on_change is not None and self._told != (self.state, self.why):
            self._told = (self.state, self.why)
            self._on_change(self)


def _same_place(one: Uri, two: Uri) -> bool:
    """Whether two contacts are ours: registrars add and drop parameters, and some the default port."""
    default = 5061 if one.scheme == "sips" else 5060
    return (
        one.username == two.username
        and one.host.lower() == two.host.lower()
        and (one.port or default) == (two.port or default)
    )


def _retry_after_s(response: Response) -> float | None:
    """Seconds of Retry-After, without its comment and parameters (RFC 3261 §20.33)."""
    text = response.get("Retry-After")
    if text is None:
        return None
    return parse_number(text.partition(";")[0].partition("(")[0].strip(), 2**31)
