"""A confirmed call, in either role: its re-INVITEs, its other requests, its end (RFC 3261 sections 12, 14, 15)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .events import HeaderList, Listener

if TYPE_CHECKING:
    from ..dialog import Dialog
    from ..transport.base import Flow


class Call:
    """The INVITE usage of one confirmed dialog. OutgoingCall and IncomingCall make it; nobody else does."""

    __slots__ = ("dialog", "flow", "listener", "user")

    dialog: Dialog
    flow: Flow
    listener: Listener
    "May be replaced at any time; gets every event from then on."
    user: object
    "Free for the owner of the call."

    @property
    def call_id(self) -> str:
        """The Call-ID of the dialog."""
        raise NotImplementedError

    @property
    def remote_target(self) -> str:
        """The URI of the peer's last Contact."""
        raise NotImplementedError

    @property
    def ended(self) -> bool:
        """True from bye(), or the peer's, on."""
        raise NotImplementedError

    @property
    def can_reinvite(self) -> bool:
        """False while an INVITE of either side is in progress, its ACK included, and at the end."""
        raise NotImplementedError

    def ack(self, now: float, sdp: str) -> None:
        """Answer the offer of a 2xx (Answered or ReinviteAnswered with needs_ack)."""
        raise NotImplementedError

    def bye(self, now: float, reason: str | None = None, headers: HeaderList = ()) -> None:
        """End the call; `reason` is the value of a Reason header (b2bua.reason_header). Does nothing when it is over.

        Before the ACK of our 2xx came, the BYE waits for it (15.1.1 forbids it); pending re-INVITEs are ended too.
        """
        raise NotImplementedError

    def reinvite(self, now: float, sdp: str | None, headers: HeaderList = ()) -> None:
        """Offer `sdp`, or with None ask for an offer. Raises CallGone, or CallStateError unless can_reinvite.

        A 491 is tried again inside (14.1), unless the other side's re-INVITE comes first: then ReinviteFailed(491).
        """
        raise NotImplementedError

    def cancel_reinvite(self, now: float, reason: str | None = None) -> None:
        """Withdraw our unanswered re-INVITE; ReinviteFailed or ReinviteAnswered still comes. Nothing if there is none."""
        raise NotImplementedError

    def accept_reinvite(self, now: float, sdp: str, headers: HeaderList = ()) -> None:
        """Answer ReinviteReceived with 200 and `sdp` (our offer if it had none). Nothing if it was withdrawn."""
        raise NotImplementedError

    def reject_reinvite(
        self, now: float, status: int = 488, reason: str | None = None, headers: HeaderList = ()
    ) -> None:
        """Refuse ReinviteReceived; the session stays as it was. Nothing if it was withdrawn."""
        raise NotImplementedError

    def send(self, now: float, method: str, headers: HeaderList = (), body: bytes = b"") -> None:
        """Send an in-dialog request (INFO, OPTIONS, ...); RequestAnswered follows. Raises CallGone."""
        raise NotImplementedError
