"""Opus by libopus itself (RFC 6716, RFC 7587): mono at 8 or 16 kHz, with concealment and in-band FEC."""

from __future__ import annotations

from functools import cache
from typing import Final

from .errors import MediaError

CLOCK_HZ: Final = 48_000
MAX_PACKET_MS: Final = 120
"Of one RTP packet (RFC 7587 §4.2)."
MAX_PAYLOAD: Final = 1275 * 3 + 7  # octets; a packet of three largest frames (RFC 6716 §3.4), and we encode one or so
FRAMES_MS: Final = (10, 20, 40, 60)
"Packet lengths that we encode."
DTX_SIZE: Final = 2
"Octets; a payload no longer than this carries no audio: the encoder has nothing to say (RFC 7587 §3.1.3)."
BITRATES: Final = {8_000: 20_000, 16_000: 24_000}
"Bits a second by rate: what speech needs (RFC 7587 §3.1.1)."
COMPLEXITY: Final = 5  # of 10; 10 costs four times as much for a difference that a telephone does not carry

NAMES: Final = ("libopus.so.0", "libopus.0.dylib", "libopus-0.dll", "opus.dll")

VOIP: Final = 2048
SET_BITRATE, SET_VBR, SET_COMPLEXITY, SET_INBAND_FEC, SET_PACKET_LOSS, SET_DTX = 4002, 4006, 4010, 4012, 4014, 4016


