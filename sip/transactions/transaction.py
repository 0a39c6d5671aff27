"""What the four machines have in common: their states, their users, and their place in the layer's tables."""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import TYPE_CHECKING, Protocol

from ..errors import SipError

if TYPE_CHECKING:
    from ..message import Request, Response
    from ..transport.base import Flow
    from .key import ClientKey, MergeKey, ServerKey

__all__ = [
    "ClientEntry",
    "ClientTransaction",
    "ClientUser",
    "Failure",
    "ServerEntry",
    "ServerTransaction",
    "ServerUser",
    "State",
    "SuccessUser",
    "Timed",
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

        To an INVITE each 2xx comes, with its repetitions and those of other forks, for 64*T1 (RFC 6026):
        the user sends the ACK every time. Another final response comes once, and has had its ACK.
        """

    def on_failure(self, transaction: ClientTransaction, failure: Failure, now: float) -> None:
        """No final response came; nothing follows."""


class SuccessUser(Protocol):
    """Whoever looks after an INVITE of ours from its first 2xx on; see `ClientInvite.hand_over`."""

    def on_success(self, response: Response, now: float) -> None:
        """Another 2xx: a repetition, or that of another fork, for 64*T1 (RFC 6026). Each wants an ACK."""


class ServerUser(Protocol):
    """Whoever answers an INVITE; set as `transaction.user`."""

    def on_cancel(self, transaction: ServerTransaction, cancel: Request, now: float) -> None:
        """A CANCEL came in time and has its 200. The user answers 487 (RFC 3261 §9.2)."""

    def on_ack_missing(self, transaction: ServerTransaction, now: float) -> None:
        """The 2xx went out for 64*T1 and `acked` was never called (RFC 3261 §13.3.1.4: send a BYE)."""

    def on_flow_closed(self, transaction: ServerTransaction, now: float) -> None:
        """The connection closed before the final response: none can be sent any more."""


class Timed(Protocol):
    """Anything that waits in the layer's timer queue."""

    def on_timer(self, now: float) -> None:
        """The instant that was set has come."""

    def __hash__(self) -> int: ...


class ClientEntry(Timed, Protocol):
    """What stands in the table of client transactions: a transaction, or what is left of it."""

    key: ClientKey
    flow: Flow

    def receive(self, response: Response, now: float) -> None:
        """A response with our branch came."""

    def on_flow_closed(self, now: float) -> None:
        """The flow cannot carry anything any more. Without effect once the entry has ended."""


class ServerEntry(Timed, Protocol):
    """What stands in the table of server transactions: a transaction, or what is left of it."""

    key: ServerKey
    merge_key: MergeKey | None
    flow: Flow
    local_tag: str
    state: State

    def receive(self, request: Request, now: float) -> None:
        """The request came again, or an ACK with its key."""

    def on_flow_closed(self, now: float) -> None:
        """The flow cannot carry anything any more. Without effect once the entry has ended."""


class ClientTransaction:
    """A request of ours that waits for its final response (RFC 3261 §17.1)."""

    __slots__ = ("branch", "flow", "key", "request", "state", "user")

    def __init__(self, request: Request, flow: Flow, branch: str, user: ClientUser) -> None:
        self.request = request
        "As it was given to `send_request`: without the Via that went out on top of it."
        self.flow = flow
        self.branch = branch
        "Of our Via."
        self.key: ClientKey = (branch, request.method)
        self.user = user
        self.state = State.TRYING


class ServerTransaction:
    """A request of a peer that waits for our final response (RFC 3261 §17.2)."""

    __slots__ = ("abandoned", "flow", "key", "local_tag", "merge_key", "request", "state", "user")

    def __init__(
        self, request: Request, key: ServerKey, merge_key: MergeKey | None, flow: Flow, local_tag: str
    ) -> None:
        self.request = request
        "With `received` and `rport` recorded in its top Via."
        self.key = key
        self.merge_key = merge_key
        self.flow = flow
        "Where responses go: the way the request came (RFC 3581)."
        self.local_tag = local_tag
        "To tag of our responses: the request's own, or a new one."
        self.user: ServerUser | None = None
        "Told of a CANCEL and of a missing ACK. While None, the stack answers a CANCELled INVITE with 487."
        self.state = State.TRYING
        self.abandoned = False
        "True once the stack ended it by itself: CANCELled without a user, flow closed, answer too late."

    def respond(self, response: Response, now: float) -> None:
        """Send a response; to be called through `SipStack.respond`."""
        raise NotImplementedError

    def wait(self, now: float) -> None:
        """The user was told of the request and may have answered it, or not yet."""

    @property
    def answerable(self) -> bool:
        """True while a response can be sent: no final one was, and neither flow nor time ran out."""
        return self.state is State.TRYING or self.state is State.PROCEEDING

    def acked(self) -> None:
        """The ACK to our 2xx came: it is not sent again. Without effect for anything but an INVITE."""
