"""The SIP stack: messages go in from flows, and out to flows; requests go up to who is registered for them."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from random import SystemRandom
from typing import TYPE_CHECKING, Final, Protocol

from .errors import ParseError
from .message import Request, Response, response_to
from .timers import Timers
from .transactions import ClientTransaction, ClientUser, ServerTransaction, State, TransactionError
from .transactions.client_invite import ClientInvite
from .transactions.hop import record_source, via_text, with_via
from .transactions.key import MAGIC_COOKIE, ack_key, merge_key, server_key
from .transactions.layer import TransactionLayer
from .transactions.server_invite import ServerInvite

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .transactions.key import ServerKey
    from .transactions.transaction import SuccessUser
    from .transport.base import Flow

__all__ = ["DialogId", "DialogUser", "SipStack", "StackLimits", "StackUser"]

DialogId = tuple[str, str, str]
"Call-ID, our tag, the peer's tag (empty if it sent none: RFC 3261 §12.1.1)."

_ACCEPTED: Final = State.ACCEPTED
_PROCEEDING: Final = State.PROCEEDING


class StackUser(Protocol):
    """Whoever takes the requests that belong to no dialog."""

    def on_request(self, transaction: ServerTransaction, now: float) -> None:
        """A request without To tag, neither ACK nor CANCEL. An INVITE that gets no response in here gets 100.

        A ParseError out of here is answered with its status, unless a final response went out before.
        """


class DialogUser(Protocol):
    """Whoever takes the requests inside one dialog."""

    def on_request(self, transaction: ServerTransaction, now: float) -> None:
        """A request of the dialog, neither ACK nor CANCEL; the order of CSeq is for the dialog to check.

        A ParseError out of here is answered with its status, unless a final response went out before.
        """

    def on_ack(self, request: Request, now: float) -> None:
        """An ACK to a 2xx, first or repeated."""


class Random(Protocol):
    """Where branches, tags and Call-IDs come from."""

    def randbytes(self, n: int, /) -> bytes:
        """`n` bytes that nobody can guess."""


@dataclass(frozen=True, slots=True)
class StackLimits:
    """What peers may cost us."""

    transactions: int = 100_000
    "Client and server transactions together; beyond, requests outside dialogs get 503. About 1.5 KB each."
    in_dialog_reserve: int = 20_000
    "More than that for requests inside dialogs, so that calls can still be ended."
    retry_after_s: int = 5
    "Retry-After of that 503."
    error_answers_per_s: float = 100.0
    "Answers of the stack itself (400, 481, 482, 503) to one source address; beyond, it is silent."
    error_answers_burst: int = 200
    "So many may come at once: a trunk that ends all its calls after a restart of ours."
    sources: int = 10_000
    "Source addresses remembered for that; when all are busy, a new one gets no such answer."


class _Identifiers:
    """Hexadecimal text that nobody can guess, fetched from its source by the kilobyte."""

    __slots__ = ("_at", "_pool", "_random")

    def __init__(self, random: Random) -> None:
        self._random = random
        self._pool = ""
        self._at = 0

    def next(self, characters: int) -> str:
        """The next `characters` of the pool, 4 bits each; an even number."""
        start = self._at
        end = start + characters
        if end > len(self._pool):
            self._pool = self._random.randbytes(1024).hex()
            start, end = 0, characters
        self._at = end
        return self._pool[start:end]


class _ErrorAnswers:
    """A token bucket for each source address that lately got an error answer."""

    __slots__ = ("_buckets", "_limits", "_swept_at")

    def __init__(self, limits: StackLimits) -> None:
        self._limits = limits
        self._buckets: dict[str, tuple[float, float]] = {}  # tokens, and the instant they were counted
        self._swept_at = 0.0

    def allow(self, source: str, now: float) -> bool:
        """True if one more answer may go to `source`; it is counted."""
        limits = self._limits
        bucket = self._buckets.get(source)
        if bucket is None:
            if len(self._buckets) >= limits.sources and not self._sweep(now):
                return False
            tokens = float(limits.error_answers_burst)
        else:
            tokens = min(bucket[0] + (now - bucket[1]) * limits.error_answers_per_s, float(limits.error_answers_burst))
        if tokens < 1.0:
            return False
        self._buckets[source] = (tokens - 1.0, now)
        return True

    def _sweep(self, now: float) -> bool:
        # At most once a second, so that a flood of new sources does not buy a pass each.
        if now - self._swept_at < 1.0:
            return False
        self._swept_at = now
        burst = self._limits.error_answers_burst
        rate = self._limits.error_answers_per_s
        self._buckets = {
            source: bucket for source, bucket in self._buckets.items() if bucket[0] + (now - bucket[1]) * rate < burst
        }
        return len(self._buckets) < self._limits.sources


class SipStack:
    """Transactions and dispatch for one element. Sans-I/O: give it messages and the time, fetch what to send.

    After every call of `receive`, `receive_error`, `flow_closed`, a verb or `handle_timeout`, send what
    `messages_to_send` holds, in order, and see that `handle_timeout` is called at `deadline`. Callbacks may call
    verbs. With `trying_at_once` a 100 answers an INVITE that its user has not answered at once, else one that has no
    response after 200 ms.
    """

    def __init__(
        self,
        user: StackUser | None = None,
        *,
        timers: Timers = Timers(),  # noqa: B008 -- frozen
        user_agent: str = "Ringway",
        random: Random | None = None,
        limits: StackLimits = StackLimits(),
        trying_at_once: bool = True,
    ) -> None:
        self.user = user
        "May be set later; while None, requests outside dialogs get 503."
        self.dropped: Counter[str] = Counter()
        "How many messages were dropped, by why: stray_response, stray_ack, silenced, unanswerable, late_answer."
        self._layer = TransactionLayer(timers, trying_at_once)
        self._dialogs: dict[DialogId, DialogUser] = {}
        self._limits = limits
        self._identifiers = _Identifiers(random if random is not None else SystemRandom())
        self._error_answers = _ErrorAnswers(limits)
        self._own_headers = (("Server", user_agent),) if user_agent else ()

    # What happened.

    def receive(self, message: Request | Response, flow: Flow, now: float) -> None:
        """A message came in. Records `received` and `rport` in the top Via of a new request."""
        if isinstance(message, Response):
            self._receive_response(message, now)
        elif message.method == "ACK":
            self._receive_ack(message, now)
        else:
            key = server_key(message, message.method)
            entry = self._layer.server.get(key)
            if entry is not None:
                entry.receive(message, now)
            elif message.method == "CANCEL":
                self._receive_cancel(message, key, flow, now)
            else:
                self._receive_new(message, key, flow, now)

    def receive_error(self, error: ParseError, flow: Flow, now: float) -> None:
        """What came in is no message: it gets the status it deserves, if it can be answered at all."""
        request = error.request
        if request is None:
            self.dropped["unanswerable"] += 1
            return
        with suppress(ParseError):  # if the Via itself is broken, the answer goes back on the flow all the same
            record_source(request, flow)
        self._refuse(request, flow, now, error.status, error.reason)

    def flow_closed(self, flow: Flow, now: float) -> None:
        """Nothing can be sent on `flow` any more: its client transactions fail with TRANSPORT."""
        self._layer.flow_closed(flow, now)

    def _receive_response(self, response: Response, now: float) -> None:
        # RFC 3261 §17.1.3 and §18.1.2: our Via and nothing below it, or it is not for us.
        entry = self._layer.client.get((response.via.branch or "", response.cseq.method))
        if entry is not None:
            headers = response.headers
            if headers.names.count("via") == 1 and ("," not in (headers.get("via") or "") or len(response.vias) == 1):
                entry.receive(response, now)
                return
        self.dropped["stray_response"] += 1

    def _receive_ack(self, request: Request, now: float) -> None:
        server = self._layer.server
        entry = server.get(server_key(request, "INVITE"))
        if entry is None:
            old_key = ack_key(request)
            if old_key is not None:
                entry = server.get(old_key)
                if entry is not None and entry.local_tag != request.to.tag:
                    entry = None
        # The ACK to a 2xx is the dialog's. It has a key of its own, but not from an RFC 2543 peer (RFC 6026 §7.1:
        # in ACCEPTED every ACK is passed on).
        if entry is not None and entry.state is not _ACCEPTED:
            entry.receive(request, now)
            return
        user = self._dialogs.get((request.call_id, request.to.tag or "", request.from_.tag or ""))
        if user is None:
            self.dropped["stray_ack"] += 1
        else:
            user.on_ack(request, now)

    def _receive_cancel(self, request: Request, key: ServerKey, flow: Flow, now: float) -> None:
        record_source(request, flow)
        layer = self._layer
        invite = layer.server.get(server_key(request, "INVITE"))
        if invite is None:  # a CANCEL of anything else has no use either (RFC 3261 §9.1)
            self._refuse(request, flow, now, 481)
            return
        # RFC 3261 §9.2: the same To tag as in the answer to the INVITE.
        tag = invite.local_tag
        cancel = layer.open_server(request, key, None, flow, tag)
        cancel.respond(response_to(request, 200, to_tag=tag), now)
        if not isinstance(invite, ServerInvite) or invite.state is not _PROCEEDING or invite.cancelled:
            return  # a final response went out: the CANCEL comes too late to have an effect
        invite.cancelled = True
        if invite.user is not None:
            invite.user.on_cancel(invite, request, now)
        else:
            invite.respond(response_to(invite.request, 487, to_tag=tag), now)
            invite.abandoned = True

    def _receive_new(self, request: Request, key: ServerKey, flow: Flow, now: float) -> None:
        record_source(request, flow)
        layer = self._layer
        tag = request.to.tag
        from_tag = request.from_.tag or ""
        room = self._limits.transactions - len(layer.server) - len(layer.client)
        user: DialogUser | StackUser | None
        if tag is not None:
            user = self._dialogs.get((request.call_id, tag, from_tag))
            if user is None:
                self._refuse(request, flow, now, 481)  # RFC 3261 §12.2.2
                return
            room += self._limits.in_dialog_reserve
            merge = None
        else:
            user = self.user
            merge = merge_key(request, from_tag)
            if merge in layer.merged:
                self._refuse(request, flow, now, 482)  # RFC 3261 §8.2.2.2
                return
            tag = self.new_tag()
        if room <= 0 or user is None:
            retry = ("Retry-After", str(self._limits.retry_after_s))
            self._refuse(request, flow, now, 503, headers=(retry,))
            return
        transaction = layer.open_server(request, key, merge, flow, tag)
        try:
            user.on_request(transaction, now)
        except ParseError as error:
            self._answer(transaction, error.status, error.reason, now)
        except Exception:
            self._answer(transaction, 500, None, now)  # the peer shall not wait for what will not come
            raise
        transaction.wait(now)

    def _answer(self, transaction: ServerTransaction, status: int, reason: str | None, now: float) -> None:
        if transaction.answerable:
            response = response_to(
                transaction.request, status, reason, to_tag=transaction.local_tag, headers=self._own_headers
            )
            transaction.respond(response, now)

    def _refuse(
        self,
        request: Request,
        flow: Flow,
        now: float,
        status: int,
        reason: str | None = None,
        headers: Iterable[tuple[str, str]] = (),
    ) -> None:
        """Answer without a transaction: a repeated request gets the same answer again (RFC 3261 §8.2.7)."""
        if not self._error_answers.allow(flow.remote[0], now):
            self.dropped["silenced"] += 1
            return
        response = response_to(request, status, reason, to_tag=self.new_tag(), headers=(*headers, *self._own_headers))
        self._layer.to_send.append((response.to_bytes(), flow))

    # Verbs.

    def send_request(self, request: Request, flow: Flow, now: float, user: ClientUser) -> ClientTransaction:
        """Send a request that is complete but for our Via, and wait for its responses.

        `request` itself stays as it is and may be sent again elsewhere. Not for ACK and CANCEL. On a closed flow the
        user hears of a TRANSPORT failure at the next `handle_timeout`, never from within this call.
        """
        assert request.method not in ("ACK", "CANCEL"), "send_ack and cancel are for those"
        branch = self.new_branch()
        via = via_text(flow, branch)
        return self._layer.send_request(request, with_via(request, via), via, branch, flow, user, now)

    def send_ack(self, request: Request, flow: Flow, now: float) -> None:
        """Send the ACK to a 2xx, complete but for our Via."""
        wire = with_via(request, via_text(flow, self.new_branch()))
        self._layer.to_send.append((wire, flow))

    def cancel(self, transaction: ClientTransaction, now: float, reason: str | None = None) -> None:
        """Cancel an INVITE: at once, or with its first provisional response (RFC 3261 §9.1).

        `reason` is the value of a Reason header (RFC 3326). The user still gets the final response: usually 487, a
        2xx if they crossed; TIMEOUT if none comes within 64*T1 of the CANCEL. Without effect after a final response
        and when called again. TransactionError unless the request is an INVITE.
        """
        if not isinstance(transaction, ClientInvite):
            raise TransactionError(f"a {transaction.request.method} cannot be cancelled")
        transaction.cancel(now, reason)

    def hand_over(self, transaction: ClientTransaction, heir: SuccessUser) -> None:
        """Within `on_response` of an INVITE's first 2xx: those that follow are for `heir`, and its request can go."""
        assert isinstance(transaction, ClientInvite)
        transaction.hand_over(heir)

    def respond(self, transaction: ServerTransaction, response: Response, now: float) -> None:
        """Send a response. A To tag is added if it lacks one (and is not 100).

        A 2xx to an INVITE is sent again until `transaction.acked()`, for 64*T1 at most. A response to a transaction
        that is `abandoned` is dropped. TransactionError after a final response.
        """
        if transaction.abandoned:
            self.dropped["late_answer"] += 1
            return
        if response.status > 100:
            to = response.headers.get("To") or ""
            if ";tag=" not in to[to.rfind(">") + 1 :] and response.to.tag is None:
                response.headers.set("To", f"{to};tag={transaction.local_tag}")
        transaction.respond(response, now)

    def new_branch(self) -> str:
        """A branch for a Via: the magic cookie and 80 random bits."""
        return MAGIC_COOKIE + self._identifiers.next(20)

    def new_tag(self) -> str:
        """A tag for From or To: 64 random bits."""
        return self._identifiers.next(16)

    def new_call_id(self) -> str:
        """A Call-ID: 128 random bits, without a host name."""
        return self._identifiers.next(32)

    def add_dialog(self, dialog_id: DialogId, user: DialogUser) -> None:
        """Send the requests of a dialog to `user`."""
        self._dialogs[dialog_id] = user

    def remove_dialog(self, dialog_id: DialogId) -> None:
        """Answer further requests of the dialog with 481. It need not be known."""
        self._dialogs.pop(dialog_id, None)

    # Time and output.

    @property
    def deadline(self) -> float | None:
        """When `handle_timeout` wants to be called; None: never."""
        return self._layer.timers.deadline

    def handle_timeout(self, now: float) -> None:
        """Do what is due: retransmissions, time-outs."""
        self._layer.handle_timeout(now)

    def messages_to_send(self) -> list[tuple[bytes, Flow]]:
        """What is to be sent, in order; a second call returns only what came since."""
        layer = self._layer
        messages = layer.to_send
        if messages:
            layer.to_send = []
        return messages

    def counts(self) -> dict[str, int]:
        """What is alive: all zero when nothing is, 64*T1 after the last message at the latest."""
        layer = self._layer
        return {
            "client_transactions": len(layer.client),
            "server_transactions": len(layer.server),
            "merge_keys": len(layer.merged),
            "timers": len(layer.timers),
            "flows": layer.flows,
            "dialogs": len(self._dialogs),
        }
