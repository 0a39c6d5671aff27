"""The SIP stack: messages go in from flows, out to flows; requests go up to whoever is registered for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from .timers import Timers
from .transactions import ClientTransaction, ClientUser, ServerTransaction

if TYPE_CHECKING:
    from .errors import ParseError
    from .message import Request, Response
    from .transport.base import Flow

__all__ = ["DialogId", "DialogUser", "SipStack", "StackLimits", "StackUser"]

DialogId = tuple[str, str, str]
"Call-ID, our tag, the peer's tag (empty if it sent none: RFC 3261 §12.1.1)."


class StackUser(Protocol):
    """Whoever takes the requests that belong to no dialog."""

    def on_request(self, transaction: ServerTransaction, now: float) -> None:
        """A request without To tag, neither ACK nor CANCEL. An INVITE has had its 100."""


class DialogUser(Protocol):
    """Whoever takes the requests inside one dialog."""

    def on_request(self, transaction: ServerTransaction, now: float) -> None:
        """A request of the dialog, neither ACK nor CANCEL; its CSeq order is for the dialog to check."""

    def on_ack(self, request: Request, now: float) -> None:
        """An ACK to a 2xx, first or repeated."""


class Random(Protocol):
    """Where branches, tags and Call-IDs come from; `random.SystemRandom` unless a test wants to know better."""

    def randbytes(self, n: int, /) -> bytes:
        """`n` bytes that nobody can guess."""


@dataclass(frozen=True, slots=True)
class StackLimits:
    """What peers may cost us."""

    transactions: int = 100_000
    "Client and server transactions together; beyond, what would open a dialog or stands outside one gets 503."
    in_dialog_reserve: int = 20_000
    "More than that for requests inside dialogs, so that calls can still be ended."
    retry_after_s: int = 5
    "Retry-After of that 503."
    error_answers_per_s: float = 100.0
    "Answers of the stack itself (400, 481, 482, 503) to one source address; beyond its burst it is silent."
    error_answers_burst: int = 200
    sources: int = 10_000
    "Source addresses remembered for that; when full of busy ones, new ones get no such answer."


class SipStack:
    """Transactions and dispatch for one element. Sans-I/O: give it messages and the time, fetch what to send.

    After every call of `receive…`, a verb or `handle_timeout`, send what `messages_to_send` holds, in order, and
    arrange for `handle_timeout` at `deadline`. Callbacks may call verbs.
    """

    def __init__(
        self,
        user: StackUser | None = None,
        *,
        timers: Timers = Timers(),
        user_agent: str = "Ringway",
        random: Random | None = None,
        limits: StackLimits = StackLimits(),
        trying_at_once: bool = True,
    ) -> None:
        self.user = user
        "May be set later; while None, requests outside dialogs get 503."

    # What happened.

    def receive(self, message: Request | Response, flow: Flow, now: float) -> None:
        """A message came in. Records `received` and `rport` in the top Via of a request."""

    def receive_error(self, error: ParseError, flow: Flow, now: float) -> None:
        """Something came in that is no message: answered with the status it deserves, if it can be answered."""

    def flow_closed(self, flow: Flow, now: float) -> None:
        """Nothing can be sent on `flow` any more: its client transactions fail with TRANSPORT."""

    # Verbs.

    def send_request(self, request: Request, flow: Flow, now: float, user: ClientUser) -> ClientTransaction:
        """Send a request that is complete but for our Via, and wait for its responses.

        `request` itself stays as it is and may be sent again elsewhere. Not for ACK and CANCEL. On a closed flow the
        user hears of a TRANSPORT failure at the next `handle_timeout`, never from within this call.
        """
        raise NotImplementedError

    def send_ack(self, request: Request, flow: Flow, now: float) -> None:
        """Send the ACK to a 2xx, complete but for our Via."""

    def cancel(self, transaction: ClientTransaction, now: float, reason: str | None = None) -> None:
        """Cancel an INVITE: at once, or with its first provisional response (RFC 3261 §9.1).

        `reason` becomes a Reason header (RFC 3326). The user still gets the final response: usually 487, a 2xx if
        they crossed; TIMEOUT if none comes within 64*T1 of the CANCEL. Without effect after a final response and when
        called again. TransactionError unless the request is an INVITE.
        """

    def respond(self, transaction: ServerTransaction, response: Response, now: float) -> None:
        """Send a response. A To tag is added if it lacks one (and is not 100).

        A 2xx to an INVITE is sent again until `transaction.acked()`, for 64*T1 at most. A response to a transaction
        that the stack itself had to end (`answerable` is False) is dropped. TransactionError after a final one.
        """

    def new_branch(self) -> str:
        """A branch for a Via: the magic cookie and 80 random bits."""
        raise NotImplementedError

    def new_tag(self) -> str:
        """A tag for From or To: 64 random bits."""
        raise NotImplementedError

    def new_call_id(self) -> str:
        """A Call-ID: 128 random bits, without a host name."""
        raise NotImplementedError

    def add_dialog(self, dialog_id: DialogId, user: DialogUser) -> None:
        """Send the requests of a dialog to `user`."""

    def remove_dialog(self, dialog_id: DialogId) -> None:
        """Answer further requests of the dialog with 481. It need not be known."""

    # Time and output.

    @property
    def deadline(self) -> float | None:
        """When `handle_timeout` wants to be called; None: never."""
        return None

    def handle_timeout(self, now: float) -> None:
        """Do what is due: retransmissions, time-outs."""

    def messages_to_send(self) -> list[tuple[bytes, Flow]]:
        """What is to be sent, in order; a second call returns only what came since."""
        return []

    def counts(self) -> dict[str, int]:
        """What is alive: client_transactions, server_transactions, dialogs, timers."""
        return {}
