"""Server transactions of everything but INVITE and ACK (RFC 3261 §17.2.2, RFC 4320)."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final

from .transaction import ServerTransaction, State, TransactionError

if TYPE_CHECKING:
    from ..message import Request, Response
    from ..transport.base import Flow
    from .key import MergeKey, ServerKey
    from .layer import TransactionLayer

__all__ = ["TABLE", "Event", "ServerNonInvite"]


class Event(IntEnum):
    """What can happen to such a request."""

    SENT_PROVISIONAL = 1
    SENT_FINAL = 2
    REQUEST = 3
    "It came again."
    TIMER_J = 4
    TOO_LATE = 5
    "64*T1 without a final response: the client has given up (RFC 4320 §4.2)."
    FLOW_CLOSED = 6


TRYING: Final = State.TRYING
PROCEEDING: Final = State.PROCEEDING
COMPLETED: Final = State.COMPLETED
TERMINATED: Final = State.TERMINATED

# RFC 3261 Figure 8. What is absent is ignored, or where we are to send refused. The figure has no end for a request
# that nobody answers; RFC 4320 says when an answer is of no use any more, and there we let go.
TABLE: Final[dict[tuple[State, Event], State]] = {
    (TRYING, Event.SENT_PROVISIONAL): PROCEEDING,
    (TRYING, Event.SENT_FINAL): COMPLETED,
    (TRYING, Event.TOO_LATE): TERMINATED,
    (TRYING, Event.FLOW_CLOSED): TERMINATED,
    (PROCEEDING, Event.SENT_PROVISIONAL): PROCEEDING,
    (PROCEEDING, Event.SENT_FINAL): COMPLETED,
    (PROCEEDING, Event.REQUEST): PROCEEDING,
    (PROCEEDING, Event.TOO_LATE): TERMINATED,
    (PROCEEDING, Event.FLOW_CLOSED): TERMINATED,
    (COMPLETED, Event.REQUEST): COMPLETED,
    (COMPLETED, Event.TIMER_J): TERMINATED,
    (COMPLETED, Event.FLOW_CLOSED): TERMINATED,
}
_PROVISIONAL: Final = Event.SENT_PROVISIONAL
_FINAL: Final = Event.SENT_FINAL


class ServerNonInvite(ServerTransaction):
    """From the request to its final response."""

    __slots__ = ("_last", "_layer")

    def __init__(
        self,
        layer: TransactionLayer,
        request: Request,
        key: ServerKey,
        merge_key: MergeKey | None,
        flow: Flow,
        local_tag: str,
    ) -> None:
        super().__init__(request, key, merge_key, flow, local_tag)
        self._layer = layer
        self._last = b""

    def wait(self, now: float) -> None:
        """The user was told; if it did not answer at once, let go when the client will have."""
        if self.state is TRYING or self.state is PROCEEDING:
            self._layer.timers.set(self, now + self._layer.transaction_s)

    def respond(self, response: Response, now: float) -> None:
        """Send a response. TransactionError after a final one."""
        status = response.status
        state = TABLE.get((self.state, _PROVISIONAL if status < 200 else _FINAL))
        if state is None:
            raise TransactionError(f"{status} after the final response to a {self.request.method}")
        layer = self._layer
        data = response.to_bytes()
        layer.to_send.append((data, self.flow))
        self.state = state
        if state is PROCEEDING:
            self._last = data
        elif self.flow.reliable:  # timer J is zero
            self.state = TERMINATED
            layer.end_server(self)
        else:
            Answered(layer, self, data, now)

    def receive(self, request: Request, now: float) -> None:
        """The request came again."""
        if (self.state, Event.REQUEST) in TABLE:
            self._layer.to_send.append((self._last, self.flow))

    def on_timer(self, now: float) -> None:
        """Too late for a response."""
        self.state = TABLE[self.state, Event.TOO_LATE]
        self.abandoned = True
        self._layer.end_server(self)

    def on_flow_closed(self, now: float) -> None:
        """The flow cannot carry anything any more."""
        self.state = TABLE[self.state, Event.FLOW_CLOSED]
        self.abandoned = True
        self._layer.end_server(self)


class Answered:
    """What is left of a request that we answered: the response, sent again when the request is (COMPLETED)."""

    __slots__ = ("_last", "_layer", "flow", "key", "local_tag", "merge_key", "state")

    def __init__(self, layer: TransactionLayer, transaction: ServerNonInvite, last: bytes, now: float) -> None:
        self.state = COMPLETED
        self.key: ServerKey = transaction.key
        self.merge_key: MergeKey | None = transaction.merge_key
        self.flow = transaction.flow
        self.local_tag = transaction.local_tag
        self._layer = layer
        self._last = last
        layer.replace_server(transaction, self)
        layer.timers.set(self, now + layer.transaction_s)  # timer J

    def receive(self, request: Request, now: float) -> None:
        """The request came again."""
        self._layer.to_send.append((self._last, self.flow))

    def on_timer(self, now: float) -> None:
        """Timer J."""
        self._layer.end_server(self)

    def on_flow_closed(self, now: float) -> None:
        """The response cannot be sent again."""
        self._layer.end_server(self)
