"""INVITE server transactions (RFC 3261 §17.2.1, RFC 6026 §7.1), with the repetition of their 2xx (§13.3.1.4)."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final

from ..message import response_to
from .transaction import ServerTransaction, State, TransactionError

if TYPE_CHECKING:
    from ..message import Request, Response
    from ..transport.base import Flow
    from .key import MergeKey, ServerKey
    from .layer import TransactionLayer

TRYING_S: Final = 0.2  # RFC 3261 §17.2.1: no 100 is needed where another response follows within 200 ms

__all__ = ["TABLE", "Event", "ServerInvite"]


class Event(IntEnum):
    """What can happen to an INVITE that came."""

    SENT_PROVISIONAL = 1
    SENT_SUCCESS = 2
    "Any 2xx."
    SENT_FAILURE = 3
    "Any final response of 300 or more."
    INVITE = 4
    "It came again."
    ACK = 5
    "One with its key; the ACK to a 2xx of an RFC 3261 peer has another."
    TIMER_G = 6
    TIMER_H = 7
    TIMER_I = 8
    TIMER_L = 9
    FLOW_CLOSED = 10


PROCEEDING: Final = State.PROCEEDING
ACCEPTED: Final = State.ACCEPTED
COMPLETED: Final = State.COMPLETED
CONFIRMED: Final = State.CONFIRMED
TERMINATED: Final = State.TERMINATED

# RFC 3261 Figure 7 as RFC 6026 Figure 1 redraws it. What is absent is ignored, or where we are to send refused: a
# second final response is a TransactionError. An INVITE repeated after its 2xx, or after the ACK, ends here. An ACK in
# ACCEPTED goes on to the dialog: the stack sees to that. A closed flow does not end ACCEPTED, whose ACK can come on
# another connection.
TABLE: Final[dict[tuple[State, Event], State]] = {
    (PROCEEDING, Event.SENT_PROVISIONAL): PROCEEDING,
    (PROCEEDING, Event.SENT_SUCCESS): ACCEPTED,
    (PROCEEDING, Event.SENT_FAILURE): COMPLETED,
    (PROCEEDING, Event.INVITE): PROCEEDING,
    (PROCEEDING, Event.FLOW_CLOSED): TERMINATED,
    (ACCEPTED, Event.TIMER_L): TERMINATED,
    (COMPLETED, Event.INVITE): COMPLETED,
    (COMPLETED, Event.ACK): CONFIRMED,
    (COMPLETED, Event.TIMER_G): COMPLETED,
    (COMPLETED, Event.TIMER_H): TERMINATED,
    (COMPLETED, Event.FLOW_CLOSED): TERMINATED,
    (CONFIRMED, Event.TIMER_I): TERMINATED,
    (CONFIRMED, Event.FLOW_CLOSED): TERMINATED,
}
_PROVISIONAL: Final = Event.SENT_PROVISIONAL
_SUCCESS: Final = Event.SENT_SUCCESS
_FAILURE: Final = Event.SENT_FAILURE


class ServerInvite(ServerTransaction):
    """From the INVITE to its final response; after a 2xx on to its ACK."""

    __slots__ = ("_give_up_at", "_interval_s", "_last", "_layer", "cancelled")

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
        self.state = PROCEEDING
        self._layer = layer
        self._last = b""
        self._interval_s = layer.times.t1
        self._give_up_at = 0.0
        self.cancelled = False
        "True once a CANCEL came in time."

    def respond(self, response: Response, now: float) -> None:
        """Send a response. TransactionError after a final one."""
        status = response.status
        event = _PROVISIONAL if status < 200 else _SUCCESS if status < 300 else _FAILURE
        state = TABLE.get((self.state, event))
        if state is None:
            raise TransactionError(f"{status} after the final response to an INVITE")
        layer = self._layer
        self._last = data = response.to_bytes()
        layer.to_send.append((data, self.flow))
        self.state = state
        if state is PROCEEDING:
            if status > 100:
                layer.timers.set(self, now + layer.times.ringing_s)
        elif state is ACCEPTED:
            # RFC 3261 §13.3.1.4: the 2xx is repeated on every transport, since proxies may change it on its way.
            self._give_up_at = now + layer.transaction_s  # timer L, and the wait for the ACK
            layer.timers.set(self, now + self._interval_s)
        else:
            Refused(layer, self, data, now)

    def wait(self, now: float) -> None:
        """The user was told; if it says nothing soon, 100 stops the repetitions of the INVITE (§17.2.1)."""
        if self._last or self.state is not PROCEEDING:
            return
        if self._layer.trying_at_once:
            self._try(now)
        else:
            self._layer.timers.set(self, now + TRYING_S)

    def _try(self, now: float) -> None:
        # §8.2.6.1: a Timestamp is copied into the 100. The delay that it may tell is left out.
        timestamp = self.request.get("Timestamp")
        headers = () if timestamp is None else (("Timestamp", timestamp),)
        self.respond(response_to(self.request, 100, headers=headers), now)

    def receive(self, request: Request, now: float) -> None:
        """The INVITE came again, or an ACK with its key."""
        if request.method != "INVITE" or (self.state, Event.INVITE) not in TABLE:
            return
        if self._last:
            self._layer.to_send.append((self._last, self.flow))
        else:
            self._try(now)

    def acked(self) -> None:
        """The ACK to our 2xx came: it is not sent again."""
        if self.state is not ACCEPTED:
            return
        self.state = TERMINATED
        if self.flow.reliable:
            # RFC 6026 keeps the transaction for timer L, to absorb repetitions of the INVITE. Where none can come
            # and the 2xx has its ACK, nothing is left to absorb.
            self._layer.end_server(self)
        else:
            Confirmed(self._layer, self, ACCEPTED, self._give_up_at)

    def on_timer(self, now: float) -> None:
        """Time to repeat a provisional response or a 2xx; timer L."""
        layer = self._layer
        if self.state is PROCEEDING and not self._last:
            self._try(now)
        elif self.state is PROCEEDING:
            layer.to_send.append((self._last, self.flow))
            layer.timers.set(self, now + layer.times.ringing_s)
        elif now < self._give_up_at:
            layer.to_send.append((self._last, self.flow))
            self._interval_s = min(self._interval_s * 2, layer.times.t2)
            layer.timers.set(self, min(now + self._interval_s, self._give_up_at))
        else:
            self.state = TABLE[self.state, Event.TIMER_L]
            layer.end_server(self)
            if self.user is not None:
                self.user.on_ack_missing(self, now)

    def on_flow_closed(self, now: float) -> None:
        """The flow cannot carry anything any more."""
        state = TABLE.get((self.state, Event.FLOW_CLOSED))
        if state is None:
            return
        self.state = state
        self.abandoned = True
        self._layer.end_server(self)
        if self.user is not None:
            self.user.on_flow_closed(self, now)


class Refused:
    """What is left of an INVITE that we refused, until the ACK comes (COMPLETED)."""

    __slots__ = ("_give_up_at", "_interval_s", "_last", "_layer", "flow", "key", "local_tag", "merge_key", "state")

    def __init__(self, layer: TransactionLayer, transaction: ServerInvite, last: bytes, now: float) -> None:
        self.state = COMPLETED
        self.key: ServerKey = transaction.key
        self.merge_key: MergeKey | None = transaction.merge_key
        self.flow = transaction.flow
        self.local_tag = transaction.local_tag
        self._layer = layer
        self._last = last
        self._interval_s = layer.times.t1
        self._give_up_at = now + layer.transaction_s  # timer H
        layer.replace_server(transaction, self)
        layer.timers.set(self, self._give_up_at if self.flow.reliable else now + self._interval_s)

    def receive(self, request: Request, now: float) -> None:
        """The INVITE came again, or the ACK."""
        if request.method == "INVITE":
            self._layer.to_send.append((self._last, self.flow))
        elif self.flow.reliable:  # timer I is zero
            self.state = TERMINATED
            self._layer.end_server(self)
        else:
            self.state = TABLE[self.state, Event.ACK]
            Confirmed(self._layer, self, self.state, now + self._layer.times.t4)

    def on_timer(self, now: float) -> None:
        """Timer G or H."""
        layer = self._layer
        if now < self._give_up_at:
            layer.to_send.append((self._last, self.flow))
            self._interval_s = min(self._interval_s * 2, layer.times.t2)
            layer.timers.set(self, min(now + self._interval_s, self._give_up_at))
        else:  # the peer never acknowledged; there is nobody to tell
            self.state = TABLE[self.state, Event.TIMER_H]
            layer.end_server(self)

    def on_flow_closed(self, now: float) -> None:
        """Neither the response nor its ACK can come through."""
        self.state = TABLE[self.state, Event.FLOW_CLOSED]
        self._layer.end_server(self)


class Confirmed:
    """What is left of an INVITE that has its ACK: a key, at which repetitions end.

    CONFIRMED after a refusal, for timer I; still ACCEPTED after a 2xx, for timer L.
    """

    __slots__ = ("_layer", "flow", "key", "local_tag", "merge_key", "state")

    def __init__(self, layer: TransactionLayer, entry: ServerInvite | Refused, state: State, until: float) -> None:
        self.state = state
        self.key: ServerKey = entry.key
        self.merge_key: MergeKey | None = entry.merge_key
        self.flow = entry.flow
        self.local_tag = entry.local_tag
        self._layer = layer
        layer.replace_server(entry, self)
        layer.timers.set(self, until)  # timer I or L

    def receive(self, request: Request, now: float) -> None:
        """A repetition came."""

    def on_timer(self, now: float) -> None:
        """Timer I or L."""
        self._layer.end_server(self)

    def on_flow_closed(self, now: float) -> None:
        """Nothing more can come."""
        self._layer.end_server(self)
