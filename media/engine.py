"""[io] The media engine: makes legs with ports of their own, joins them, plays to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .leg import Attachment, LegStats, MediaLeg

DEFAULT_CODECS = ("PCMU", "PCMA", "G722", "opus")


@dataclass(frozen=True, slots=True)
class MediaConfig:
    """Where and what media may be."""

    bind_host: str = "127.0.0.1"
    "Numeric address to bind RTP sockets to."
    advertised_host: str | None = None
    "Numeric address written into SDP, if another (behind 1:1 NAT)."
    port_range: tuple[int, int] = (40000, 49999)
    "First and last UDP port; RTP takes the even ones, RTCP the odd ones after them."
    codecs: tuple[str, ...] = DEFAULT_CODECS
    "Codecs we accept and offer, best first."
    timeout_s: float = 60.0
    "Without RTP for this long, and no hold, a leg calls `on_timeout`."


class MediaEngine:
    """Implements `media.leg.Media` with real sockets. Create and use it on a running asyncio loop."""

    def __init__(self, config: MediaConfig) -> None:
        self.config = config

    def create_leg(self, *, codecs: Sequence[str] | None = None, peer_host: str | None = None) -> MediaLeg:
        """A new leg with a port pair of its own. Raises NoPortsLeft."""
        raise NotImplementedError

    def bridge(self, a: MediaLeg, b: MediaLeg) -> Attachment:
        """Relay between two legs of this engine."""
        raise NotImplementedError

    def echo(self, leg: MediaLeg, prompt: bool = True) -> Attachment:
        """Send back what is received, after a short spoken prompt if wanted."""
        raise NotImplementedError

    def tone(self, leg: MediaLeg, hz: int = 1000) -> Attachment:
        """Play a continuous tone."""
        raise NotImplementedError

    def ringback(self, leg: MediaLeg) -> Attachment:
        """Play the ringing tone."""
        raise NotImplementedError

    def counts(self) -> dict[str, int]:
        """Live legs, bridges, players and ports."""
        raise NotImplementedError

    def close(self) -> None:
        """Close every leg and free every port."""
        raise NotImplementedError


__all__ = ["DEFAULT_CODECS", "LegStats", "MediaConfig", "MediaEngine"]
