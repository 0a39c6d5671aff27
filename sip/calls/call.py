"""A confirmed call, in either role: re-INVITEs, other requests, the end (RFC 3261 sections 12, 14 and 15)."""

from __future__ import annotations

from enum import IntEnum
from functools import partial
from typing import TYPE_CHECKING, Literal

from ..b2bua import reason_header
from ..message import Message, Request, Response, response_to
from ..offer_answer import SDP, Step, Turn, advance, glare, session_description
from ..transactions import ServerTransaction
from .events import (
    Authorize,
    CallGone,
    CallStateError,
    Confirmed,
    Ended,
    HeaderList,
    Listener,
    NoAck,
    ReinviteAnswered,
    ReinviteCancelled,
    ReinviteFailed,
    ReinviteReceived,
    RequestAnswered,
    RequestReceived,
    Route,
)
from .exchange import Exchange
from .refusal import not_taken, options_headers, refusal
from .reinvite import OwnInvite, PeerInvite, Progress

if TYPE_CHECKING:
    from ..dialog import Dialog
    from ..transport.base import Flow
    from .core import CallCore
    from .outgoing import AnsweredInvite


class Phase(IntEnum):
    """Of the INVITE usage."""

    UNCONFIRMED = 0
    "We sent the 2xx; its ACK has not come (callee only)."
    CONFIRMED = 1
    ENDING = 2
    "bye() was called: the BYE is under way, or waits for that ACK."
    ENDED = 3


