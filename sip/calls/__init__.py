"""Calls: INVITE and what follows it (RFC 3261 sections 12 to 15), as events up and verbs down.

    CallCore.invite()   -> OutgoingCall --Answered-->  Call --Ended
    CallCore.incoming() -> IncomingCall --accept()-->  Call --Ended

A step gives the object of the next state: a call that rings has no bye(), a confirmed one no cancel().
"""

from .call import Call
from .core import CallCore
from .events import (
    Answered,
    Authorize,
    CallEvent,
    CallGone,
    CallStateError,
    Cancelled,
    Confirmed,
    Ended,
    Failed,
    HeaderList,
    Listener,
    NoAck,
    ReinviteAnswered,
    ReinviteCancelled,
    ReinviteFailed,
    ReinviteReceived,
    RequestAnswered,
    RequestReceived,
    Respond,
    Ringing,
)
from .incoming import IncomingCall
from .outgoing import OutgoingCall
from .refusal import Refusal, refusal

__all__ = [
    "Answered",
    "Authorize",
    "Call",
    "CallCore",
    "CallEvent",
    "CallGone",
    "CallStateError",
    "Cancelled",
    "Confirmed",
    "Ended",
    "Failed",
    "HeaderList",
    "IncomingCall",
    "Listener",
    "NoAck",
    "OutgoingCall",
    "Refusal",
    "ReinviteAnswered",
    "ReinviteCancelled",
    "ReinviteFailed",
    "ReinviteReceived",
    "RequestAnswered",
    "RequestReceived",
    "Respond",
    "Ringing",
    "refusal",
]
