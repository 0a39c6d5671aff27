"""What a call tells its listener (RFC 3261 sections 12 to 15, seen from the user's side).

Every event is a frozen value and goes to the listener synchronously, in the order in which things happened. A
handler may call any verb at once: the state it sees is already the new one.

    OutgoingCall    Ringing*, then exactly one of Answered | Failed
    IncomingCall    at most one Cancelled, and only while neither accept() nor reject() was called
    Call            any of the others, then exactly one Ended, which is the last
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from ..errors import SipError

if TYPE_CHECKING:
    from ..dialog import Dialog
    from ..message import Request, Response
    from ..transport.base import Flow
    from .call import Call
    from .incoming import IncomingCall
    from .outgoing import OutgoingCall

HeaderList = Iterable[tuple[str, str]]
"Extra headers of a message to build: (name, value) in order."

Authorize = Callable[["Response", "Request"], "tuple[str, str] | None"]
"Given a 401/407 and the request it refuses: the credentials header to add, or None to give up."

Route = Callable[["Dialog", "Flow"], "Flow"]
"The flow for the requests of a dialog, whose `next_hop` is new, when until now it was the one given."


class CallStateError(SipError):
    """A verb was called that the state of the call does not have."""


class CallGone(CallStateError):
    """The other side ended or cancelled the call before the verb was called; its event tells how."""


@dataclass(frozen=True, slots=True)
class Ringing:
    """A 101 to 199 came, first or repeated; `sdp` is early media of the fork that the To tag of `response` names."""

    call: OutgoingCall
    status: int
    reason: str
    sdp: str | None
    response: Response


@dataclass(frozen=True, slots=True)
class Answered:
    """The first 2xx came. It was ACKed, unless `needs_ack`: then `sdp` is an offer and Call.ack() must follow.

    `sdp` is the answer of the 2xx, or the last early one of the same fork if the 2xx carries none.
    """

    call: Call
    sdp: str | None
    response: Response
    outgoing: OutgoingCall
    needs_ack: bool = False


@dataclass(frozen=True, slots=True)
class Failed:
    """The call will not be answered.

    Where no response says it, `status` is 408 for "timeout", 503 for "transport" and 487 for "cancelled".
    """

    call: OutgoingCall
    status: int
    reason: str
    response: Response | None
    cause: Literal["response", "timeout", "transport", "cancelled"]

    @property
    def contacts(self) -> tuple[str, ...]:
        """The URIs of a 3xx, in its order; () otherwise."""
        if self.response is None or not 300 <= self.response.status < 400:
            return ()
        return tuple(str(address.uri) for address in self.response.contacts)


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The caller gave up, by CANCEL or by BYE on the early dialog, and got 487; or its connection closed.

    `reason`: the Reason header of that request, raw.
    """

    call: IncomingCall
    reason: str | None


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The ACK of our 2xx, to the first INVITE or a re-INVITE, came; `sdp` is the answer if our 2xx was the offer."""

    call: Call
    sdp: str | None


@dataclass(frozen=True, slots=True)
class NoAck:
    """No ACK came for our 2xx within 64*T1: a BYE is sent (RFC 3261 13.3.1.4). Ended(by="timeout") follows."""

    call: Call


@dataclass(frozen=True, slots=True)
class ReinviteReceived:
    """The other side asks for a change: `sdp` is its offer, None where it wants ours.

    accept_reinvite() or reject_reinvite() must follow, at once or later.
    """

    call: Call
    sdp: str | None
    request: Request


@dataclass(frozen=True, slots=True)
class ReinviteCancelled:
    """The re-INVITE that was not yet answered is withdrawn; 487 was sent."""

    call: Call
    reason: str | None


@dataclass(frozen=True, slots=True)
class ReinviteAnswered:
    """Our re-INVITE got its 2xx, ACKed unless `needs_ack`: then `sdp` is an offer and ack() must follow."""

    call: Call
    sdp: str
    response: Response
    needs_ack: bool = False


@dataclass(frozen=True, slots=True)
class ReinviteFailed:
    """Our re-INVITE came to nothing: the session stays as last agreed.

    491 also where the other side's re-INVITE overtook it, 488 for a 2xx without a description, 408 and 503 for no
    answer at all.
    """

    call: Call
    status: int
    reason: str
    response: Response | None


class Respond(Protocol):
    """Answers a RequestReceived, once; later calls do nothing."""

    def __call__(
        self, now: float, status: int, reason: str | None = None, headers: HeaderList = (), body: bytes = b""
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class RequestReceived:
    """An in-dialog request for the user (INFO, unless CallCore was told more).

    `respond` must be called, at once or later.
    """

    call: Call
    request: Request
    respond: Respond


@dataclass(frozen=True, slots=True)
class RequestAnswered:
    """The final answer to a send(). Without one `status` is 408 (time-out) or 503 (transport failure)."""

    call: Call
    method: str
    status: int
    response: Response | None


@dataclass(frozen=True, slots=True)
class Ended:
    """The call is over; its verbs do nothing any more. `reason`: the Reason header of the BYE, raw, theirs or ours.

    by: "remote" (its BYE, or 481 to a request of ours), "local" (bye() was called: comes with the final answer to the
    BYE, its time-out, or a BYE that crosses it), "timeout" (no ACK, or no answer to a re-INVITE), "transport" (the
    connection closed under a re-INVITE).
    """

    call: Call
    reason: str | None
    by: Literal["remote", "local", "timeout", "transport"]
    message: Request | Response | None = None


CallEvent = (
    Ringing
    | Answered
    | Failed
    | Cancelled
    | Confirmed
    | NoAck
    | ReinviteReceived
    | ReinviteCancelled
    | ReinviteAnswered
    | ReinviteFailed
    | RequestReceived
    | RequestAnswered
    | Ended
)

Listener = Callable[[CallEvent], None]
