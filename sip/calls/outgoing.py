"""An INVITE of ours: until its answer, and what comes after the first 2xx (RFC 3261 sections 9.1 and 13.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from ..b2bua import ANSWERED_ELSEWHERE
from ..dialog import Dialog
from ..message import Request, Response, response_to
from ..offer_answer import Turn, session_description
from ..transactions import ClientTransaction, Failure, ServerTransaction, State
from .call import Call, Phase
from .events import Answered, Authorize, Failed, HeaderList, Listener, Ringing, Route
from .exchange import FAILURE_STATUS, MAX_CHALLENGES, Exchange, credentials_of, with_credentials
from .refusal import not_taken, options_headers

if TYPE_CHECKING:
    from ..transport.base import Flow
    from .core import CallCore

MAX_FORKS: Final = 32
"Early dialogs, and as many 2xx, of one INVITE: more than anyone rings; each costs an ACK and a BYE."


class EarlyDialog:
    """What is known of one fork before its 2xx."""

    __slots__ = ("bye", "cseq", "sdp")

    def __init__(self) -> None:
        self.sdp: str | None = None
        "Of its last provisional response that had one."
        self.cseq = -1
        "Of the callee's last request."
        self.bye: Request | None = None
        "The callee hung up before its 2xx reached us."


class OutgoingCall:
    """The client side of an INVITE before its answer."""

    __slots__ = (
        "_authorize",
        "_call",
        "_core",
        "_early",
        "_reason",
        "_route",
        "_transaction",
        "_tries",
        "cancelled",
        "flow",
        "listener",
        "request",
        "user",
    )

    def __init__(
        self,
        core: CallCore,
        request: Request,
        flow: Flow,
        listener: Listener,
        authorize: Authorize | None,
        route: Route,
    ) -> None:
        self.request = request
        "As last sent: with credentials after a 401 or 407."
        self.flow = flow
        self.listener = listener
        self.user: object = None
        "Free for the owner of the call."
        self.cancelled = False
        "cancel() was called in time."
        self._core = core
        self._authorize = authorize
        self._route = route
        self._call: Call | None = None
        self._early: dict[str, EarlyDialog] = {}
        self._reason: str | None = None
        self._tries = 0
        self._transaction: ClientTransaction | None = None
        core.outgoing_calls.add(self)

    @property
    def call_id(self) -> str:
        """The Call-ID of the INVITE."""
        return self.request.call_id

    @property
    def over(self) -> bool:
        """True once Answered or Failed was given."""
        return self not in self._core.outgoing_calls

    @property
    def silent(self) -> bool:
        """True while nothing at all came back, not even a 100."""
        return self._tries == 0 and self._transaction is not None and self._transaction.state is State.CALLING

    def start(self, now: float) -> None:
        """Send the INVITE. For CallCore alone."""
        self._transaction = self._core.stack.send_request(self.request, self.flow, now, self)

    def cancel(self, now: float, reason: str | None = None) -> None:
        """Give up; `reason` is the value of a Reason header. Failed(cause="cancelled") follows in any case.

        A 2xx that crosses the CANCEL is ACKed and its dialog ended by BYE. So is a call that was Answered already,
        with Ended instead: who posts events to a queue need not know which came first. Nothing after Failed.
        """
        if self._call is not None:
            self._call.bye(now, reason)
        if self.over or self.cancelled or self._transaction is None:
            return
        self.cancelled = True
        self._reason = reason
        self._core.stack.cancel(self._transaction, now, reason)

    # What the stack tells (ClientUser, DialogUser for the early dialogs).

    def on_response(self, transaction: ClientTransaction, response: Response, now: float) -> None:
        """ClientUser."""
        status = response.status
        if self.over or transaction is not self._transaction:
            return
        if status < 200:
            if status > 100 and not self.cancelled:
                self._on_progress(response)
        elif status < 300:
            self._on_success(transaction, response, now)
        elif self.cancelled:
            self._fail(status, response.reason, response, "cancelled")
        elif (status != 401 and status != 407) or not self._try_again(response, now):
            self._fail(status, response.reason, response, "response")

    def on_failure(self, transaction: ClientTransaction, failure: Failure, now: float) -> None:
        """ClientUser."""
        if self.over or transaction is not self._transaction:
            return
        if self.cancelled:
            self._fail(487, "Request Terminated", None, "cancelled")
        elif failure is Failure.TIMEOUT:
            self._fail(FAILURE_STATUS[failure], "Request Timeout", None, "timeout")
        else:
            self._fail(FAILURE_STATUS[failure], "Service Unavailable", None, "transport")

    def on_ack(self, request: Request, now: float) -> None:
        """DialogUser: the callee has no ACK to send."""

    def on_request(self, transaction: ServerTransaction, now: float) -> None:
        """DialogUser: the callee sends within an early dialog, or its 2xx was overtaken or lost."""
        request = transaction.request
        method = request.method
        early = self._early[request.from_.tag or ""]
        status = 200
        headers: HeaderList = ()
        if request.cseq.number < early.cseq:
            status = 500
        elif method == "INVITE":  # Ours has no final answer yet.
            status = 491
        elif method == "OPTIONS":
            headers = options_headers(self._core.allow)
        elif method in self._core.deliver:
            status, headers = 500, (("Retry-After", "2"),)  # Known, but only once the call is answered.
        elif method != "BYE":
            status, headers = not_taken(method, self._core.allow)
        early.cseq = max(early.cseq, request.cseq.number)
        if method == "BYE" and status == 200:
            early.bye = request
        self._core.stack.respond(transaction, response_to(request, status, headers=headers), now)

    # Inside.

    def _on_progress(self, response: Response) -> None:
        tag = response.to.tag
        sdp = session_description(response)
        if tag is not None:
            early = self._early.get(tag)
            if early is None:
                if len(self._early) >= MAX_FORKS:
                    return
                early = self._early[tag] = EarlyDialog()
                self._core.stack.add_dialog((self.call_id, self.request.from_.tag or "", tag), self)
            early.sdp = sdp or early.sdp
        self.listener(Ringing(self, response.status, response.reason, sdp, response))

    def _on_success(self, transaction: ClientTransaction, response: Response, now: float) -> None:
        early = self._early.get(response.to.tag or "")
        self._leave()
        dialog = Dialog.of_caller(self.request, response)
        answered = AnsweredInvite(
            self._core, dialog, self.flow, self._authorize, credentials_of(self.request), self._route
        )
        self._core.stack.hand_over(transaction, answered)
        self._transaction = None
        if self.cancelled:
            answered.dismiss(dialog, now, self._reason)
            self.listener(Failed(self, 487, "Request Terminated", response, "cancelled"))
            return
        sdp = session_description(response)
        needs_ack = not self.request.body and sdp is not None
        if early is not None:
            dialog.remote_cseq = early.cseq
            if sdp is None and self.request.body:
                sdp = early.sdp
        call = self._call = Call(
            self._core,
            dialog,
            self.flow,
            self.listener,
            phase=Phase.CONFIRMED,
            turn=Turn.OURS if needs_ack else Turn.STABLE,
            invite=answered if needs_ack else None,
            authorize=self._authorize,
            route=self._route,
        )
        answered.flow = call.flow
        answered.owes_ack = needs_ack
        if not needs_ack:
            answered.ack(now)
        self.listener(Answered(call, sdp, response, self, needs_ack))
        if early is not None and early.bye is not None:
            call.end_by_peer(early.bye, now)

    def _try_again(self, response: Response, now: float) -> bool:
        if self._tries >= MAX_CHALLENGES:
            return False
        again = with_credentials(self.request, response, self._authorize, None)
        if again is None:
            return False
        self._tries += 1
        self._forget_early()
        self.request = again
        self.start(now)
        return True

    def _fail(
        self,
        status: int,
        reason: str,
        response: Response | None,
        cause: Literal["response", "timeout", "transport", "cancelled"],
    ) -> None:
        self._leave()
        self._transaction = None
        self.listener(Failed(self, status, reason, response, cause))

    def _leave(self) -> None:
        self._core.outgoing_calls.discard(self)
        self._forget_early()

    def _forget_early(self) -> None:
        if self._early:
            local_tag = self.request.from_.tag or ""
            for tag in self._early:
                self._core.stack.remove_dialog((self.call_id, local_tag, tag))
            self._early.clear()


class AnsweredInvite:
    """The INVITE from its first 2xx on, for 64*T1: ACKs each repeated 2xx, ends each further fork.

    RFC 3261 section 13.2.2.4. It holds no Call, so that an ended call can go.
    """

    __slots__ = (
        "_answer",
        "_authorize",
        "_core",
        "_credentials",
        "_cseq",
        "_dialog",
        "_route",
        "_surplus",
        "flow",
        "owes_ack",
    )

    def __init__(
        self,
        core: CallCore,
        dialog: Dialog,
        flow: Flow,
        authorize: Authorize | None,
        credentials: tuple[tuple[str, str], ...],
        route: Route,
    ) -> None:
        self._core = core
        self._route = route
        self._dialog = dialog
        self._authorize = authorize
        self._credentials = credentials
        self._cseq = dialog.local_cseq
        self._answer: str | None = None
        self._surplus: dict[str, Dialog] | None = None
        self.flow = flow
        self.owes_ack = False
        "The 2xx has an offer that the user has not answered."

    def ack(self, now: float) -> None:
        """ACK the 2xx that was taken, first or again."""
        self._core.stack.send_ack(self._dialog.ack(self._cseq, self._credentials, self._answer), self.flow, now)

    def answer(self, now: float, sdp: str) -> None:
        """The user's answer to the offer of the 2xx."""
        self._answer = sdp
        self.owes_ack = False
        self.ack(now)

    def abandon(self, now: float) -> None:
        """The call ends before the user answered: the ACK goes without a description."""
        if self.owes_ack:
            self.owes_ack = False
            self.ack(now)

    def dismiss(self, dialog: Dialog, now: float, reason: str | None) -> None:
        """ACK a 2xx that nobody wants, and end its dialog."""
        core = self._core
        flow = self._route(dialog, self.flow)
        core.stack.send_ack(dialog.ack(self._cseq, self._credentials), flow, now)
        headers = (("Reason", reason),) if reason is not None else ()
        Exchange(core, dialog, flow, self._authorize, None).start(dialog.request("BYE", headers), now)

    def on_success(self, response: Response, now: float) -> None:
        """SuccessUser: a 2xx, repeated or of another fork."""
        tag = response.to.tag or ""
        if tag == self._dialog.remote_tag:
            if not self.owes_ack:
                self.ack(now)
            return
        if self._surplus is None:
            self._surplus = {}
        dialog = self._surplus.get(tag)
        if dialog is not None:
            ack = dialog.ack(self._cseq, self._credentials)
            self._core.stack.send_ack(ack, self._route(dialog, self.flow), now)
        elif len(self._surplus) < MAX_FORKS:
            dialog = self._surplus[tag] = self._dialog.fork(response, self._cseq)
            self.dismiss(dialog, now, ANSWERED_ELSEWHERE)
