"""CallCore: the calls of one process, and what they share: the stack, the timers of glare, the limits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .call import Call
from .events import Authorize, Listener
from .incoming import IncomingCall
from .outgoing import OutgoingCall

if TYPE_CHECKING:
    from ..message import Request
    from ..stack import SipStack
    from ..transactions import ServerTransaction
    from ..transport.base import Flow


class CallCore:
    """Makes and remembers calls. Sans-I/O: time comes in by `now`; messages go out by the stack."""

    calls: set[Call]
    "Confirmed, until Ended."
    incoming_calls: set[IncomingCall]
    "Not yet answered."
    outgoing_calls: set[OutgoingCall]
    "Not yet answered."

    def __init__(self, stack: SipStack) -> None:
        self.stack = stack

    def invite(
        self,
        request: Request,
        flow: Flow,
        now: float,
        listener: Listener,
        *,
        authorize: Authorize | None = None,
    ) -> OutgoingCall:
        """Send `request`: a whole INVITE but for Via, with From tag, Contact, and an SDP offer or none (late offer).

        No event comes before this returns. `authorize` is asked on 401 and 407, for the requests of the dialog too.
        """
        raise NotImplementedError

    def incoming(
        self, transaction: ServerTransaction, now: float, listener: Listener, *, contact: str
    ) -> IncomingCall:
        """Take the INVITE of `transaction`; `contact` is the value of our Contact header, "<sip:...>"."""
        raise NotImplementedError

    @property
    def deadline(self) -> float | None:
        """When handle_timeout() is wanted next."""
        raise NotImplementedError

    def handle_timeout(self, now: float) -> None:
        """Do what is due: re-INVITEs after glare, repeated 180s."""
        raise NotImplementedError

    def counts(self) -> dict[str, int]:
        """How many of each live now; all 0 when nothing goes on."""
        raise NotImplementedError
