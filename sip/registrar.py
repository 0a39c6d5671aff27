"""The registrar: bindings of addresses-of-record to contacts (RFC 3261 §10.3, RFC 5626, RFC 3327)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .headers import Address
    from .message import Request, Response
    from .transport.base import Flow
    from .uri import Uri


@dataclass(frozen=True, slots=True)
class RegistrarLimits:
    """Bounds of one registrar."""

    min_expires_s: int = 60
    max_expires_s: int = 3600
    default_expires_s: int = 3600
    max_contacts: int = 10
    "Bindings of one address-of-record."
    max_aors: int = 100_000


@dataclass(slots=True, eq=False)
class Binding:
    """One contact of an address-of-record."""

    contact: Address
    uri: Uri
    flow: Flow
    "The flow that the REGISTER came on: send requests for this binding here while it is open."
    path: tuple[str, ...]
    "Path values, to be used as the Route set of requests for this binding (RFC 3327 §5.3)."
    instance: str | None
    reg_id: int | None
    q: float
    expires_at: float
    user_agent: str
    call_id: str
    cseq: int
    received: tuple[str, int]

    @property
    def request_uri(self) -> Uri:
        """The URI to put into the Request-URI: the contact's, without what is not allowed there."""
        raise NotImplementedError


ChangeListener = Callable[[str, list[Binding]], None]


class Registrar:
    """Keeps bindings by address-of-record."""

    def __init__(
        self, limits: RegistrarLimits | None = None, *, on_change: ChangeListener | None = None
    ) -> None:
        raise NotImplementedError

    def register(self, request: Request, flow: Flow, aor: str, now: float) -> Response:
        """Apply a REGISTER whose sender was already allowed to register `aor`; the answer to send."""
        raise NotImplementedError

    def bindings(self, aor: str, now: float) -> list[Binding]:
        """The live bindings, highest q first, then the one refreshed last."""
        raise NotImplementedError

    def remove(self, aor: str) -> None:
        """Forget every binding of `aor` (an administrator's act)."""
        raise NotImplementedError

    def flow_closed(self, flow: Flow) -> None:
        """A connection ended: drop the bindings that nothing else can reach."""
        raise NotImplementedError

    @property
    def deadline(self) -> float | None:
        """When `handle_timeout` wants to be called next."""
        raise NotImplementedError

    def handle_timeout(self, now: float) -> None:
        """Drop what has expired."""
        raise NotImplementedError

    def counts(self) -> dict[str, int]:
        """Live objects: `aors` and `bindings`."""
        raise NotImplementedError
