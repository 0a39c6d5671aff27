"""CallCore: the calls of one process, and what they share: the stack, the timers of glare, what we allow."""

from __future__ import annotations

from collections.abc import Iterable
from random import SystemRandom
from typing import TYPE_CHECKING, Final

from ..offer_answer import Random
from ..timers import TimerQueue
from .call import Call
from .events import Authorize, Listener, Route
from .incoming import IncomingCall
from .outgoing import OutgoingCall
from .reinvite import OwnInvite

if TYPE_CHECKING:
    from ..dialog import Dialog
    from ..message import Request
    from ..stack import SipStack
    from ..transactions import ServerTransaction
    from ..transport.base import Flow

ALWAYS: Final = ("INVITE", "ACK", "CANCEL", "BYE", "OPTIONS")
"Methods that are answered here, without the user."


def keep_flow(dialog: Dialog, flow: Flow) -> Flow:
    """The route of phones behind NAT and of peers that we know by address: the way we already talk to them."""
    return flow


class CallCore:
    """Makes and remembers calls. Sans-I/O: time comes in by `now`; messages go out by the stack.

    deliver: in-dialog methods that are given to the user as RequestReceived, beside those of ALWAYS.
    route: chooses the flow of a dialog's requests, when it is made, when its remote target changes, and when the flow
    is closed. By default the requests stay on the flow of the INVITE: right behind NAT, and wherever next hop and flow
    are the same place.
    """

    def __init__(
        self,
        stack: SipStack,
        *,
        deliver: Iterable[str] = ("INFO",),
        route: Route = keep_flow,
        random: Random | None = None,
    ) -> None:
        self.stack = stack
        self.deliver = frozenset(deliver)
        self.route = route
        self.random: Random = random if random is not None else SystemRandom()
        self.timers: TimerQueue[OwnInvite] = TimerQueue()
        self.allow = ", ".join((*ALWAYS, *sorted(self.deliver)))
        "Value of our Allow header."
        self.allow_header = (("Allow", self.allow),)
        self.calls: set[Call] = set()
        "Confirmed, until Ended."
        self.incoming_calls: set[IncomingCall] = set()
        "Not yet answered."
        self.outgoing_calls: set[OutgoingCall] = set()
        "Not yet answered."
        self.unacked: set[Call] = set()
        "Ended, but our 2xx still waits for its ACK."
        self.requests = 0
        "In-dialog requests of ours without a final answer, those of ended calls included."

    def invite(
        self,
        request: Request,
        flow: Flow,
        now: float,
        listener: Listener,
        *,
        authorize: Authorize | None = None,
        route: Route | None = None,
    ) -> OutgoingCall:
        """Send `request`: a whole INVITE but for Via, with From tag, Contact, and an SDP offer or none (late offer).

        No event comes before this returns. `authorize` is asked on 401 and 407, also for requests of the dialog.
        `route` takes the place of the core's for this call.
        """
        call = OutgoingCall(self, request, flow, listener, authorize, route or self.route)
        call.start(now)
        return call

    def incoming(
        self,
        transaction: ServerTransaction,
        now: float,
        listener: Listener,
        *,
        contact: str,
        route: Route | None = None,
    ) -> IncomingCall:
        """Take the INVITE of `transaction`; `contact` is the value of our Contact header, "<sip:...>".

        What `refusal` finds in the request is for the caller to answer before.
        """
        return IncomingCall(self, transaction, listener, contact, route or self.route)

    @property
    def deadline(self) -> float | None:
        """When handle_timeout() is wanted next; None: never."""
        return self.timers.deadline

    def handle_timeout(self, now: float) -> None:
        """Send again the re-INVITEs whose delay after glare is over."""
        for own in self.timers.pop_due(now):
            own.on_timer(now)

    def counts(self) -> dict[str, int]:
        """How many of each live now; all 0 when nothing goes on."""
        return {
            "calls": len(self.calls),
            "incoming_calls": len(self.incoming_calls),
            "outgoing_calls": len(self.outgoing_calls),
            "unacked_calls": len(self.unacked),
            "call_requests": self.requests,
            "call_timers": len(self.timers),
        }
