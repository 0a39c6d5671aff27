"""[io] A SIP stack on the network: sockets, the one timer, and the way from a URI to a flow."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from .resolver import Lookups
from .stack import SipStack
from .transport.base import Flow, Listen, TransportLimits
from .uri import Uri


class Core(Protocol):
    """Anything without I/O that waits for an instant: registrar, calls, registrations."""

    @property
    def deadline(self) -> float | None:
        """When `handle_timeout` wants to be called, in seconds of the loop's clock; None: never."""

    def handle_timeout(self, now: float) -> None:
        """Do what is due."""


class SipEndpoint:
    """Sends what the stack wants sent, tells it what arrived, and wakes it when it asked to be woken."""

    stack: SipStack
    addresses: tuple[Listen, ...]
    "What is really listened on, with the ports the system gave."

    def __init__(
        self,
        stack: SipStack,
        *,
        advertised: str | None = None,
        local_networks: Sequence[str] = (),
        lookups: Lookups | None = None,
        limits: TransportLimits = TransportLimits(),
        keep_alive_s: float | None = None,
    ) -> None: ...

    async def start(self, listens: Sequence[Listen]) -> None:
        """Listen; OSError when an address cannot be had (then nothing is left open)."""

    async def close(self) -> None:
        """Send what is pending and close every socket."""

    def now(self) -> float:
        """The loop's clock, seconds: the `now` of every core."""
        return asyncio.get_running_loop().time()

    def add_core(self, core: Core) -> None:
        """Let `core` share the one timer."""

    def pump(self) -> None:
        """Send what the stack has ready and set the timer. Call it after every verb on a core."""

    async def flows_to(self, uri: Uri, *, size: int = 0) -> list[Flow]:
        """Ways to reach `uri`, best first (RFC 3263); never empty: `ResolveError` when there is none.

        `size` is the length of the request in bytes: above 1300 TCP comes before UDP.
        """
        raise NotImplementedError
