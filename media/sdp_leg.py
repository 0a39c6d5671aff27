"""The SDP half of a leg, shared by those with sockets and those without."""

from __future__ import annotations

from collections.abc import Callable

from .codecs import Codec
from .leg import MediaLeg
from .negotiation import Agreement, Negotiation
from .sdp import DIRECTIONS
from .video_sdp import Video


class SdpLeg:
    """Everything of `MediaLeg` that is offer/answer; a subclass adds the stream itself."""

    __slots__ = ("_negotiation", "id", "on_dtmf", "on_dtmf_begin", "on_timeout")

    id: str
    on_timeout: Callable[[MediaLeg, str], None] | None
    on_dtmf_begin: Callable[[MediaLeg, str], bool] | None
    on_dtmf: Callable[[MediaLeg, str, int], None] | None

    def __init__(self, leg_id: str, negotiation: Negotiation) -> None:
        self.id = leg_id
        self.on_timeout = None
        self.on_dtmf_begin = None
        self.on_dtmf = None
        self._negotiation = negotiation

    def receive_offer(self, sdp: str) -> None:
        """Take an offer. Raises SdpError (400) or NoCommonCodec (488)."""
        self._negotiation.receive_offer(sdp)

    def create_answer(self, like: MediaLeg | None = None, direction: str | None = None) -> str:
        """Answer the offer; the exchange is then agreed."""
        agreement = self._negotiation.create_answer(like, direction)
        self._apply(agreement)
        return agreement.local_sdp

    def create_offer(self, like: MediaLeg | None = None, direction: str | None = None) -> str:
        """Offer our policy, what is agreed already, or what the other leg has."""
        return self._negotiation.create_offer(like, direction)

    def receive_answer(self, sdp: str) -> None:
        """Take the answer to our offer, or a later one to the same offer."""
        agreed = self._negotiation.agreement
        if agreed is not None and not self._negotiation.pending and agreed.remote.text == sdp:
            return  # a 200 that repeats the answer of the 18x before it
        self._apply(self._negotiation.receive_answer(sdp))

    def rollback(self) -> None:
        """Forget a half-made exchange and go on with the last agreed one."""
        self._negotiation.rollback()

    def _apply(self, agreement: Agreement) -> None:
        """Put a new agreement into force."""

    @property
    def codecs(self) -> tuple[Codec, ...]:
        """Audio codecs of the exchange under way or last agreed, best first."""
        return self._negotiation.codecs

    @property
    def events(self) -> tuple[Codec, ...]:
        """telephone-event formats of the same exchange."""
        return self._negotiation.events

    @property
    def ptime_ms(self) -> int | None:
        """Milliseconds of audio a packet that the remote party asked for."""
        remote = self._negotiation.remote
        return remote.ptime_ms if remote is not None else None

    @property
    def direction(self) -> str:
        """What we may do."""
        agreed = self._negotiation.agreement
        return DIRECTIONS[agreed.direction] if agreed is not None else "inactive"

    @property
    def remote_direction(self) -> str:
        """What the remote party said it wants to do; sendrecv before it said anything."""
        remote = self._negotiation.remote
        return DIRECTIONS[remote.direction] if remote is not None else "sendrecv"

    @property
    def video(self) -> Video | None:
        """What the remote party wants of video, None if it has none that we relay."""
        video = self._negotiation.video
        return video.remote if video is not None else None

    @property
    def on_hold(self) -> bool:
        """True if the remote party does not want to hear us."""
        return self._negotiation.on_hold

    @property
    def agreed(self) -> bool:
        """True once an exchange was completed."""
        return self._negotiation.agreement is not None

    @property
    def local_sdp(self) -> str | None:
        """Our last session description."""
        return self._negotiation.local_sdp

    @property
    def remote_sdp(self) -> str | None:
        """The last session description of the remote party."""
        remote = self._negotiation.remote
        return remote.text if remote is not None else None