class Library:
    """libopus, and where every codec works: one frame is dealt with before the next."""

    __slots__ = ("buffer", "opus", "payload", "pcm", "string_at")

    def __init__(self, name: str) -> None:
        """Raises OSError if there is none of that name."""
        import ctypes  # late: of no use to calls without Opus, and 5 ms of a start

        opus = self.opus = ctypes.CDLL(name)
        pointer, size, status = ctypes.c_void_p, ctypes.c_int32, ctypes.c_int
        opus.opus_decoder_get_size.argtypes = [status]
        opus.opus_encoder_get_size.argtypes = [status]
        opus.opus_decoder_init.argtypes = [pointer, size, status]
        opus.opus_encoder_init.argtypes = [pointer, size, status, status]
        opus.opus_decode.argtypes = [pointer, ctypes.c_char_p, size, ctypes.POINTER(ctypes.c_int16), status, status]
        opus.opus_encode.argtypes = [pointer, ctypes.c_char_p, status, ctypes.c_char_p, size]
        opus.opus_encode.restype = size
        opus.opus_encoder_ctl.argtypes = [pointer, status, size]
        self.buffer = ctypes.create_string_buffer
        self.string_at = ctypes.string_at
        self.pcm = (ctypes.c_int16 * (CLOCK_HZ * MAX_PACKET_MS // 1000))()
        self.payload = ctypes.create_string_buffer(MAX_PAYLOAD)


@cache
def library() -> Library:
    """libopus of the system, else the one that PyAV brings. Raises MediaError if there is neither."""
    for name in (*NAMES, *_bundled()):
        try:
            return Library(name)
        except OSError:
            continue
    raise MediaError("Opus needs libopus: install libopus0, or PyAV's wheel")


def _bundled() -> list[str]:
    from importlib.util import find_spec
    from pathlib import Path

    spec = find_spec("av")
    if spec is None or spec.origin is None:
        return []
    package = Path(spec.origin).parent
    return [
        str(path) for path in sorted(package.parent.glob("av.libs/libopus*")) + sorted(package.glob(".dylibs/*opus*"))
    ]


def available() -> bool:
    """True if there is a libopus."""
    try:
        library()
    except MediaError:
        return False
    return True


class OpusDecoder:
    """One stream to mono samples of a rate, whatever rate and channels it was encoded at."""

    __slots__ = ("_decode", "_most", "_pcm", "_state", "_string_at", "rate_hz")

    def __init__(self, rate_hz: int) -> None:
        """`rate_hz` is 8,000, 12,000, 16,000, 24,000 or 48,000. Raises MediaError without libopus."""
        found = library()
        opus = found.opus
        self.rate_hz = rate_hz
        self._most = rate_hz * MAX_PACKET_MS // 1000
        self._state = found.buffer(opus.opus_decoder_get_size(1))
        self._decode, self._pcm, self._string_at = opus.opus_decode, found.pcm, found.string_at
        if opus.opus_decoder_init(self._state, rate_hz, 1) != 0:
            raise ValueError(f"Opus cannot be decoded to {rate_hz} Hz")

    def decode(self, payload: bytes) -> bytes:
        """16-bit native-endian samples of one packet. Raises ValueError if it is not Opus."""
        count = self._decode(self._state, payload, len(payload), self._pcm, self._most, 0) if payload else -1
        if count < 0:
            raise ValueError(f"not an Opus packet: error {count}")
        return self._string_at(self._pcm, 2 * count)

    def conceal(self, samples: int) -> bytes:
        """What probably was in a packet that is missing; also the comfort noise of a pause (DTX)."""
        return self._lost(None, samples)

    def recover(self, following: bytes, samples: int) -> bytes:
        """The last `samples` before a packet, from the FEC in it if there is any, else concealed."""
        return self._lost(following, samples)

    def _lost(self, payload: bytes | None, samples: int) -> bytes:
        step = self.rate_hz // 400  # libopus works in units of 2.5 ms
        wanted = min(max(step, samples // step * step), self._most)
        size = len(payload) if payload else 0
        count = self._decode(self._state, payload, size, self._pcm, wanted, 1 if payload else 0)
        return self._string_at(self._pcm, 2 * count) if count > 0 else bytes(2 * wanted)


class OpusEncoder:
    """Mono samples of a rate to one stream, coded for speech."""

    __slots__ = ("_control", "_encode", "_payload", "_state", "_string_at", "rate_hz")

    def __init__(
        self,
        rate_hz: int,
        *,
        bitrate: int | None = None,
        fec: bool = True,
        expected_loss_percent: int = 0,
        dtx: bool = False,
        vbr: bool = True,
    ) -> None:
        """`rate_hz` as of the decoder; `bitrate` in bits a second. Raises MediaError without libopus.

        FEC is coded only where loss is expected: it takes a quarter more time.
        """
        found = library()
        opus = found.opus
        self.rate_hz = rate_hz
        self._state = found.buffer(opus.opus_encoder_get_size(1))
        self._encode, self._control = opus.opus_encode, opus.opus_encoder_ctl
        self._payload, self._string_at = found.payload, found.string_at
        if opus.opus_encoder_init(self._state, rate_hz, 1, VOIP) != 0:
            raise ValueError(f"Opus cannot be encoded from {rate_hz} Hz")
        self._set(SET_BITRATE, bitrate or BITRATES.get(rate_hz, 32_000))
        self._set(SET_COMPLEXITY, COMPLEXITY)
        self._set(SET_VBR, vbr)
        self._set(SET_DTX, dtx)
        self._set(SET_INBAND_FEC, fec)
        self.expect_loss(expected_loss_percent)

    def expect_loss(self, percent: int) -> None:
        """How much of what we send is lost: the more, the more bits go into FEC."""
        self._set(SET_PACKET_LOSS, min(100, max(0, percent)))

    def encode(self, pcm: bytes) -> bytes:
        """One packet of 10, 20, 40 or 60 ms of 16-bit native-endian samples. Raises ValueError for other lengths."""
        size = self._encode(self._state, pcm, len(pcm) // 2, self._payload, MAX_PAYLOAD)
        if size < 0:
            raise ValueError(f"Opus does not encode {len(pcm) // 2} samples at {self.rate_hz} Hz: error {size}")
        return self._string_at(self._payload, size)

    def _set(self, request: int, value: int) -> None:
        if self._control(self._state, request, int(value)) != 0:
            raise ValueError(f"libopus refuses {value} for {request}")