class Call:
    """The INVITE usage of one confirmed dialog. OutgoingCall and IncomingCall make it; nobody else does."""

    __slots__ = (
        "_invite",
        "_phase",
        "_turn",
        "_wish",
        "authorize",
        "core",
        "dialog",
        "flow",
        "listener",
        "route",
        "user",
    )

    def __init__(
        self,
        core: CallCore,
        dialog: Dialog,
        flow: Flow,
        listener: Listener,
        *,
        phase: Phase,
        turn: Turn,
        invite: PeerInvite | AnsweredInvite | None,
        authorize: Authorize | None = None,
        route: Route,
    ) -> None:
        self.core = core
        self.dialog = dialog
        self.route = route
        self.flow = route(dialog, flow)
        "Where our requests go. May be replaced, say when the peer registered over a new connection."
        self.listener = listener
        "May be replaced at any time; gets every event from then on."
        self.authorize = authorize
        self.user: object = None
        "Free for the owner of the call."
        self._phase = phase
        self._turn = turn
        self._invite: OwnInvite | PeerInvite | AnsweredInvite | None = invite
        "The INVITE in progress. There is never more than one: RFC 3261 section 14.1 forbids it."
        self._wish: tuple[str | None, HeaderList] | None = None
        core.calls.add(self)
        core.stack.add_dialog(dialog.id, self)

    @property
    def call_id(self) -> str:
        """The Call-ID of the dialog."""
        return self.dialog.call_id

    @property
    def remote_target(self) -> str:
        """The URI of the peer's last Contact."""
        return self.dialog.remote_target

    @property
    def ended(self) -> bool:
        """True from bye(), or the peer's, on."""
        return self._phase >= Phase.ENDING

    @property
    def can_reinvite(self) -> bool:
        """False while an INVITE of either side is in progress, its ACK included, and at the end."""
        return self._phase is Phase.CONFIRMED and self._invite is None

    # Verbs.

    def ack(self, now: float, sdp: str) -> None:
        """Answer the offer of a 2xx (Answered or ReinviteAnswered with needs_ack). Nothing when the call is over.

        Raises CallStateError if no such answer is due.
        """
        if self.ended:
            return
        owed = self._invite
        if owed is None or isinstance(owed, PeerInvite) or not owed.owes_ack:
            raise CallStateError("no offer waits for an answer by ACK")
        self._turn = advance(self._turn, Step.WE_ANSWER)
        self._invite = None
        owed.answer(now, sdp)

    def bye(self, now: float, reason: str | None = None, headers: HeaderList = ()) -> None:
        """End the call; `reason` is the value of a Reason header. Nothing when it is over.

        Until the ACK of our first 2xx the BYE waits for it, as RFC 3261 section 15 wants. A re-INVITE in progress is
        ended too, without an event.
        """
        if self.ended:
            return
        waits = self._phase is Phase.UNCONFIRMED
        self._phase = Phase.ENDING
        if waits:
            self._wish = (reason, tuple(headers))
            return
        self._settle(now)
        self._send_bye(now, reason, headers)

    def reinvite(self, now: float, sdp: str | None, headers: HeaderList = ()) -> None:
        """Offer `sdp`, or with None ask for an offer. Raises CallGone, or CallStateError unless can_reinvite.

        A 491 is tried again inside (section 14.1), unless a re-INVITE of the peer comes first: ReinviteFailed(491).
        """
        self._must_live()
        if not self.can_reinvite:
            raise CallStateError("another INVITE is in progress")
        if sdp is not None:
            self._turn = advance(self._turn, Step.WE_OFFER)
        own = self._invite = OwnInvite(self, sdp, headers)
        own.start(now)

    def cancel_reinvite(self, now: float, reason: str | None = None) -> None:
        """Withdraw our unanswered re-INVITE; ReinviteFailed or ReinviteAnswered still comes. Nothing without one."""
        if isinstance(self._invite, OwnInvite):
            self._invite.cancel(now, reason)

    def accept_reinvite(self, now: float, sdp: str, headers: HeaderList = ()) -> None:
        """Answer ReinviteReceived by 200 with `sdp`: our offer if it had none. Nothing if it was withdrawn."""
        invite = self._invite
        if not isinstance(invite, PeerInvite) or invite.answered:
            return
        self._turn = advance(self._turn, Step.WE_OFFER if invite.late else Step.WE_ANSWER)
        invite.answered = True
        self._respond_invite(invite, 200, None, headers, now, sdp)

    def reject_reinvite(
        self, now: float, status: int = 488, reason: str | None = None, headers: HeaderList = ()
    ) -> None:
        """Refuse ReinviteReceived; the session stays as it was. Nothing if it was withdrawn."""
        invite = self._invite
        if not isinstance(invite, PeerInvite) or invite.answered:
            return
        self._turn = Turn.STABLE
        self._invite = None
        self._respond_invite(invite, status, reason, headers, now)

    def send(
        self,
        now: float,
        method: str,
        headers: HeaderList = (),
        body: bytes = b"",
        *,
        content_type: str | None = None,
    ) -> None:
        """Send an in-dialog request (INFO, OPTIONS, ...); RequestAnswered follows. Raises CallGone."""
        self._must_live()
        exchange = Exchange(self.core, self.dialog, self.way(), self.authorize, partial(self._on_answer, method))
        exchange.start(self.dialog.request(method, headers, body, content_type=content_type), now)

    # What the stack tells (DialogUser, ServerUser).

    def on_request(self, transaction: ServerTransaction, now: float) -> None:
        """DialogUser."""
        request = transaction.request
        method = request.method
        if self.flow.closed:
            self.flow = transaction.flow  # The peer is back on another connection.
        if self._phase is Phase.ENDED:
            self._refuse(transaction, 481, (), now)
        elif not self.dialog.in_order(request.cseq.number):
            self._refuse(transaction, 500, (), now)  # Section 12.2.2.
        elif method == "BYE":
            self._on_bye(transaction, now)
        elif self._phase is Phase.ENDING:
            self._refuse(transaction, 481, (), now)
        elif method == "INVITE":
            self._on_invite(transaction, now)
        elif method == "OPTIONS":
            self._refuse(transaction, 200, options_headers(self.core.allow), now)
        elif method in self.core.deliver:
            self.listener(RequestReceived(self, request, Reply(self.core, transaction)))
        else:
            self._refuse(transaction, *not_taken(method, self.core.allow), now)

    def on_ack(self, request: Request, now: float) -> None:
        """DialogUser."""
        invite = self._invite
        if not isinstance(invite, PeerInvite) or not invite.answered or request.cseq.number != invite.cseq:
            return  # A repetition, or of a CSeq we never had.
        self._acked(invite, session_description(request) if invite.late else None, now)

    def on_cancel(self, transaction: ServerTransaction, cancel: Request, now: float) -> None:
        """ServerUser, for a re-INVITE."""
        self._withdrawn(transaction, cancel.get("Reason"), now)

    def on_flow_closed(self, transaction: ServerTransaction, now: float) -> None:
        """ServerUser, for a re-INVITE."""
        self._withdrawn(transaction, None, now)

    def on_ack_missing(self, transaction: ServerTransaction, now: float) -> None:
        """ServerUser: section 13.3.1.4 for the first INVITE, section 14.2 for a re-INVITE."""
        self._invite = None
        phase, wish = self._phase, self._wish
        if phase is Phase.ENDED:
            self._forget()
        elif wish is not None:
            self._wish = None
            self._send_bye(now, *wish)
        elif phase is not Phase.ENDING:
            self._phase = Phase.ENDING
            reason = reason_header(408, "No ACK")
            self._dismiss(now, reason)
            self.listener(NoAck(self))
            self._end(now, "timeout", reason, None)

    # What the parts of the call ask and tell. For this package alone.

    def way(self) -> Flow:
        """The flow for our next request: once its connection is closed, what leads to the peer now."""
        if self.flow.closed:
            self.flow = self.route(self.dialog, self.flow)
        return self.flow

    def refreshed(self, message: Message) -> None:
        """The peer's Contact of a re-INVITE or its 2xx counts from now on (section 12.2)."""
        if self.dialog.refresh(message):
            self.flow = self.route(self.dialog, self.flow)

    def reinvite_waits(self) -> None:
        """Our re-INVITE met glare: until it is sent again no offer is open."""
        self._turn = Turn.STABLE

    def again(self, own: OwnInvite, now: float) -> None:
        """Our re-INVITE has waited long enough."""
        if own is self._invite:
            if own.offers:
                self._turn = advance(self._turn, Step.WE_OFFER)
            own.start(now)

    def reinvite_answered(self, own: OwnInvite, sdp: str | None, response: Response, now: float) -> None:
        """A 2xx came to our re-INVITE; ACKed but for an offer in it."""
        if own.owes_ack:
            self._turn = advance(self._turn, Step.THEY_OFFER)
        else:
            self._turn = Turn.STABLE
            self._invite = None
        if sdp is None:
            self.listener(ReinviteFailed(self, 488, "No session description in the answer", response))
        else:
            self.listener(ReinviteAnswered(self, sdp, response, own.owes_ack))

    def reinvite_failed(self, own: OwnInvite, status: int, reason: str, response: Response | None, now: float) -> None:
        """Our re-INVITE came to nothing."""
        if own is self._invite:
            self._turn = Turn.STABLE
            self._invite = None
            self.listener(ReinviteFailed(self, status, reason, response))

    def fail(
        self,
        now: float,
        by: Literal["remote", "timeout", "transport"],
        reason: str | None,
        response: Response | None,
    ) -> None:
        """The peer no longer knows the call, or is silent: end it here, with a BYE that nobody waits for.

        RFC 3261 section 12.2.1.2 for 481, 408 and no response at all.
        """
        if self._phase is Phase.ENDED:
            return
        if self._phase is not Phase.ENDING:
            self._settle(now)
            self._dismiss(now, reason)
            self._end(now, by, reason, response)

    def end_by_peer(self, request: Request, now: float) -> None:
        """The peer's BYE, answered already, counts: it may have come on the early dialog."""
        if self._phase is Phase.ENDED:
            return
        by: Literal["remote", "local"] = "local" if self._phase is Phase.ENDING else "remote"
        self._settle(now)
        self._end(now, by, request.get("Reason"), request)

    # Inside.

    def _must_live(self) -> None:
        if self.ended:
            raise CallGone("the call is over")

    def _refuse(self, transaction: ServerTransaction, status: int, headers: HeaderList, now: float) -> None:
        self.core.stack.respond(transaction, response_to(transaction.request, status, headers=headers), now)

    def _respond_invite(
        self,
        invite: PeerInvite,
        status: int,
        reason: str | None,
        headers: HeaderList,
        now: float,
        sdp: str | None = None,
    ) -> None:
        response = response_to(
            invite.transaction.request,
            status,
            reason,
            headers=(("Contact", self.dialog.contact), *self.core.allow_header, *headers)
            if sdp is not None
            else headers,
            body=b"" if sdp is None else sdp.encode("utf-8"),
            content_type=None if sdp is None else SDP,
        )
        self.core.stack.respond(invite.transaction, response, now)

    def _on_bye(self, transaction: ServerTransaction, now: float) -> None:
        self._refuse(transaction, 200, (), now)
        self.end_by_peer(transaction.request, now)

    def _on_invite(self, transaction: ServerTransaction, now: float) -> None:
        request = transaction.request
        why = refusal(request)
        if why is not None:
            self._refuse(transaction, *why, now)
            return
        before = self._invite
        theirs = isinstance(before, PeerInvite) and not before.answered
        waiting = isinstance(before, OwnInvite) and before.progress is Progress.WAITING
        ours = before is not None and not isinstance(before, PeerInvite) and not waiting
        status = glare(ours=ours, theirs=theirs, turn=self._turn)
        if status is not None:
            later = (("Retry-After", str(self.core.random.randbytes(1)[0] % 11)),)
            self._refuse(transaction, status, later if status == 500 else (), now)
            return
        if isinstance(before, PeerInvite):
            # The ACK of our 2xx was lost or overtaken, but only one who has the 2xx sends a re-INVITE, and the
            # offer is answered (RFC 5407 section 3.1.4).
            self._acked(before, None, now)
        elif isinstance(before, OwnInvite):
            before.abandon(now)
        self._take_invite(transaction, before if isinstance(before, OwnInvite) else None, now)

    def _take_invite(self, transaction: ServerTransaction, overtaken: OwnInvite | None, now: float) -> None:
        request = transaction.request
        if self.ended:  # By the handler of Confirmed.
            self._refuse(transaction, 487, (), now)
            return
        sdp = session_description(request)
        if sdp is not None:
            self._turn = advance(self._turn, Step.THEY_OFFER)
        invite = self._invite = PeerInvite(transaction, late=sdp is None, answered=False)
        transaction.user = self
        self.flow = transaction.flow
        self.dialog.refresh(request)
        self.flow = self.route(self.dialog, self.flow)
        if overtaken is not None:
            self.listener(ReinviteFailed(self, 491, "Overtaken by the other side", None))
        if self._invite is invite and not invite.answered:
            self.listener(ReinviteReceived(self, sdp, request))

    def _withdrawn(self, transaction: ServerTransaction, reason: str | None, now: float) -> None:
        invite = self._invite
        if isinstance(invite, PeerInvite) and invite.transaction is transaction and not invite.answered:
            invite.terminate(self, now)
            self._invite = None
            self._turn = Turn.STABLE
            self.listener(ReinviteCancelled(self, reason))

    def _acked(self, invite: PeerInvite, sdp: str | None, now: float) -> None:
        invite.transaction.acked()
        self._invite = None
        self._turn = Turn.STABLE
        if self._phase is Phase.ENDED:
            self._forget()
        elif self._wish is not None:
            wish, self._wish = self._wish, None
            self._send_bye(now, *wish)
        elif self._phase is not Phase.ENDING:
            self._phase = Phase.CONFIRMED
            self.listener(Confirmed(self, sdp))

    def _settle(self, now: float) -> None:
        """End the INVITE in progress, but for a 2xx of ours: that is repeated until its ACK comes."""
        invite = self._invite
        if isinstance(invite, PeerInvite):
            if invite.answered:
                return
            invite.terminate(self, now)
        elif invite is not None:
            invite.abandon(now)
        self._invite = None

    def _send_bye(self, now: float, reason: str | None, headers: HeaderList) -> None:
        lines = (("Reason", reason), *headers) if reason is not None else headers
        done = partial(self._on_bye_answer, reason)
        exchange = Exchange(self.core, self.dialog, self.way(), self.authorize, done)
        exchange.start(self.dialog.request("BYE", lines), now)

    def _dismiss(self, now: float, reason: str | None) -> None:
        """A BYE whose answer nobody waits for."""
        headers = (("Reason", reason),) if reason is not None else ()
        exchange = Exchange(self.core, self.dialog, self.way(), self.authorize, None)
        exchange.start(self.dialog.request("BYE", headers), now)

    def _on_bye_answer(self, reason: str | None, status: int, response: Response | None, now: float) -> None:
        if self._phase is not Phase.ENDED:
            self._end(now, "local", reason, response)

    def _on_answer(self, method: str, status: int, response: Response | None, now: float) -> None:
        if self.ended:
            return
        self.listener(RequestAnswered(self, method, status, response))
        # RFC 5057 section 5.1: 481 tells that the peer has no such dialog, whatever it was asked.
        if status == 481:
            self.fail(now, "remote", reason_header(status), response)

    def _end(
        self,
        now: float,
        by: Literal["remote", "local", "timeout", "transport"],
        reason: str | None,
        message: Request | Response | None,
    ) -> None:
        self._phase = Phase.ENDED
        self._wish = None
        core = self.core
        core.calls.discard(self)
        if self._invite is None:
            core.stack.remove_dialog(self.dialog.id)
        else:
            core.unacked.add(self)
        self.listener(Ended(self, reason, by, message))

    def _forget(self) -> None:
        self.core.unacked.discard(self)
        self.core.stack.remove_dialog(self.dialog.id)


class Reply:
    """Answers one RequestReceived."""

    __slots__ = ("_core", "_transaction")

    def __init__(self, core: CallCore, transaction: ServerTransaction) -> None:
        self._core = core
        self._transaction = transaction

    def __call__(
        self, now: float, status: int, reason: str | None = None, headers: HeaderList = (), body: bytes = b""
    ) -> None:
        """Send the final answer, if none was sent."""
        transaction = self._transaction
        if transaction.answerable:
            answer = response_to(transaction.request, status, reason, headers=headers, body=body)
            self._core.stack.respond(transaction, answer, now)
