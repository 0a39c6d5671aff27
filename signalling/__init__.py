"""Live sessions: who calls whom, by which way, and what crosses between their legs."""

from __future__ import annotations

from .errors import (
    BadRequest,
    LimitReached,
    NoRoute,
    NotAllowed,
    NotRegistered,
    SignallingError,
    TrunkUnavailable,
    UnknownSession,
    UnknownTrunk,
    WrongState,
)
from .events import (
    Bridged,
    Dtmf,
    EventBus,
    LegAnswered,
    LegDialled,
    LegFailed,
    LegHeld,
    LegResumed,
    LegRinging,
    Noted,
    SessionEnded,
    SessionEvent,
    SessionStarted,
)
from .inbound import Inbound
from .originate import DryRun, DryRunLeg, OriginateRequest, may_see
from .ports import CredentialStore, SipPort
from .registry import Registry
from .routing import (
    DialPlan,
    Extension,
    InboundNumber,
    MediaMode,
    Pattern,
    Principal,
    Route,
    RouteTrunk,
)
from .session import CallRecord, Session
from .switch import Limits, Switch
from .trunks import TrunkKeeper, TrunkLine

__all__ = [
    "BadRequest",
    "Bridged",
    "CallRecord",
    "CredentialStore",
    "DialPlan",
    "DryRun",
    "DryRunLeg",
    "Dtmf",
    "EventBus",
    "Extension",
    "Inbound",
    "InboundNumber",
    "LegAnswered",
    "LegDialled",
    "LegFailed",
    "LegHeld",
    "LegResumed",
    "LegRinging",
    "LimitReached",
    "Limits",
    "MediaMode",
    "NoRoute",
    "NotAllowed",
    "NotRegistered",
    "Noted",
    "OriginateRequest",
    "Pattern",
    "Principal",
    "Registry",
    "Route",
    "RouteTrunk",
    "Session",
    "SessionEnded",
    "SessionEvent",
    "SessionStarted",
    "SignallingError",
    "SipPort",
    "Switch",
    "TrunkKeeper",
    "TrunkLine",
    "TrunkUnavailable",
    "UnknownSession",
    "UnknownTrunk",
    "WrongState",
    "may_see",
]
