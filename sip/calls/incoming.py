"""An INVITE that waits for our answer (RFC 3261 section 13.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..dialog import Dialog
from ..message import Request, response_to
from ..offer_answer import SDP, Turn, session_description
from ..transactions import ServerTransaction
from .call import Call, Phase
from .events import CallGone, CallStateError, Cancelled, HeaderList, Listener, Route
from .refusal import not_taken, options_headers
from .reinvite import PeerInvite

if TYPE_CHECKING:
    from ..transport.base import Flow
    from .core import CallCore


class IncomingCall:
    """The server side of an INVITE before its final answer."""

    __slots__ = (
        "_contact",
        "_core",
        "_dialog",
        "_route",
        "_taken",
        "_transaction",
        "listener",
        "offer",
        "request",
        "user",
    )

    def __init__(
        self, core: CallCore, transaction: ServerTransaction, listener: Listener, contact: str, route: Route
    ) -> None:
        self.request = transaction.request
        self.offer = session_description(transaction.request)
        "The SDP of the INVITE; None where the caller wants our offer (its answer then comes by Confirmed)."
        self.listener = listener
        self.user: object = None
        "Free for the owner of the call."
        self._core = core
        self._transaction = transaction
        self._contact = contact
        self._route = route
        self._dialog: Dialog | None = None
        self._taken = False
        transaction.user = self
        core.incoming_calls.add(self)

    @property
    def call_id(self) -> str:
        """The Call-ID of the INVITE."""
        return self.request.call_id

    @property
    def flow(self) -> Flow:
        """The way the INVITE came."""
        return self._transaction.flow

    @property
    def over(self) -> bool:
        """True once cancelled, accepted or rejected."""
        return self not in self._core.incoming_calls

    def ring(self, now: float, status: int = 180, sdp: str | None = None, headers: HeaderList = ()) -> None:
        """Send a 101 to 199, with early media if `sdp`; the stack repeats it each minute. Nothing when over."""
        if self.over:
            return
        if self._dialog is None:
            dialog = self._dialog = self._make_dialog()
            self._core.stack.add_dialog(dialog.id, self)
        self._respond(status, None, headers, now, sdp)

    def accept(self, now: float, sdp: str, headers: HeaderList = ()) -> Call:
        """Send 200 with the answer (or our offer); it is repeated until the ACK.

        Raises CallGone when it was cancelled, CallStateError when it was answered before.
        """
        if self.over:
            raise CallStateError("answered before") if self._taken else CallGone("cancelled")
        self._leave()
        transaction = self._transaction
        late = self.offer is None
        call = Call(
            self._core,
            self._dialog or self._make_dialog(),
            transaction.flow,
            self.listener,
            phase=Phase.UNCONFIRMED,
            turn=Turn.THEIRS if late else Turn.STABLE,
            invite=PeerInvite(transaction, late=late, answered=True),
            route=self._route,
        )
        transaction.user = call
        self._respond(200, None, (*self._core.allow_header, *headers), now, sdp)
        return call

    def reject(self, now: float, status: int, reason: str | None = None, headers: HeaderList = ()) -> None:
        """Send a 300 to 699. Nothing when over."""
        if self.over:
            return
        self._close()
        response = response_to(self.request, status, reason, to_tag=self._transaction.local_tag, headers=headers)
        self._core.stack.respond(self._transaction, response, now)

    # What the stack tells (ServerUser, DialogUser for the early dialog).

    def on_cancel(self, transaction: ServerTransaction, cancel: Request, now: float) -> None:
        """ServerUser."""
        self._terminate(cancel.get("Reason"), now)

    def on_flow_closed(self, transaction: ServerTransaction, now: float) -> None:
        """ServerUser."""
        self._terminate(None, now)

    def on_ack_missing(self, transaction: ServerTransaction, now: float) -> None:
        """ServerUser; never called: the Call is told after a 2xx."""

    def on_ack(self, request: Request, now: float) -> None:
        """DialogUser: an ACK without a 2xx means nothing."""

    def on_request(self, transaction: ServerTransaction, now: float) -> None:
        """DialogUser: the caller sends within the early dialog."""
        request = transaction.request
        method = request.method
        assert self._dialog is not None
        status = 200
        headers: HeaderList = ()
        if not self._dialog.in_order(request.cseq.number):
            status = 500
        elif method == "INVITE":  # Section 14.2: the first has no final answer yet.
            status, headers = 500, (("Retry-After", str(self._core.random.randbytes(1)[0] % 11)),)
        elif method == "OPTIONS":
            headers = options_headers(self._core.allow)
        elif method in self._core.deliver:
            status, headers = 500, (("Retry-After", "2"),)  # Known, but only once the call is answered.
        elif method != "BYE":
            status, headers = not_taken(method, self._core.allow)
        self._core.stack.respond(transaction, response_to(request, status, headers=headers), now)
        if method == "BYE" and status == 200:  # Section 15: the caller may end the early dialog so.
            self._terminate(request.get("Reason"), now)

    # Inside.

    def _make_dialog(self) -> Dialog:
        return Dialog.of_callee(self.request, self._transaction.local_tag, self._contact)

    def _respond(self, status: int, reason: str | None, headers: HeaderList, now: float, sdp: str | None) -> None:
        response = response_to(
            self.request,
            status,
            reason,
            to_tag=self._transaction.local_tag,
            headers=(("Contact", self._contact), *headers),
            body=b"" if sdp is None else sdp.encode("utf-8"),
            content_type=None if sdp is None else SDP,
        )
        self._core.stack.respond(self._transaction, response, now)

    def _terminate(self, reason: str | None, now: float) -> None:
        if self.over:
            return
        self._close()
        self._taken = False
        if self._transaction.answerable:
            response = response_to(self.request, 487, to_tag=self._transaction.local_tag)
            self._core.stack.respond(self._transaction, response, now)
        self.listener(Cancelled(self, reason))

    def _leave(self) -> None:
        self._taken = True
        self._core.incoming_calls.discard(self)

    def _close(self) -> None:
        self._leave()
        self._transaction.user = None
        if self._dialog is not None:
            self._core.stack.remove_dialog(self._dialog.id)
