"""Our registration at a trunk, kept alive (RFC 3261 §10.2, back-off as RFC 5626 §4.5)."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .message import Request, Response


class RegistrationState(Enum):
    """Where a registration stands."""

    STOPPED = "stopped"
    REGISTERING = "registering"
    REGISTERED = "registered"
    WAITING = "waiting"
    "An attempt failed; the next one is due at `deadline`."
    UNREGISTERING = "unregistering"


@dataclass(frozen=True, slots=True)
class RegistrationConfig:
    """What to register, and where."""

    registrar: str
    "Request-URI, such as sip:carrier.example"
    aor: str
    "To and From, such as sip:user@carrier.example"
    contact: str
    "Contact URI, such as sip:user@192.0.2.1:5060"
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    expires_s: int = 3600
    retry_base_s: float = 30.0
    retry_max_s: float = 300.0


class Registration:
    """Sans-I/O client: drain `requests_to_send` after every call, hand back answers and failures."""

    def __init__(
        self,
        config: RegistrationConfig,
        *,
        call_id: str,
        from_tag: str,
        rng: random.Random | None = None,
        on_change: Callable[[Registration], None] | None = None,
    ) -> None:
        raise NotImplementedError

    state: RegistrationState
    why: str
    "The last failure, for people; empty while all is well."

    def start(self, now: float) -> None:
        """Register, and stay registered until `unregister`."""
        raise NotImplementedError

    def unregister(self, now: float) -> None:
        """Take the binding away; ends in STOPPED whatever the registrar says."""
        raise NotImplementedError

    def requests_to_send(self) -> list[Request]:
        """REGISTER requests without Via, to be sent through the stack; drained."""
        raise NotImplementedError

    def on_response(self, response: Response, now: float) -> None:
        """A response to a REGISTER of ours."""
        raise NotImplementedError

    def on_failure(self, now: float, why: str = "no answer") -> None:
        """The transaction timed out, or the transport failed."""
        raise NotImplementedError

    @property
    def deadline(self) -> float | None:
        """When `handle_timeout` wants to be called next."""
        raise NotImplementedError

    def handle_timeout(self, now: float) -> None:
        """Refresh, or try again."""
        raise NotImplementedError

    @property
    def next_refresh_at(self) -> float | None:
        """When the next REGISTER is due while registered."""
        raise NotImplementedError

    def registered(self, now: float) -> bool:
        """Whether the registrar holds our binding now, also while a refresh is under way or failed."""
        raise NotImplementedError
