"""Client transactions of everything but INVITE (RFC 3261 §17.1.2)."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final

from .transaction import ClientTransaction, Failure, State

if TYPE_CHECKING:
    from ..message import Request, Response
    from ..transport.base import Flow
    from .key import ClientKey
    from .layer import TransactionLayer
    from .transaction import ClientUser

__all__ = ["TABLE", "ClientNonInvite", "Event"]


class Event(IntEnum):
    """What can happen to such a request of ours."""

    PROVISIONAL = 1
    FINAL = 2
    TIMER_E = 3
    TIMER_F = 4
    TIMER_K = 5
    FLOW_CLOSED = 6


TRYING: Final = State.TRYING
PROCEEDING: Final = State.PROCEEDING
COMPLETED: Final = State.COMPLETED
TERMINATED: Final = State.TERMINATED

# RFC 3261 Figure 6. What is absent is ignored: in COMPLETED every response is a repetition.
TABLE: Final[dict[tuple[State, Event], State]] = {
    (TRYING, Event.PROVISIONAL): PROCEEDING,
    (TRYING, Event.FINAL): COMPLETED,
    (TRYING, Event.TIMER_E): TRYING,
    (TRYING, Event.TIMER_F): TERMINATED,
    (TRYING, Event.FLOW_CLOSED): TERMINATED,
    (PROCEEDING, Event.PROVISIONAL): PROCEEDING,
    (PROCEEDING, Event.FINAL): COMPLETED,
    (PROCEEDING, Event.TIMER_E): PROCEEDING,
    (PROCEEDING, Event.TIMER_F): TERMINATED,
    (PROCEEDING, Event.FLOW_CLOSED): TERMINATED,
    (COMPLETED, Event.TIMER_K): TERMINATED,
    (COMPLETED, Event.FLOW_CLOSED): TERMINATED,
}
_PROVISIONAL: Final = Event.PROVISIONAL
_FINAL: Final = Event.FINAL


class ClientNonInvite(ClientTransaction):
    """From the request to its final response."""

    __slots__ = ("_give_up_at", "_interval_s", "_layer", "_wire")

    def __init__(
        self, layer: TransactionLayer, request: Request, wire: bytes, branch: str, flow: Flow, user: ClientUser
    ) -> None:
        super().__init__(request, flow, branch, user)
        self._layer = layer
        self._wire = wire
        self._interval_s = layer.times.t1
        self._give_up_at = 0.0

    def start(self, now: float) -> None:
        """Send the request; timers E and F run."""
        layer = self._layer
        if self.flow.closed:
            layer.timers.set(self, now)  # fails from there: never within the caller's own call
            return
        layer.to_send.append((self._wire, self.flow))
        self._give_up_at = now + layer.transaction_s
        layer.timers.set(self, self._give_up_at if self.flow.reliable else now + self._interval_s)

    def receive(self, response: Response, now: float) -> None:
        """A response with our branch came."""
        state = TABLE.get((self.state, _PROVISIONAL if response.status < 200 else _FINAL))
        if state is None:
            return
        self.state = state
        if state is COMPLETED:
            if self.flow.reliable:  # timer K is zero
                self.state = TERMINATED
                self._layer.end_client(self)
            else:
                Answered(self._layer, self, now)
        self.user.on_response(self, response, now)

    def on_timer(self, now: float) -> None:
        """Timer E or F."""
        layer = self._layer
        if self.flow.closed:
            self._fail(Event.FLOW_CLOSED, Failure.TRANSPORT, now)
        elif now < self._give_up_at:
            layer.to_send.append((self._wire, self.flow))
            t2 = layer.times.t2
            self._interval_s = t2 if self.state is PROCEEDING else min(self._interval_s * 2, t2)
            layer.timers.set(self, min(now + self._interval_s, self._give_up_at))
        else:
            self._fail(Event.TIMER_F, Failure.TIMEOUT, now)

    def on_flow_closed(self, now: float) -> None:
        """The flow cannot carry anything any more."""
        self._fail(Event.FLOW_CLOSED, Failure.TRANSPORT, now)

    def _fail(self, event: Event, failure: Failure, now: float) -> None:
        self.state = TABLE[self.state, event]
        self._layer.end_client(self)
        self.user.on_failure(self, failure, now)


class Answered:
    """What is left of a request that has its final response: a key, at which repetitions end (COMPLETED)."""

    __slots__ = ("_layer", "flow", "key")

    def __init__(self, layer: TransactionLayer, transaction: ClientNonInvite, now: float) -> None:
        self._layer = layer
        self.flow = transaction.flow
        self.key: ClientKey = transaction.key
        layer.replace_client(transaction, self)
        layer.timers.set(self, now + layer.times.t4)  # timer K

    def receive(self, response: Response, now: float) -> None:
        """A repetition came."""

    def on_timer(self, now: float) -> None:
        """Timer K."""
        self._layer.end_client(self)

    def on_flow_closed(self, now: float) -> None:
        """Nothing more can come."""
        self._layer.end_client(self)
