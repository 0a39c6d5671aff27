"""INVITE transactions inside a call: ours, with its retries after glare, and the peer's (RFC 3261 section 14)."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final

from ..b2bua import reason_header
from ..message import Response, response_to
from ..offer_answer import SDP, glare_delay_s, session_description
from ..transactions import ClientTransaction, Failure, ServerTransaction
from .events import HeaderList
from .exchange import FAILURE_STATUS, MAX_CHALLENGES, credentials_of, with_credentials

if TYPE_CHECKING:
    from .call import Call

MAX_GLARES: Final = 4
"491s to one re-INVITE. Two sides that keep their delays part at the first or second."


class Progress(IntEnum):
    """Of a re-INVITE of ours."""

    CALLING = 0
    "Sent; no final response yet."
    WAITING = 1
    "Refused by 491; to be sent again when the delay is over."
    OWED = 2
    "A 2xx with an offer came; the user owes the answer that goes into the ACK."
    ACKED = 3
    "A 2xx came and was ACKed; each repetition of it is ACKed again."
    OVER = 4
    "Refused, failed or given up."


class OwnInvite:
    """A re-INVITE of ours, from its first sending until no 2xx can come any more."""

    __slots__ = ("_answer", "_call", "_headers", "_offer", "_transaction", "_tries", "progress")

    def __init__(self, call: Call, offer: str | None, headers: HeaderList) -> None:
        self._call = call
        self._offer = offer
        self._headers = tuple(headers)
        self._answer: str | None = None
        self._tries = 0
        self._transaction: ClientTransaction | None = None
        self.progress = Progress.WAITING

    @property
    def offers(self) -> bool:
        """True if it carries an offer, False if it asks for one."""
        return self._offer is not None

    @property
    def owes_ack(self) -> bool:
        """True while the answer to the offer of the 2xx is missing."""
        return self.progress is Progress.OWED

    def start(self, now: float) -> None:
        """Send it, first or again after glare."""
        call = self._call
        body = b"" if self._offer is None else self._offer.encode("utf-8")
        headers = (*call.core.allow_header, *self._headers)
        kind = None if self._offer is None else SDP
        self.progress = Progress.CALLING
        request = call.dialog.request("INVITE", headers, body, content_type=kind)
        self._transaction = call.core.stack.send_request(request, call.way(), now, self)

    def on_timer(self, now: float) -> None:
        """The delay after a 491 is over."""
        self._call.again(self, now)

    def cancel(self, now: float, reason: str | None) -> None:
        """Withdraw it while it is unanswered."""
        if self.progress is Progress.CALLING and self._transaction is not None:
            self._call.core.stack.cancel(self._transaction, now, reason)
        elif self.progress is Progress.WAITING:
            self._call.core.timers.cancel(self)
            self._over(487, "Request Terminated", None, now)

    def abandon(self, now: float) -> None:
        """The call ends: no event follows, and what the peer waits for is sent."""
        before, self.progress = self.progress, Progress.OVER
        if before is Progress.CALLING and self._transaction is not None:
            self._call.core.stack.cancel(self._transaction, now)
        elif before is Progress.WAITING:
            self._call.core.timers.cancel(self)
        elif before is Progress.OWED and self._transaction is not None:
            self._ack(self._transaction, now)

    def answer(self, now: float, sdp: str) -> None:
        """The user's answer to the offer of the 2xx: it goes out with the ACK."""
        assert self._transaction is not None
        self._answer = sdp
        self.progress = Progress.ACKED
        self._ack(self._transaction, now)

    def on_response(self, transaction: ClientTransaction, response: Response, now: float) -> None:
        """ClientUser."""
        status = response.status
        if status < 200:
            return
        if status < 300:
            self._on_success(transaction, response, now)
        elif self.progress is Progress.CALLING:
            self._on_refusal(transaction, response, now)

    def on_failure(self, transaction: ClientTransaction, failure: Failure, now: float) -> None:
        """ClientUser."""
        if self.progress is not Progress.CALLING:
            return
        self.progress = Progress.OVER
        status = FAILURE_STATUS[failure]
        reason = reason_header(status, "No answer to a re-INVITE")
        if failure is Failure.TIMEOUT:
            self._call.fail(now, "timeout", reason, None)
        elif self._call.flow.closed:
            self._call.fail(now, "transport", reason, None)
        else:
            self._over(status, "Service Unavailable", None, now)

    def _on_success(self, transaction: ClientTransaction, response: Response, now: float) -> None:
        call = self._call
        if self.progress is Progress.OWED:
            return  # Repeated until the user answers.
        if self.progress is not Progress.CALLING:
            self._ack(transaction, now)
            return
        call.refreshed(response)
        sdp = session_description(response)
        if self._offer is None and sdp is not None:
            self.progress = Progress.OWED
        else:
            self.progress = Progress.ACKED
            self._ack(transaction, now)
        call.reinvite_answered(self, sdp, response, now)

    def _on_refusal(self, transaction: ClientTransaction, response: Response, now: float) -> None:
        status = response.status
        call = self._call
        if status == 491 and self._tries < MAX_GLARES:
            self._tries += 1
            self._transaction = None
            self.progress = Progress.WAITING
            call.reinvite_waits()
            call.core.timers.set(self, now + glare_delay_s(call.dialog.caller, call.core.random))
            return
        if (status == 401 or status == 407) and self._tries < MAX_CHALLENGES:
            again = with_credentials(transaction.request, response, call.authorize, call.dialog)
            if again is not None:
                self._tries += 1
                self._transaction = call.core.stack.send_request(again, call.flow, now, self)
                return
        self.progress = Progress.OVER
        if status == 481:
            call.fail(now, "remote", reason_header(status), response)
        elif status == 408:
            call.fail(now, "timeout", reason_header(status), response)
        else:
            self._over(status, response.reason, response, now)

    def _ack(self, transaction: ClientTransaction, now: float) -> None:
        call = self._call
        request = transaction.request
        ack = call.dialog.ack(request.cseq.number, credentials_of(request), self._answer)
        call.core.stack.send_ack(ack, call.flow, now)

    def _over(self, status: int, reason: str, response: Response | None, now: float) -> None:
        self.progress = Progress.OVER
        self._call.reinvite_failed(self, status, reason, response, now)


class PeerInvite:
    """An INVITE of the peer until its ACK: the one that made the call, from its 2xx on, or a re-INVITE."""

    __slots__ = ("answered", "cseq", "late", "transaction")

    def __init__(self, transaction: ServerTransaction, late: bool, answered: bool) -> None:
        self.transaction = transaction
        self.cseq = transaction.request.cseq.number
        self.late = late
        "It had no offer: ours goes into the 2xx, the answer comes by the ACK."
        self.answered = answered
        "We sent a 2xx and wait for the ACK."

    def terminate(self, call: Call, now: float) -> None:
        """Answer 487, if an answer is due."""
        if not self.answered and self.transaction.answerable:
            call.core.stack.respond(self.transaction, response_to(self.transaction.request, 487), now)
