"""An INVITE of ours that waits for its answer (RFC 3261 section 13.2, CANCEL of section 9.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .events import Listener

if TYPE_CHECKING:
    from ..message import Request
    from ..transport.base import Flow


class OutgoingCall:
    """The client side of an INVITE before its answer."""

    __slots__ = ("flow", "listener", "request")

    request: Request
    "As last sent: with credentials after a 401 or 407."
    flow: Flow
    listener: Listener

    @property
    def call_id(self) -> str:
        """The Call-ID of the INVITE."""
        raise NotImplementedError

    @property
    def over(self) -> bool:
        """True once Answered or Failed was given."""
        raise NotImplementedError

    def cancel(self, now: float, reason: str | None = None) -> None:
        """Give up; `reason` is the value of a Reason header. Failed(cause="cancelled") follows, whatever the callee does.

        A 2xx that crosses the CANCEL is ACKed and its dialog ended by BYE. Nothing when over.
        """
        raise NotImplementedError
