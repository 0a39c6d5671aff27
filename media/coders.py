"""What turns the payloads of a codec into samples and back, one behind the other whatever the codec."""

from __future__ import annotations

import audioop
import sys
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from . import opus
from .codecs import Codec
from .conceal import Concealer

NARROW_HZ: Final = 8_000
WIDE_HZ: Final = 16_000
G711: Final = frozenset({("pcmu", NARROW_HZ, 1), ("pcma", NARROW_HZ, 1)})
G722: Final = ("g722", 8_000, 1)
OPUS: Final = ("opus", opus.CLOCK_HZ, 2)

MAX_PTIME_MS: Final = 60
DEFAULT_PTIME_MS: Final = 20


class Decoder(Protocol):
    """Payloads of one stream to 16-bit native-endian mono samples."""

    @property
    def rate_hz(self) -> int:
        """Samples a second."""

    def decode(self, payload: bytes) -> bytes:
        """The samples of one packet. Raises ValueError for what is none."""

    def conceal(self, samples: int) -> bytes:
        """About so many samples in place of missing ones."""

    def recover(self, following: bytes, samples: int) -> bytes:
        """The same, just before a packet that may tell what they were."""


class Encoder(Protocol):
    """16-bit native-endian mono samples to payloads of one stream."""

    @property
    def rate_hz(self) -> int:
        """Samples a second."""

    def encode(self, pcm: bytes) -> bytes:
        """One packet."""

    def expect_loss(self, percent: int) -> None:
        """How much of it is lost on the way, as far as the codec can do something about it."""


class WaveformDecoder:
    """A codec that knows nothing of loss, with concealment of ours."""

    __slots__ = ("_concealer", "_decode", "rate_hz")

    def __init__(self, rate_hz: int, decode: Callable[[bytes], bytes]) -> None:
        self.rate_hz = rate_hz
        self._decode = decode
        self._concealer = Concealer(rate_hz)

    def decode(self, payload: bytes) -> bytes:
        """The samples of one packet."""
        return self._concealer.receive(self._decode(payload))

    def conceal(self, samples: int) -> bytes:
        """The last pitch periods again, fading."""
        return self._concealer.conceal(samples)

    def recover(self, following: bytes, samples: int) -> bytes:
        """The same: the packet that follows does not tell."""
        return self._concealer.conceal(samples)


class G711Encoder:
    """PCMU or PCMA."""

    __slots__ = ("_encode",)

    rate_hz = NARROW_HZ

    def __init__(self, name: str) -> None:
        self._encode = audioop.lin2ulaw if name.lower() == "pcmu" else audioop.lin2alaw

    def encode(self, pcm: bytes) -> bytes:
        """An octet a sample."""
        return self._encode(pcm, 2)

    def expect_loss(self, percent: int) -> None:
        """It has nothing against loss."""


def can_code(codec: Codec) -> bool:
    """True for a codec that we can encode and decode on this machine."""
    return codec.key in G711 or codec.key == G722 or (codec.key == OPUS and opus.available())


def rate_of(codec: Codec) -> int | None:
    """The samples a second that a codec is about; None for Opus, which takes any."""
    if codec.key == OPUS:
        return None
    return WIDE_HZ if codec.key == G722 else NARROW_HZ


def make_decoder(codec: Codec, rate_hz: int) -> Decoder:
    """A decoder of a new stream, to `rate_hz` (8,000 or 16,000) if the codec leaves a choice."""
    if codec.key == OPUS:
        return opus.OpusDecoder(rate_hz)
    if codec.key == G722:
        from .g722 import RATE_HZ, G722Decoder

        return WaveformDecoder(RATE_HZ, G722Decoder().decode)
    convert = audioop.ulaw2lin if codec.key[0] == "pcmu" else audioop.alaw2lin
    return WaveformDecoder(NARROW_HZ, lambda payload: convert(payload, 2))


def make_encoder(codec: Codec, rate_hz: int) -> Encoder:
    """An encoder of a new stream, from `rate_hz` if the codec leaves a choice, as the fmtp of its receiver asks for."""
    if codec.key == OPUS:
        asked = parameters(codec.fmtp)
        return opus.OpusEncoder(
            rate_hz,
            bitrate=_bitrate(asked.get("maxaveragebitrate", ""), rate_hz),
            fec=asked.get("useinbandfec") == "1",
            dtx=asked.get("usedtx") == "1",
            vbr=asked.get("cbr") != "1",
        )
    if codec.key == G722:
        from .g722 import G722Encoder

        return G722Encoder()
    return G711Encoder(codec.name)


def ptime_for(codec: Codec, asked_ms: int | None, most_ms: int | None) -> int:
    """Milliseconds a packet, 10 to 60: what was asked for, as far as the codec and `maxptime` allow."""
    wanted = min(asked_ms or DEFAULT_PTIME_MS, most_ms or MAX_PTIME_MS, MAX_PTIME_MS)
    allowed = opus.FRAMES_MS if codec.key == OPUS else tuple(range(10, MAX_PTIME_MS + 1, 10))
    return max((ms for ms in allowed if ms <= wanted), default=10)


def parameters(fmtp: str) -> dict[str, str]:
    """The parameters of an a=fmtp, by name in small letters."""
    pairs = (each.partition("=") for each in fmtp.split(";"))
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _bitrate(written: str, rate_hz: int) -> int:
    """Of Opus: ours, or less if the receiver says so."""
    ours = opus.BITRATES[rate_hz]
    if not (written.isascii() and written.isdigit() and len(written) <= 6):
        return ours
    return max(6_000, min(ours, int(written)))


# PyAV takes a quarter of a second to import: that is done in a thread, by `load` once the server is up, else when a
# call comes that needs it.


G722_MODULE: Final = f"{__package__}.g722"


def load(codecs: Iterable[Codec]) -> None:
    """Import, and use once, what these take: a call that needs them is heard from its first packet then."""
    for codec in codecs:
        if can_code(codec):
            make_encoder(codec, NARROW_HZ)
            make_decoder(codec, NARROW_HZ)


def is_loaded(codecs: Iterable[Codec]) -> bool:
    """True if these can be coded without importing anything large; else G722_MODULE is to be loaded."""
    # A module is there as soon as its import begins, and who imports it meanwhile stands still: its last name tells.
    return hasattr(sys.modules.get(G722_MODULE), "G722Encoder") or all(codec.key != G722 for codec in codecs)
