"""The surface that signalling sees of media: legs, what joins them, and the engine that makes both.

A leg is one RTP stream with one remote party. Signalling hands it the SDP text of that party and sends the
SDP text it returns. An exchange is either `receive_offer` then `create_answer`, or `create_offer` then
`receive_answer` (RFC 3264); `rollback` abandons an exchange that is half way. A verb out of this order is a
`RuntimeError`: whose turn it is, SIP has already decided.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from .codecs import Codec
from .video_sdp import Video


@dataclass(frozen=True, slots=True)
class VideoStats:
    """Counters of the video of one leg, as those of its audio in `LegStats`; received octets are not counted."""

    packets_sent: int = 0
    "With those that were sent again."
    octets_sent: int = 0
    packets_received: int = 0
    packets_lost: int = 0
    "That came neither at once nor when asked for again."
    jitter_ms: float = 0.0
    rtt_ms: float | None = None
    remote_packets_lost: int = 0
    remote_jitter_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class LegStats:
    """Counters of one leg since it was created, from its own packets and the RTCP of the remote party."""

    local: tuple[str, int]
    "Address and port that we announce; of several, those in use."
    remote: tuple[str, int] | None
    "Where RTP goes to: learned from the packets received, else as signalled."
    packets_sent: int = 0
    octets_sent: int = 0
    "Payload octets, without RTP headers."
    packets_received: int = 0
    octets_received: int = 0
    packets_lost: int = 0
    "Expected less received (RFC 3550 §6.4.1); negative if packets were duplicated."
    packets_refused: int = 0
    "Packets from a wrong source, of an unknown payload type, or not RTP."
    jitter_ms: float = 0.0
    rtt_ms: float | None = None
    "Round trip by RTCP, None until the remote party has reported on us."
    remote_packets_lost: int = 0
    "Loss of our packets as reported by the remote party."
    remote_jitter_ms: float = 0.0
    video: VideoStats | None = None
    "None if no video came or went; the rest is audio alone."


class MediaLeg(Protocol):
    """One RTP stream with one remote party."""

    id: str
    on_timeout: Callable[[MediaLeg, str], None] | None
    """Called once with a reason when no RTP came for the configured time although the remote party may send.

    Silence is counted only while this is set: set it when the call is answered, for until then nobody need
    send anything.
    """
    on_dtmf_begin: Callable[[MediaLeg, str], bool] | None
    "Asked once for each digit as it begins; False: it does not count, so it is neither relayed nor told."
    on_dtmf: Callable[[MediaLeg, str, int], None] | None
    "Called with each digit received as a telephone-event (RFC 4733) and its duration in milliseconds."

    def receive_offer(self, sdp: str) -> None:
        """Take an offer. Raises SdpError (400) if malformed, NoCommonCodec (488) if nothing suits us."""

    def create_answer(self, like: MediaLeg | None = None, direction: str | None = None) -> str:
        """Answer the offer; the exchange is then agreed.

        With `like`, only codecs that the other leg has too, in its order, and a direction no wider than what
        the other party is ready for. `direction` narrows further. Raises NoCommonCodec.
        """

    def create_offer(self, like: MediaLeg | None = None, direction: str | None = None) -> str:
        """Offer all codecs of our policy, or with `like` those of the other leg.

        `like` gives order, payload types, ptime and direction: the offer asks for what the other party asked.
        `direction` replaces that direction. Raises NoCommonCodec.
        """

    def receive_answer(self, sdp: str) -> None:
        """Take the answer to our offer. A later answer to the same offer (another fork) replaces it."""

    def rollback(self) -> None:
        """Forget a half-made exchange and go on with the last agreed one. Harmless if there is none."""

    def send_dtmf(self, digits: str, duration_ms: int = 160) -> None:
        """Queue digits (0-9 * # A-D) as telephone-events. Raises MediaError if none were negotiated."""

    def mute(self, on: bool) -> None:
        """Drop what this party says, but not its digits, until told otherwise; others hear comfort noise meanwhile."""

    def close(self) -> None:
        """Free ports and whatever is attached. Harmless twice."""

    @property
    def codecs(self) -> tuple[Codec, ...]:
        """Audio codecs of the exchange under way or last agreed, best first; empty before any."""

    @property
    def events(self) -> tuple[Codec, ...]:
        """telephone-event formats of the same exchange, one for each clock rate."""

    @property
    def ptime_ms(self) -> int | None:
        """Milliseconds of audio a packet that the remote party asked for, if it did."""

    @property
    def direction(self) -> str:
        """What we may do: sendrecv, sendonly, recvonly or inactive."""

    @property
    def remote_direction(self) -> str:
        """What the remote party said it wants to do, in its last offer or answer."""

    @property
    def video(self) -> Video | None:
        """What the remote party wants of video in its offer under way or the agreement; None if it has none."""

    @property
    def on_hold(self) -> bool:
        """True if the remote party does not want to hear us: sendonly, inactive, or the old c=0.0.0.0."""

    @property
    def agreed(self) -> bool:
        """True once an exchange was completed."""

    @property
    def local_sdp(self) -> str | None:
        """Our last session description: what a 2xx repeats after an answer in a 18x."""

    @property
    def remote_sdp(self) -> str | None:
        """The last session description of the remote party."""

    @property
    def stats(self) -> LegStats:
        """A snapshot of the counters."""


class Attachment(Protocol):
    """What feeds one leg, or joins two: a bridge or a player. A new one replaces the old one of that leg."""

    def close(self) -> None:
        """Detach; the legs fall silent but live on. Harmless twice."""


class Mix(Attachment, Protocol):
    """Any number of legs that hear each other, each all but itself."""

    def add(self, leg: MediaLeg) -> None:
        """Let one more take part; what fed that leg before ends. Harmless twice."""

    def remove(self, leg: MediaLeg) -> None:
        """Let one go; it falls silent but lives on. Harmless for a leg that takes no part."""


class Media(Protocol):
    """What signalling needs of a media engine."""

    def create_leg(
        self,
        *,
        codecs: Sequence[str] | None = None,
        peer_host: str | None = None,
        ipv6: bool | None = None,
        webrtc: bool = False,
        video: bool = True,
    ) -> MediaLeg:
        """A new leg with ports of its own. Raises NoPortsLeft (503).

        `webrtc`: towards a browser, with ICE and DTLS-SRTP; with `video`, it also carries the video that the party
        at the other end of the bridge has.
        `codecs` narrows the policy by name and gives its order. `peer_host` is the numeric address from which
        signalling comes: RTP is accepted from there when the address in SDP is one behind NAT. An offer of ours names
        an address of the IP version of `peer_host`, unless `ipv6` says which; an answer is of that of the offer.
        A leg towards a browser has ports of each version.
        """

    def bridge(self, a: MediaLeg, b: MediaLeg) -> Attachment:
        """Join two legs, both ways, as far as their directions allow.

        What both have is relayed; what only one has and we can decode is transcoded.
        """

    def mix(self, legs: Sequence[MediaLeg]) -> Mix:
        """Let these legs hear each other, as far as their directions allow."""

    def echo(self, leg: MediaLeg, prompt: bool = True) -> Attachment:
        """Send back what is received, after a short spoken prompt if wanted."""

    def tone(self, leg: MediaLeg, hz: int = 1000) -> Attachment:
        """Play a continuous tone, in whatever codec the leg has that we can encode; without one it is silent."""

    def ringback(self, leg: MediaLeg) -> Attachment:
        """Play the ringing tone."""

    def announce(self, leg: MediaLeg, name: str) -> Attachment:
        """Say a recorded sentence once, then comfort noise until replaced. Raises MediaError for an unknown name."""

    def comfort(self, leg: MediaLeg) -> Attachment:
        """Comfort noise until replaced: the call is alive, and nobody speaks."""

    def counts(self) -> dict[str, int]:
        """Live legs, bridges, players, ports in use, ports resting: for leak tests and metrics."""

    def close(self) -> None:
        """Close every leg and free every port."""
