"""What the four machines have in common: their states, their users, and what they ask of the stack."""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import TYPE_CHECKING, Protocol

from ..errors import SipError

if TYPE_CHECKING:
    from ..message import Request, Response
    from ..timers import TimerQueue, Timers
    from ..transport.base import Flow

__all__ = [
    "ClientTransaction",
    "ClientUser",
    "Failure",
    "ServerTransaction",
    "ServerUser",
    "State",
    "TransactionError",
]


class TransactionError(SipError):
    """Our own caller asked for what no state allows: a second final response, a CANCEL of a BYE."""


class State(IntEnum):
    """States of RFC 3261 Figures 5 to 8 and of RFC 6026 §7 (integers: quick keys of the tables)."""

    CALLING = 1
    TRYING = 2
    PROCEEDING = 3
    ACCEPTED = 4
    COMPLETED = 5
    CONFIRMED = 6
    TERMINATED = 7


class Failure(Enum):
    """Why a client transaction ended without a final response."""

    TIMEOUT = "timeout"
    "Timer B or F, or 64*T1 after a CANCEL: to be taken as a 408 (RFC 3261 §8.1.3.1)."
    TRANSPORT = "transport"
    "The flow closed: to be taken as a 503."


class ClientUser(Protocol):
    """Whoever sent a request."""

    def on_response(self, transaction: ClientTransaction, response: Response, now: float) -> None:
        """Each provisional response, and the final one.

        To an INVITE each 2xx comes, with its retransmissions and those of other forks, for 64*T1 (RFC 6026): the user
        sends the ACK every time. Another final response comes once, and the transaction has sent its ACK.
        """

    def on_failure(self, transaction: ClientTransaction, failure: Failure, now: float) -> None:
        """No final response came; nothing follows."""


class ServerUser(Protocol):
    """Whoever answers an INVITE; set as `transaction.user`."""

    def on_cancel(self, transaction: ServerTransaction, cancel: Request, now: float) -> None:
        """A CANCEL came in time and has its 200. The user answers 487 (RFC 3261 §9.2)."""

    def on_ack_missing(self, transaction: ServerTransaction, now: float) -> None:
        """The 2xx went out for 64*T1 and `acked` was never called (RFC 3261 §13.3.1.4: send a BYE)."""

    def on_flow_closed(self, transaction: ServerTransaction, now: float) -> None:
        """The connection closed before the final response: it cannot be sent any more."""


class Timed(Protocol):
    """Anything that waits in the stack's timer queue."""

    def on_timer(self, now: float) -> None:
        """The instant that was set has come."""


class ClientEntry(Timed, Protocol):
    """What the stack's table of client transactions holds: a transaction, or what is left of it."""

    flow: Flow

    def receive(self, response: Response, now: float) -> None:
        """A response with our branch came."""

    def on_flow_closed(self, now: float) -> None:
        """The flow cannot carry anything any more."""


class ServerEntry(Timed, Protocol):
    """What the stack's table of server transactions holds: a transaction, or what is left of it."""

    flow: Flow

    def receive(self, request: Request, now: float) -> None:
        """The request came again, or the ACK to a response other than 2xx."""

    def on_flow_closed(self, now: float) -> None:
        """The flow cannot carry anything any more."""


ClientKey = tuple[str, str]
"Branch and method of CSeq (RFC 3261 §17.1.3)."
ServerKey = tuple[str, ...]
"Branch, sent-by and method (RFC 3261 §17.2.3); longer for RFC 2543."
MergeKey = tuple[str, str, str]
"From tag, Call-ID and CSeq of a request outside any dialog (RFC 3261 §8.2.2.2)."


class ClientTransaction:
    """A request of ours that waits for its final response (RFC 3261 §17.1)."""

    __slots__ = ("branch", "flow", "request", "state", "user")

    def __init__(self, request: Request, flow: Flow, branch: str, user: ClientUser) -> None:
        self.request = request
        "As it was given to `send_request`: without the Via that went out on top of it."
        self.flow = flow
        self.branch = branch
        "Of our Via; the key to which responses match."
        self.user = user
        self.state = State.TRYING


class ServerTransaction:
    """A request of a peer that waits for our final response (RFC 3261 §17.2)."""

    __slots__ = ("flow", "local_tag", "request", "state", "user")

    def __init__(self, request: Request, flow: Flow, local_tag: str) -> None:
        self.request = request
        "With `received` and `rport` recorded in its top Via."
        self.flow = flow
        "Where responses go: the way the request came (RFC 3581)."
        self.local_tag = local_tag
        "To tag of our responses: the request's own, or a new one."
        self.user: ServerUser | None = None
        "Told of a CANCEL and of a missing ACK. While None, a CANCEL is answered with 487 by the stack."
        self.state = State.TRYING

    @property
    def answerable(self) -> bool:
        """True while a response can be sent: no final one was, and neither the flow nor the time ran out."""
        return self.state is State.TRYING or self.state is State.PROCEEDING

    def acked(self) -> None:
        """The ACK to our 2xx came: it is not sent again. Without effect for anything but an INVITE."""
