"""The registrar: bindings of addresses-of-record to contacts (RFC 3261 §10.3, RFC 5626, RFC 3327).

It decides nothing about who may register: the caller has authenticated the sender for the address-of-record.
No Date header is put into answers: `sip` knows no wall clock.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import ceil
from typing import Final

from .errors import ParseError
from .grammar import parse_number
from .headers import Address
from .kept_binding import KeptBinding
from .message import Request, Response, response_to
from .source import address_of
from .timers import TimerQueue
from .transport.base import Flow
from .uri import Uri

__all__ = ["REGISTRAR_EXTENSIONS", "Binding", "ChangeListener", "Keeper", "Registrar", "RegistrarLimits"]

REGISTRAR_EXTENSIONS: Final = ("path", "outbound")
"Option tags that a REGISTER may Require."

MAX_CONTACT_LENGTH: Final = 512  # characters of one Contact value; Linphone's longest has about 250
MAX_PATHS: Final = 8  # Path values of one REGISTER: edge proxies on its way
_MAX_REG_ID: Final = 2**31 - 1  # RFC 5626 §4.2
_MAX_EXPIRES: Final = 2**32 - 1
_NOT_IN_REQUEST_URI: Final = ("method",)  # RFC 3261 §19.1.1, Table 1; headers likewise


@dataclass(frozen=True, slots=True)
class RegistrarLimits:
    """Bounds of one registrar."""

    min_expires_s: int = 60
    "Shorter wishes get 423, so that a phone does not spend our time registering."
    max_expires_s: int = 3600
    "Longer wishes are cut: the answer says so, and dead phones disappear within this."
    default_expires_s: int = 3600
    max_contacts: int = 10
    "Bindings of one address-of-record; one more gets 403."
    max_aors: int = 100_000
    "Addresses-of-record with bindings; one more gets 503."


@dataclass(slots=True, eq=False)
class Binding:
    """One contact of an address-of-record."""

    contact: Address
    "As registered, without its expires."
    uri: Uri
    "The contact's URI as registered."
    flow: Flow
    "The flow that the REGISTER came on: send requests for this binding here while it is open."
    path: tuple[str, ...]
    "Path values, to be used as the Route set of requests for this binding (RFC 3327 §5.3)."
    instance: str | None
    "+sip.instance, with its <> (RFC 5626 §4.1)."
    reg_id: int | None
    "Set only where outbound is in use for this binding."
    q: float
    expires_at: float
    user_agent: str
    call_id: str
    cseq: int
    received: tuple[str, int]
    "Where the REGISTER came from; behind a NAT this is not what the contact says."
    registered_at: float
    "Of the last refresh."
    request_uri: Uri = field(init=False)
    "What goes into the Request-URI: the contact's URI without what may not stand there."
    aor: str = ""

    def __post_init__(self) -> None:
        """Make `request_uri`."""
        uri = self.uri
        if uri.headers or any(uri.has(name) for name in _NOT_IN_REQUEST_URI):
            kept = tuple(pair for pair in uri.parameters if pair[0].lower() not in _NOT_IN_REQUEST_URI)
            uri = replace(uri, parameters=kept, headers="")
        self.request_uri = uri

    @property
    def key(self) -> str:
        """Tells it apart from the others of its address-of-record: instance and reg-id (RFC 5626 §6), else the URI."""
        return str(self.uri) if self.reg_id is None else f"{self.instance};reg-id={self.reg_id}"

    def kept(self) -> KeptBinding:
        """What is to be stored of it, in the clock that the registrar is told."""
        return KeptBinding(
            self.aor,
            self.key,
            str(self.contact),
            self.flow.transport,
            self.flow.local,
            self.received,
            self.path,
            self.reg_id,
            self.user_agent,
            self.call_id,
            self.cseq,
            self.registered_at,
            self.expires_at,
        )

    @property
    def flow_only(self) -> bool:
        """True if nothing but the open flow reaches it: outbound, a WebSocket, or a connection from behind a NAT."""
        return (
            self.reg_id is not None or self.flow.transport in ("WS", "WSS") or _is_behind_nat(self.uri, self.received)
        )


ChangeListener = Callable[[str, list[Binding]], None]
"Called with the address-of-record and its bindings after each change (not after a mere refresh)."

Keeper = Callable[[Binding, bool], None]
"Called with each binding that is made or refreshed (True), or that is no more (False), to store it."


class _Refused(Exception):
    """A REGISTER that is answered with an error; nothing was changed."""

    def __init__(self, status: int, reason: str | None = None, headers: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(status, reason)
        self.status = status
        self.reason = reason
        self.headers = headers


@dataclass(slots=True)
class _Wish:
    """What a REGISTER asks of one contact."""

    contact: Address
    uri: Uri
    expires_s: int
    instance: str | None
    reg_id: int | None
    old: Binding | None = None


class Registrar:
    """Keeps bindings by address-of-record. All of a REGISTER is applied, or nothing of it (RFC 3261 §10.3)."""

    def __init__(self, limits: RegistrarLimits | None = None, *, on_change: ChangeListener | None = None) -> None:
        self._limits = limits if limits is not None else RegistrarLimits()
        self._on_change = on_change
        self.keeper: Keeper | None = None
        self._aors: dict[str, list[Binding]] = {}
        self._expiry: TimerQueue[Binding] = TimerQueue()
        self._by_connection: dict[Flow, set[Binding]] = {}

    def register(self, request: Request, flow: Flow, aor: str, now: float, *, to_tag: str | None = None) -> Response:
        """Apply a REGISTER whose sender was already allowed to register `aor`; the answer to send."""
        to_tag = to_tag or secrets.token_hex(6)
        self.handle_timeout(now)
        try:
            used_outbound = self._apply(request, flow, aor, now)
        except ParseError as error:
            return response_to(request, error.status, error.reason, to_tag=to_tag)
        except _Refused as refused:
            return response_to(request, refused.status, refused.reason, to_tag=to_tag, headers=refused.headers)
        headers = [("Contact", _contact_value(binding, now)) for binding in self.bindings(aor, now)]
        if "path" in request.supported:
            headers.extend(("Path", path) for path in request.headers.values("Path"))
        if used_outbound:
            headers.append(("Require", "outbound"))  # RFC 5626 §6
        return response_to(request, 200, to_tag=to_tag, headers=headers)

    def bindings(self, aor: str, now: float) -> list[Binding]:
        """The live bindings, highest q first, then the one refreshed last."""
        found = self._aors.get(aor)
        if found is None:
            return []
        live = [binding for binding in found if binding.expires_at > now]
        if len(live) > 1:
            live.sort(key=lambda binding: (-binding.q, -binding.registered_at))
        return live

    def remove(self, aor: str) -> None:
        """Forget every binding of `aor` (an administrator's act)."""
        self._drop(list(self._aors.get(aor, ())))

    def restore(self, kept: KeptBinding, flow: Flow) -> Binding | None:
        """Take a binding that was stored by a former process, its instants in our clock, `flow` as it is now.

        None when nothing reaches it any more, or a newer one is there. Nobody is told. ParseError for a contact that is
        none.
        """
        contact = Address.parse(kept.contact)
        binding = Binding(
            contact,
            contact.uri,
            flow,
            kept.path,
            contact.parameter("+sip.instance") or None,
            kept.reg_id,
            _q(contact),
            kept.expires_at,
            kept.user_agent,
            kept.call_id,
            kept.cseq,
            kept.remote,
            kept.registered_at,
            kept.aor,
        )
        if any(other.key == binding.key for other in self._aors.get(kept.aor, ())):
            return None
        if flow.closed and binding.flow_only:
            return None
        self._keep(binding)
        return binding

    def flow_closed(self, flow: Flow) -> None:
        """A connection ended: drop the bindings that nothing else can reach (RFC 5626 §5.3, and those behind NATs).

        The others stay; their flow is closed and their contact is to be resolved.
        """
        self._drop([binding for binding in self._by_connection.get(flow, ()) if binding.flow_only])
        self._by_connection.pop(flow, None)

    @property
    def deadline(self) -> float | None:
        """When `handle_timeout` wants to be called next."""
        return self._expiry.deadline

    def handle_timeout(self, now: float) -> None:
        """Drop what has expired."""
        due = list(self._expiry.pop_due(now))
        if due:
            self._drop(due)

    def counts(self) -> dict[str, int]:
        """Live objects: `aors` and `bindings`."""
        return {"aors": len(self._aors), "bindings": len(self._expiry)}

    # One REGISTER.

    def _apply(self, request: Request, flow: Flow, aor: str, now: float) -> bool:
        """Change the bindings as asked; whether outbound was used. Raises _Refused."""
        known = list(self._aors.get(aor, ()))
        if request.contact_star:
            if request.expires != 0 or len(request.headers.get_all("Contact")) > 1:
                raise _Refused(400, "Contact * stands alone, with Expires 0")  # RFC 3261 §10.3 step 6
            for binding in known:
                _check_order(binding, request)
            self._drop(known)
            return False
        wishes = self._wishes(request, known)
        if not wishes:
            if "contact" in request.headers:
                raise _Refused(400, "Malformed Contact")
            return False
        paths = tuple(request.headers.values("Path"))
        if len(paths) > MAX_PATHS:
            raise _Refused(400, "Too many Path values")
        added = sum(1 for wish in wishes if wish.old is None and wish.expires_s)
        gone = sum(1 for wish in wishes if wish.old is not None and not wish.expires_s)
        if added and len(known) - gone + added > self._limits.max_contacts:
            raise _Refused(403, "Too Many Contacts")
        if added and aor not in self._aors and len(self._aors) >= self._limits.max_aors:
            raise _Refused(503, None, (("Retry-After", "60"),))
        self._carry_out(wishes, request, flow, aor, paths, now)
        return any(wish.reg_id is not None for wish in wishes)

    def _wishes(self, request: Request, known: list[Binding]) -> list[_Wish]:
        contacts = request.contacts
        outbound = "outbound" in request.supported
        if len(contacts) > self._limits.max_contacts:
            raise _Refused(403, "Too Many Contacts")
        wishes: list[_Wish] = []
        for contact in contacts:
            if contact.uri.scheme not in ("sip", "sips"):
                raise _Refused(400, "Contact is not a SIP URI")
            if len(str(contact)) > MAX_CONTACT_LENGTH:
                raise _Refused(400, "Contact too long")
            instance = contact.parameter("+sip.instance") or None
            reg_id = _reg_id(contact) if outbound and instance is not None else None
            wish = _Wish(contact, contact.uri, self._expires(request, contact), instance, reg_id)
            wish.old = next((binding for binding in known if _same(binding, wish)), None)
            if wish.old is not None:
                _check_order(wish.old, request)
            # One after the other (RFC 3261 §10.3 step 7): of two words on one binding the last holds.
            wishes = [other for other in wishes if not _same(other, wish)]
            wishes.append(wish)
        self._check_outbound(request, wishes)
        return wishes

    def _expires(self, request: Request, contact: Address) -> int:
        """Seconds granted: the contact's own wish, else Expires, else the default (RFC 3261 §10.2.1.1)."""
        limits = self._limits
        text = contact.parameter("expires")
        wanted = parse_number(text, _MAX_EXPIRES) if text is not None else request.expires
        if wanted is None:
            wanted = limits.default_expires_s
        # RFC 3261 §10.3 step 7: only a wish under an hour may be called too brief.
        if 0 < wanted < min(limits.min_expires_s, 3600):
            raise _Refused(423, None, (("Min-Expires", str(limits.min_expires_s)),))
        return min(wanted, limits.max_expires_s)

    def _check_outbound(self, request: Request, wishes: list[_Wish]) -> None:
        if sum(1 for wish in wishes if wish.reg_id is not None and wish.expires_s) > 1:
            raise _Refused(400, "More than one contact with a reg-id")  # RFC 5626 §6
        if any(wish.reg_id is not None for wish in wishes) and len(request.vias) > 1:
            # RFC 5626 §6: the first hop, which is not us, must keep the flow and say so in its Path.
            paths = request.headers.values("Path")
            if not paths or not Address.parse(paths[-1]).uri.has("ob"):
                raise _Refused(439)

    def _carry_out(
        self,
        wishes: list[_Wish],
        request: Request,
        flow: Flow,
        aor: str,
        paths: tuple[str, ...],
        now: float,
    ) -> None:
        changed = False
        dropped: list[Binding] = []
        for wish in wishes:
            old = wish.old
            if not wish.expires_s:
                if old is not None:
                    dropped.append(old)
                continue
            contact = replace(
                wish.contact,
                parameters=tuple(pair for pair in wish.contact.parameters if pair[0].lower() != "expires"),
            )
            new = Binding(
                contact,
                contact.uri,
                flow,
                paths,
                wish.instance,
                wish.reg_id,
                _q(contact),
                now + wish.expires_s,
                (request.get("User-Agent") or "")[:100],
                request.call_id,
                request.cseq.number,
                flow.remote,
                now,
                aor,
            )
            if old is not None:
                changed = changed or old.flow != flow or old.uri != new.uri or old.q != new.q
                self._forget(old)
                if old.key != new.key:
                    self._store(old, False)
            else:
                changed = True
            self._keep(new)
            self._store(new, True)
        for binding in dropped:
            self._forget(binding)
            self._store(binding, False)
        if changed or dropped:
            self._tell(aor)

    # The store.

    def _keep(self, binding: Binding) -> None:
        self._aors.setdefault(binding.aor, []).append(binding)
        self._expiry.set(binding, binding.expires_at)
        if binding.flow.reliable:
            self._by_connection.setdefault(binding.flow, set()).add(binding)

    def _forget(self, binding: Binding) -> None:
        found = self._aors[binding.aor]
        found.remove(binding)
        if not found:
            del self._aors[binding.aor]
        self._expiry.cancel(binding)
        sharing = self._by_connection.get(binding.flow)
        if sharing is not None:
            sharing.discard(binding)
            if not sharing:
                del self._by_connection[binding.flow]

    def _drop(self, bindings: list[Binding]) -> None:
        for binding in bindings:
            self._forget(binding)
            self._store(binding, False)
        for aor in dict.fromkeys(binding.aor for binding in bindings):
            self._tell(aor)

    def _store(self, binding: Binding, is_there: bool) -> None:
        if self.keeper is not None:
            self.keeper(binding, is_there)

    def _tell(self, aor: str) -> None:
        if self._on_change is not None:
            self._on_change(aor, list(self._aors.get(aor, ())))


def _check_order(binding: Binding, request: Request) -> None:
    """RFC 3261 §10.3 steps 6 and 7: of one Call-ID only a higher CSeq counts; the whole request fails."""
    if binding.call_id == request.call_id and request.cseq.number <= binding.cseq:
        raise _Refused(500, "CSeq out of order")


def _same(one: Binding | _Wish, two: _Wish) -> bool:
    """Whether both mean one binding: by instance and reg-id (RFC 5626 §6), else by URI (RFC 3261 §10.3)."""
    if one.reg_id is not None or two.reg_id is not None:
        return one.instance == two.instance and one.reg_id == two.reg_id
    return one.uri == two.uri or one.uri.equivalent(two.uri)


def _reg_id(contact: Address) -> int | None:
    text = contact.parameter("reg-id")
    number = parse_number(text, _MAX_REG_ID + 1) if text else None
    return number if number is not None and 1 <= number <= _MAX_REG_ID else None


def _q(contact: Address) -> float:
    """The q of a contact: 0 to 1 with at most three decimals; 1 if absent or malformed (RFC 3261 §25.1)."""
    text = contact.parameter("q") or ""
    whole, _, decimals = text.partition(".")
    if whole not in ("0", "1") or len(decimals) > 3 or not (not decimals or decimals.isdecimal()):
        return 1.0
    return min(1.0, float(f"{whole}.{decimals or 0}"))


def _contact_value(binding: Binding, now: float) -> str:
    # A millisecond off: sums of floats may exceed the time granted, and a phone would see 3601 for its 3600.
    return f"{binding.contact};expires={max(1, ceil(binding.expires_at - now - 0.001))}"


def _is_behind_nat(uri: Uri, received: tuple[str, int]) -> bool:
    """True if the contact names an address that is not the one its REGISTER came from; a host name tells nothing."""
    named = address_of(uri.bare_host)
    if named is None:
        return uri.host.lower().endswith(".invalid")  # what browsers and some apps put (RFC 7118 §5.1)
    return named != address_of(received[0])
