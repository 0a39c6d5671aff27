"""An INVITE that waits for our answer (RFC 3261 section 13.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .call import Call
from .events import HeaderList, Listener

if TYPE_CHECKING:
    from ..message import Request
    from ..transport.base import Flow


class IncomingCall:
    """The server side of an INVITE before its final answer."""

    __slots__ = ("flow", "listener", "offer", "request")

    request: Request
    flow: Flow
    offer: str | None
    "The SDP of the INVITE; None where the caller wants our offer (its answer then comes by Confirmed)."
    listener: Listener

    @property
    def call_id(self) -> str:
        """The Call-ID of the INVITE."""
        raise NotImplementedError

    @property
    def over(self) -> bool:
        """True once cancelled, accepted or rejected."""
        raise NotImplementedError

    def ring(self, now: float, status: int = 180, sdp: str | None = None, headers: HeaderList = ()) -> None:
        """Send a 101 to 199, with early media if `sdp`; repeated each minute inside (13.3.1.1). Nothing when over."""
        raise NotImplementedError

    def accept(self, now: float, sdp: str, headers: HeaderList = ()) -> Call:
        """Send 200 with the answer (or our offer); it is retransmitted until the ACK. Raises CallGone when cancelled."""
        raise NotImplementedError

    def reject(self, now: float, status: int, reason: str | None = None, headers: HeaderList = ()) -> None:
        """Send a 300 to 699. Nothing when over."""
        raise NotImplementedError
