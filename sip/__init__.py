"""SIP without I/O of its own: messages, transactions, dialogs, calls, registrations and trunks."""

from __future__ import annotations

from .digest import DigestClient, DigestServer, Ha1Lookup, Verdict, credentials
from .outgoing import (
    AutoAnswer,
    BuiltInvite,
    CallIntent,
    HeaderReason,
    Rewrites,
    build_invite,
)
from .registrar import Binding, Registrar, RegistrarLimits
from .registration import Registration, RegistrationConfig, RegistrationState
from .trunk import (
    CallRate,
    CallSlots,
    HealthState,
    TrunkConfig,
    TrunkHealth,
    dialled_number,
    matches_source,
    request_uri,
    trunk_for_source,
)

__all__ = [
    "AutoAnswer",
    "Binding",
    "BuiltInvite",
    "CallIntent",
    "CallRate",
    "CallSlots",
    "DigestClient",
    "DigestServer",
    "Ha1Lookup",
    "HeaderReason",
    "HealthState",
    "Registrar",
    "RegistrarLimits",
    "Registration",
    "RegistrationConfig",
    "RegistrationState",
    "Rewrites",
    "TrunkConfig",
    "TrunkHealth",
    "Verdict",
    "build_invite",
    "credentials",
    "dialled_number",
    "matches_source",
    "request_uri",
    "trunk_for_source",
]
