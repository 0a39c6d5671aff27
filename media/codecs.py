"""The audio formats we can name in SDP (RFC 3551 §6, RFC 4733, RFC 7587), and G.711 itself."""

from __future__ import annotations

import audioop
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from .sdp import MediaDescription, parse_fmtps, parse_rtpmaps

TELEPHONE_EVENT: Final = "telephone-event"
G722_CLOCK_HZ: Final = 8_000  # not 16,000: RFC 3551 §4.5.2
FIRST_DYNAMIC, LAST_DYNAMIC = 96, 127


@dataclass(frozen=True, slots=True)
class Codec:
    """One format of an audio stream, with the payload type that stands for it on that stream."""

    name: str
    "As registered, or as the remote party wrote it."
    clock_hz: int
    "Clock of RTP timestamps."
    channels: int
    payload_type: int
    fmtp: str = ""
    "Parameters of `a=fmtp`, as written; empty if none."
    key: tuple[str, int, int] = field(init=False, repr=False, compare=False)
    "What makes two formats the same codec, whatever payload type each stream gives it."
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        key = (self.name.lower(), self.clock_hz, self.channels)
        object.__setattr__(self, "key", key)
        object.__setattr__(self, "_hash", hash((key, self.payload_type, self.fmtp)))

    def __hash__(self) -> int:
        return self._hash

    @property
    def is_event(self) -> bool:
        """True for telephone-event."""
        return self.key[0] == TELEPHONE_EVENT

    @property
    def is_g711(self) -> bool:
        """True for PCMU and PCMA, which we can convert into each other and play to."""
        return self.key in (("pcmu", 8_000, 1), ("pcma", 8_000, 1))

    def with_payload_type(self, payload_type: int) -> Codec:
        """The same codec under another number."""
        return self if payload_type == self.payload_type else _variant(self, payload_type, self.fmtp)

    def with_fmtp(self, fmtp: str) -> Codec:
        """The same codec with other parameters."""
        return self if fmtp == self.fmtp else _variant(self, self.payload_type, fmtp)


@lru_cache(maxsize=1024)
def _variant(codec: Codec, payload_type: int, fmtp: str) -> Codec:
    """Made once: there are few, and each call asks for some."""
    return Codec(codec.name, codec.clock_hz, codec.channels, payload_type, fmtp)


KNOWN: Final = {
    codec.name.lower(): codec
    for codec in (
        Codec("PCMU", 8_000, 1, 0),
        Codec("GSM", 8_000, 1, 3),
        Codec("PCMA", 8_000, 1, 8),
        Codec("G722", G722_CLOCK_HZ, 1, 9),
        Codec("G729", 8_000, 1, 18),
        Codec("opus", 48_000, 2, 96, "minptime=10;useinbandfec=1"),
    )
}
"Codecs that a policy may name, as we offer them by ourselves."

STATIC: Final = {codec.payload_type: codec for codec in KNOWN.values() if codec.payload_type < FIRST_DYNAMIC}

EVENT_FMTP: Final = "0-16"  # digits, *, #, A to D and flash: RFC 4733 §3.2
EVENT_PAYLOAD_TYPES: Final = {8_000: 101, 16_000: 102, 48_000: 103}
"Payload types we use for telephone-event by clock; of our own choice."


def policy_of(names: Iterable[str]) -> tuple[Codec, ...]:
    """The codecs of a policy, in order. Raises ValueError for a name we do not know."""
    return _policy(tuple(names))


@lru_cache(maxsize=256)
def _policy(names: tuple[str, ...]) -> tuple[Codec, ...]:
    unknown = [name for name in names if name.lower() not in KNOWN]
    if unknown or not names:
        raise ValueError(f"unknown codec {', '.join(unknown)}" if unknown else "no codec named")
    return tuple(dict.fromkeys(KNOWN[name.lower()] for name in names))


def formats_of(media: MediaDescription) -> tuple[Codec, ...]:
    """The formats of an RTP section that have a meaning, in order. Raises SdpError.

    Phones of one kind say the same each time, so answers are remembered.
    """
    attributes = media.attributes
    return _formats(media.formats, tuple(attributes.get("rtpmap", ())), tuple(attributes.get("fmtp", ())))


@lru_cache(maxsize=256)
def _formats(
    numbers: tuple[str, ...], rtpmap_values: tuple[str, ...], fmtp_values: tuple[str, ...]
) -> tuple[Codec, ...]:
    maps = parse_rtpmaps(rtpmap_values)
    parameters = parse_fmtps(fmtp_values)
    found: dict[int, Codec] = {}
    for text in numbers:
        if not (text.isascii() and text.isdigit() and len(text) <= 3):
            continue
        number = int(text)
        if number in found:
            continue
        fmtp = parameters.get(number, "")
        if number in maps:
            named = maps[number]
            found[number] = Codec(named.encoding, named.clock_hz, named.channels, number, fmtp)
        elif number in STATIC:
            found[number] = STATIC[number].with_fmtp(fmtp)
    return tuple(found.values())


@lru_cache(maxsize=16)
def event_codec(clock_hz: int) -> Codec:
    """telephone-event at a clock, as we offer it by ourselves."""
    return Codec(TELEPHONE_EVENT, clock_hz, 1, EVENT_PAYLOAD_TYPES.get(clock_hz, 104), EVENT_FMTP)


def encode_g711(name: str, pcm: bytes) -> bytes:
    """G.711 of 16-bit native-endian samples; `name` is PCMU or PCMA."""
    return audioop.lin2ulaw(pcm, 2) if name.lower() == "pcmu" else audioop.lin2alaw(pcm, 2)


_EVERY_CODE = bytes(range(256))
ULAW_TO_ALAW: Final = audioop.lin2alaw(audioop.ulaw2lin(_EVERY_CODE, 2), 2)
"Table for `bytes.translate` from PCMU to PCMA."
ALAW_TO_ULAW: Final = audioop.lin2ulaw(audioop.alaw2lin(_EVERY_CODE, 2), 2)
"Table for `bytes.translate` from PCMA to PCMU."
