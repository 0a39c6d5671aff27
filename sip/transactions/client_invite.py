"""INVITE client transactions (RFC 3261 §17.1.1, RFC 6026 §7.2), with their CANCEL (§9.1)."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final

from .hop import ack_bytes, cancel_request, with_via
from .transaction import ClientTransaction, Failure, State

if TYPE_CHECKING:
    from ..message import Request, Response
    from ..transport.base import Flow
    from .key import ClientKey
    from .layer import TransactionLayer
    from .transaction import ClientUser, SuccessUser

__all__ = ["TABLE", "ClientInvite", "Event"]


class Event(IntEnum):
    """What can happen to an INVITE that we sent."""

    PROVISIONAL = 1
    SUCCESS = 2
    "Any 2xx."
    FAILURE = 3
    "Any final response of 300 or more."
    TIMER_A = 4
    TIMER_B = 5
    TIMER_D = 6
    TIMER_M = 7
    CANCEL_UNANSWERED = 8
    "64*T1 after our CANCEL there is still no final response (§9.1)."
    FLOW_CLOSED = 9


CALLING: Final = State.CALLING
PROCEEDING: Final = State.PROCEEDING
ACCEPTED: Final = State.ACCEPTED
COMPLETED: Final = State.COMPLETED
TERMINATED: Final = State.TERMINATED
PROVISIONAL: Final = Event.PROVISIONAL
SUCCESS: Final = Event.SUCCESS
FAILURE: Final = Event.FAILURE

# RFC 3261 Figure 5 as RFC 6026 Figure 2 redraws it. What is absent is ignored: in particular there is no timer of
# RFC 3261 in PROCEEDING, so a call may ring for as long as its user lets it, and a response below 200 or above 299
# means nothing once a 2xx came (it is that of another fork).
TABLE: Final[dict[tuple[State, Event], State]] = {
    (CALLING, PROVISIONAL): PROCEEDING,
    (CALLING, SUCCESS): ACCEPTED,
    (CALLING, FAILURE): COMPLETED,
    (CALLING, Event.TIMER_A): CALLING,
    (CALLING, Event.TIMER_B): TERMINATED,
    (CALLING, Event.FLOW_CLOSED): TERMINATED,
    (PROCEEDING, PROVISIONAL): PROCEEDING,
    (PROCEEDING, SUCCESS): ACCEPTED,
    (PROCEEDING, FAILURE): COMPLETED,
    (PROCEEDING, Event.CANCEL_UNANSWERED): TERMINATED,
    (PROCEEDING, Event.FLOW_CLOSED): TERMINATED,
    (ACCEPTED, SUCCESS): ACCEPTED,
    (ACCEPTED, Event.TIMER_M): TERMINATED,
    (COMPLETED, FAILURE): COMPLETED,
    (COMPLETED, Event.TIMER_D): TERMINATED,
    (COMPLETED, Event.FLOW_CLOSED): TERMINATED,
}
_EXPIRY: Final = {CALLING: Event.TIMER_B, PROCEEDING: Event.CANCEL_UNANSWERED, ACCEPTED: Event.TIMER_M}


def _event_of(status: int) -> Event:
    return FAILURE if status >= 300 else SUCCESS if status >= 200 else PROVISIONAL


class ClientInvite(ClientTransaction):
    """From the INVITE to its final response; after a 2xx for 64*T1 more, for those of other forks."""

    __slots__ = ("_cancel_wanted", "_give_up_at", "_interval_s", "_layer", "_reason", "_via", "_wire")

    def __init__(
        self,
        layer: TransactionLayer,
        request: Request,
        wire: bytes,
        via: str,
        branch: str,
        flow: Flow,
        user: ClientUser,
    ) -> None:
        super().__init__(request, flow, branch, user)
        self.state = CALLING
        self._layer = layer
        self._wire = wire
        self._via = via
        self._interval_s = layer.times.t1
        self._give_up_at = 0.0
        self._cancel_wanted = False
        self._reason: str | None = None

    def start(self, now: float) -> None:
        """Send the INVITE; timers A and B run."""
        layer = self._layer
        if self.flow.closed:
            layer.timers.set(self, now)  # fails from there: never within the caller's own call
            return
        layer.to_send.append((self._wire, self.flow))
        self._give_up_at = now + layer.transaction_s
        layer.timers.set(self, self._give_up_at if self.flow.reliable else now + self._interval_s)

    def receive(self, response: Response, now: float) -> None:
        """A response with our branch came."""
        event = _event_of(response.status)
        state = TABLE.get((self.state, event))
        if state is None:
            return
        if state is not self.state:
            self._enter(state, response, now)
        self.user.on_response(self, response, now)

    def hand_over(self, heir: SuccessUser) -> None:
        """Within `on_response` of the first 2xx: those that follow are for `heir`, and the rest is forgotten."""
        assert self.state is ACCEPTED
        Accepted(self._layer, self, heir)

    def _enter(self, state: State, response: Response, now: float) -> None:
        layer = self._layer
        self.state = state
        self._wire = b""
        if state is PROCEEDING:
            layer.timers.cancel(self)
            if self._cancel_wanted:
                self._send_cancel(now)
        elif state is ACCEPTED:
            layer.timers.set(self, now + layer.transaction_s)  # timer M
        else:
            ack = ack_bytes(self.request, self._via, response)
            layer.to_send.append((ack, self.flow))
            if self.flow.reliable:  # timer D is zero
                self.state = TERMINATED
                layer.end_client(self)
            else:
                AckedFailure(layer, self, ack, now)

    def cancel(self, now: float, reason: str | None) -> None:
        """Send a CANCEL as soon as it may be sent; without effect after a final response or a CANCEL."""
        if self._cancel_wanted:
            return
        self._cancel_wanted = True
        self._reason = reason
        # RFC 3261 §9.1: no CANCEL before a provisional response. We keep the wish until the first one. If none
        # comes, timer B ends all; if a final one comes, there is nothing to cancel.
        if self.state is PROCEEDING:
            self._send_cancel(now)

    def _send_cancel(self, now: float) -> None:
        layer = self._layer
        layer.timers.set(self, now + layer.transaction_s)
        request = cancel_request(self.request, self._reason)
        layer.send_request(request, with_via(request, self._via), self._via, self.branch, self.flow, _NOBODY, now)

    def on_timer(self, now: float) -> None:
        """Timer A, or what ends the present state."""
        layer = self._layer
        if self.state is CALLING and self.flow.closed:
            self._fail(Event.FLOW_CLOSED, Failure.TRANSPORT, now)
        elif self.state is CALLING and now < self._give_up_at:
            layer.to_send.append((self._wire, self.flow))
            self._interval_s *= 2  # §17.1.1.2: timer A doubles without a bound
            layer.timers.set(self, min(now + self._interval_s, self._give_up_at))
        else:
            self._fail(_EXPIRY[self.state], Failure.TIMEOUT, now)

    def on_flow_closed(self, now: float) -> None:
        """The flow cannot carry anything any more."""
        self._fail(Event.FLOW_CLOSED, Failure.TRANSPORT, now)

    def _fail(self, event: Event, failure: Failure, now: float) -> None:
        state = TABLE.get((self.state, event))
        if state is None:
            return
        answered = self.state is ACCEPTED
        self.state = state
        self._layer.end_client(self)
        if not answered:
            self.user.on_failure(self, failure, now)


class Accepted:
    """What is left of an INVITE whose 2xx came: a key and a user, for the 2xx that follow (ACCEPTED)."""

    __slots__ = ("_heir", "_layer", "flow", "key")

    def __init__(self, layer: TransactionLayer, transaction: ClientInvite, heir: SuccessUser) -> None:
        self._layer = layer
        self._heir = heir
        self.flow = transaction.flow
        self.key: ClientKey = transaction.key
        layer.timers.hand_over(transaction, self)  # timer M
        layer.replace_client(transaction, self)

    def receive(self, response: Response, now: float) -> None:
        """A response came: the 2xx again, or one of another fork."""
        if (ACCEPTED, _event_of(response.status)) in TABLE:
            self._heir.on_success(response, now)

    def on_timer(self, now: float) -> None:
        """Timer M."""
        self._layer.end_client(self)

    def on_flow_closed(self, now: float) -> None:
        """Another 2xx could come on another connection."""


class AckedFailure:
    """What is left of an INVITE that was refused: its ACK, sent again when the refusal is (COMPLETED)."""

    __slots__ = ("_ack", "_layer", "flow", "key")

    def __init__(self, layer: TransactionLayer, transaction: ClientInvite, ack: bytes, now: float) -> None:
        self._layer = layer
        self._ack = ack
        self.flow = transaction.flow
        self.key: ClientKey = transaction.key
        layer.replace_client(transaction, self)
        layer.timers.set(self, now + layer.transaction_s)  # timer D: at least 32 s

    def receive(self, response: Response, now: float) -> None:
        """A response came: the refusal again, or one of another fork."""
        if (COMPLETED, _event_of(response.status)) in TABLE:
            self._layer.to_send.append((self._ack, self.flow))

    def on_timer(self, now: float) -> None:
        """Timer D."""
        self._layer.end_client(self)

    def on_flow_closed(self, now: float) -> None:
        """The ACK cannot be sent again."""
        self._layer.end_client(self)


class _Nobody:
    """Whom the fate of a CANCEL concerns: the INVITE's own final response, or its absence, tells all."""

    def on_response(self, transaction: ClientTransaction, response: Response, now: float) -> None:
        pass

    def on_failure(self, transaction: ClientTransaction, failure: Failure, now: float) -> None:
        pass


_NOBODY: Final = _Nobody()
