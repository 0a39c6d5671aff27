"""The audio formats we can name in SDP (RFC 3551 §6, RFC 4733, RFC 7587), and G.711 itself."""

from __future__ import annotations

import audioop
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from .sdp import MediaDescription

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

    @property
    def key(self) -> tuple[str, int, int]:
        """What makes two formats the same codec, whatever payload type each stream gives it."""
        return (self.name.lower(), self.clock_hz, self.channels)

    @property
    def is_event(self) -> bool:
        """True for telephone-event."""
        return self.name.lower() == TELEPHONE_EVENT

    @property
    def is_g711(self) -> bool:
        """True for PCMU and PCMA, which we can convert into each other and play to."""
        return self.name.lower() in ("pcmu", "pcma") and self.clock_hz == 8_000 and self.channels == 1

    def with_payload_type(self, payload_type: int) -> Codec:
        """The same codec under another number."""
        return self if payload_type == self.payload_type else replace(self, payload_type=payload_type)

    def with_fmtp(self, fmtp: str) -> Codec:
        """The same codec with other parameters."""
        return self if fmtp == self.fmtp else replace(self, fmtp=fmtp)


KNOWN: Final = {
    codec.name.lower(): codec
    for codec in (
        Codec("PCMU", 8_000, 1, 0),
        Codec("GSM", 8_000, 1, 3),
        Codec("PCMA", 8_000, 1, 8),
        Codec("G722", G722_CLOCK_HZ, 1, 9),
        Codec("G729", 8_000, 1, 18),
        Codec("opus", 48_000, 2, 96, "useinbandfec=1"),
    )
}
"Codecs that a policy may name, as we offer them by ourselves."

STATIC: Final = {codec.payload_type: codec for codec in KNOWN.values() if codec.payload_type < FIRST_DYNAMIC}

EVENT_FMTP: Final = "0-16"  # digits, *, #, A to D and flash: RFC 4733 §3.2
EVENT_PAYLOAD_TYPES: Final = {8_000: 101, 16_000: 102, 48_000: 103}
"Payload types we use for telephone-event by clock; of our own choice."


def policy_of(names: Sequence[str]) -> tuple[Codec, ...]:
    """The codecs of a policy, in order. Raises ValueError for a name we do not know."""
    unknown = [name for name in names if name.lower() not in KNOWN]
    if unknown or not names:
        raise ValueError(f"unknown codec {', '.join(unknown)}" if unknown else "no codec named")
    return tuple(dict.fromkeys(KNOWN[name.lower()] for name in names))


def formats_of(media: MediaDescription) -> tuple[Codec, ...]:
    """The formats of an RTP section that have a meaning, in order. Raises SdpError."""
    maps = media.rtpmaps
    parameters = media.fmtps
    found: dict[int, Codec] = {}
    for text in media.formats:
        if not (text.isascii() and text.isdigit() and len(text) <= 3):
            continue
        number = int(text)
        if number in found:
            continue
        if number in maps:
            named = maps[number]
            found[number] = Codec(named.encoding, named.clock_hz, named.channels, number, parameters.get(number, ""))
        elif number in STATIC:
            found[number] = STATIC[number].with_fmtp(parameters.get(number, ""))
    return tuple(found.values())


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
