"""Offer/answer of one video stream beside the audio of a browser, in the same bundle (RFC 8843).

Video is relayed and never decoded, so what one browser is told is what the other one said: its codecs, their
parameters, its direction. An m= line that was once there stays: as inactive while the other side has no video.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from .codecs import FIRST_DYNAMIC, LAST_DYNAMIC, Codec, formats_of
from .sdp import DIRECTIONS, RECEIVE, SEND, MediaDescription, SessionDescription

FEEDBACK: Final = ("nack", "nack pli", "ccm fir")
"What we pass on from browser to browser (RFC 4585, RFC 5104)."

VideoKey = tuple[str, str, str]


@lru_cache(maxsize=256)
def video_key(codec: Codec) -> VideoKey | None:
    """What makes two formats the same codec; None for one that we do not relay.

    H.264 is the same if profile and packetization mode are (RFC 6184 §8.2.2); the level may differ.
    """
    name = codec.name.lower()
    if codec.clock_hz != 90_000 or name not in ("vp8", "h264"):
        return None
    if name == "vp8":
        return (name, "", "")
    pairs = (pair.strip().partition("=") for pair in codec.fmtp.split(";"))
    parameters = {key.strip().lower(): value.strip().lower() for key, _, value in pairs}
    return (name, parameters.get("profile-level-id", "420010")[:4], parameters.get("packetization-mode", "0"))


@dataclass(frozen=True, slots=True)
class Video:
    """What a remote party said of its video."""

    formats: tuple[Codec, ...]
    direction: str
    "What it wants to do: sendrecv, sendonly, recvonly or inactive."


@dataclass(frozen=True, slots=True)
class VideoAgreement:
    """A completed exchange."""

    index: int
    "Which m= line."
    mid: str
    sends: tuple[Codec, ...]
    "As the remote party numbers them."
    receives: tuple[Codec, ...]
    "As we do."
    direction: int
    remote: Video


@dataclass(frozen=True, slots=True)
class _Section:
    """A video section that suits us, of either side."""

    index: int
    mid: str
    formats: tuple[Codec, ...]
    direction: int

    @property
    def video(self) -> Video:
        return Video(self.formats, DIRECTIONS[self.direction])


def _mirror(direction: int) -> int:
    return (direction & SEND) << 1 | (direction & RECEIVE) >> 1


def _read(description: SessionDescription, audio: MediaDescription, index: int) -> _Section | None:
    """The section at `index`, if it is video that we can relay, and bundled with the audio."""
    media = description.media[index]
    mid = media.first("mid")
    if media.kind != "video" or not media.port or mid is None or media.first("rtcp-mux") is None:
        return None
    groups = (set(group.split()) for group in description.attributes.get("group", ()))
    if not any({"BUNDLE", mid, audio.first("mid")} <= group for group in groups):
        return None
    formats = tuple(codec for codec in formats_of(media) if video_key(codec) is not None)
    direction = DIRECTIONS.index(media.direction or description.direction or "sendrecv")
    return _Section(index, mid, formats, direction) if formats else None


def _in_common(wanted: Sequence[Codec], possible: Iterable[Codec]) -> tuple[tuple[Codec, Codec], ...]:
    """Pairs of the same codec in the order of `wanted`."""
    found: dict[VideoKey | None, Codec] = {}
    for codec in possible:
        found.setdefault(video_key(codec), codec)
    return tuple((codec, found[key]) for codec in wanted if (key := video_key(codec)) in found)


class VideoNegotiation:
    """The state of the video section of one leg. Called by `Negotiation` beside its own steps."""

    def __init__(self, transport_lines: Callable[[str, str], Sequence[str]]) -> None:
        """`transport_lines` takes kind and mid."""
        self.agreed: VideoAgreement | None = None
        self._transport_lines = transport_lines
        self._pending = False
        self._received: _Section | None = None
        self._offer: _Section | None = None
        self._last_offer: _Section | None = None
        self._numbers: dict[VideoKey, int] = {}
        self._mids = 0

    @property
    def remote(self) -> Video | None:
        """What the remote party wants by its offer under way, else by the agreement."""
        if self._pending:
            return self._received.video if self._received is not None else None
        return self.agreed.remote if self.agreed is not None else None

    @property
    def taken(self) -> set[int]:
        """Payload types that mean video on this leg."""
        return set(self._numbers.values())

    def rollback(self) -> None:
        """Forget the exchange under way."""
        self._pending = False
        self._received = self._offer = None

    def receive_offer(self, description: SessionDescription, audio: MediaDescription) -> None:
        """Look for video: that of the m= line we have, else the first that suits us."""
        indexes = range(len(description.media))
        ours = self.agreed.index if self.agreed is not None else -1
        sections = (_read(description, audio, index) for index in sorted(indexes, key=lambda index: index != ours))
        self._received = next((section for section in sections if section is not None), None)
        self._pending = True

    def answer(self, like: Video | None, direction: str | None, port: int) -> tuple[int, str] | None:
        """The section that says what is agreed, and its index; None if video is refused. `like`: of the other leg."""
        offer, self._received, self._last_offer = self._received, None, None
        self._pending = False
        self.agreed = None
        if offer is None or like is None:
            return None
        pairs = _in_common(like.formats, offer.formats)
        if not pairs:
            return None
        formats = tuple(mine.with_fmtp(theirs.fmtp) for theirs, mine in pairs)
        allowed = _mirror(offer.direction) & DIRECTIONS.index(like.direction)
        if direction is not None:
            allowed &= DIRECTIONS.index(direction)
        self._remember(formats)
        self.agreed = VideoAgreement(offer.index, offer.mid, formats, formats, allowed, offer.video)
        return offer.index, self._write(_Section(offer.index, offer.mid, formats, allowed), port)

    def offer(
        self, like: Video | None, repeat: bool, direction: str | None, sections: int, taken: set[int], port: int
    ) -> tuple[int, str] | None:
        """Our section and its index; None if there is none.

        `like`: of the other leg; `repeat`: there is no other leg, offer what is agreed. `sections`: how many there are
        without a new one; `taken`: payload types of audio. `direction` replaces that of the other party.
        """
        agreed = self.agreed
        self._offer = self._last_offer = None
        if agreed is None and (like is None or repeat):
            return None
        if like is not None and not repeat:
            formats, wanted = self._numbered(like.formats, taken), DIRECTIONS.index(direction or like.direction)
        else:
            assert agreed is not None
            formats, wanted = agreed.receives, DIRECTIONS.index(direction or "sendrecv") if repeat else 0
        if agreed is not None:
            index, mid = agreed.index, agreed.mid
        else:
            index = sections
            mid = f"video{self._mids}"  # a new one each time: RFC 9429 §5.2.2
            self._mids += 1
        self._offer = _Section(index, mid, formats, wanted)
        return index, self._write(self._offer, port)

    def receive_answer(self, description: SessionDescription, audio: MediaDescription) -> None:
        """Take the answer to the last offer."""
        offer = self._offer or self._last_offer
        self._offer, self._last_offer = None, offer
        self.agreed = None
        if offer is None or offer.index >= len(description.media):
            return
        answer = _read(description, audio, offer.index)
        pairs = _in_common(answer.formats, offer.formats) if answer is not None else ()
        if answer is None or not pairs:
            return
        sends, receives = zip(*pairs, strict=True)
        self._remember(offer.formats)
        direction = _mirror(answer.direction) & offer.direction
        self.agreed = VideoAgreement(offer.index, offer.mid, tuple(sends), tuple(receives), direction, answer.video)

    def _remember(self, formats: Iterable[Codec]) -> None:
        for codec in formats:
            key = video_key(codec)
            if key is not None:
                self._numbers[key] = codec.payload_type

    def _numbered(self, formats: Iterable[Codec], taken: set[int]) -> tuple[Codec, ...]:
        """Each under the payload type it had on this leg, else its own, else a free one (RFC 3264 §8.3.2)."""
        used = taken | self.taken
        numbered = []
        for codec in formats:
            key = video_key(codec)
            assert key is not None
            number = self._numbers.get(key)
            if number is None:
                number = codec.payload_type
                if number in used:
                    number = next(n for n in range(LAST_DYNAMIC, FIRST_DYNAMIC - 1, -1) if n not in used)
                used.add(number)
            numbered.append(codec.with_payload_type(number))
        return tuple(numbered)

    def _write(self, section: _Section, port: int) -> str:
        numbers = " ".join(str(codec.payload_type) for codec in section.formats)
        lines = [f"m=video {port} UDP/TLS/RTP/SAVPF {numbers}"]
        for codec in section.formats:
            lines.append(f"a=rtpmap:{codec.payload_type} {codec.name}/{codec.clock_hz}")
            if codec.fmtp:
                lines.append(f"a=fmtp:{codec.payload_type} {codec.fmtp}")
            lines += (f"a=rtcp-fb:{codec.payload_type} {each}" for each in FEEDBACK)
        lines += (f"a={DIRECTIONS[section.direction]}", *self._transport_lines("video", section.mid))
        return "\r\n".join(lines)
