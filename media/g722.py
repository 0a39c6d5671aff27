"""G.722 at 64 kbit/s by PyAV's libavcodec: 16,000 samples a second under an RTP clock of 8,000 Hz (RFC 3551 §4.5.2)."""

from __future__ import annotations

from typing import Final

import av

RATE_HZ: Final = 16_000
SAMPLES_AN_OCTET: Final = 2


class G722Decoder:
    """One stream to 16-bit mono samples at 16 kHz."""

    __slots__ = ("_context",)

    rate_hz = RATE_HZ

    def __init__(self) -> None:
        self._context = av.AudioCodecContext.create("g722", "r")
        self._context.layout = "mono"
        self._context.sample_rate = RATE_HZ

    def decode(self, payload: bytes) -> bytes:
        """16-bit native-endian samples, two an octet."""
        frames = self._context.decode(av.Packet(payload)) if payload else []
        return b"".join(bytes(frame.planes[0])[: 2 * frame.samples] for frame in frames)


class G722Encoder:
    """16-bit mono samples at 16 kHz to one stream."""

    __slots__ = ("_context", "_frame")

    rate_hz = RATE_HZ

    def __init__(self) -> None:
        self._context = av.AudioCodecContext.create("g722", "w")
        self._context.layout = "mono"
        self._context.sample_rate = RATE_HZ
        self._context.format = "s16"
        self._frame: av.AudioFrame | None = None

    def encode(self, pcm: bytes) -> bytes:
        """One octet for two 16-bit native-endian samples."""
        samples = len(pcm) // 2
        frame = self._frame
        if frame is None or frame.samples != samples:
            frame = self._frame = av.AudioFrame(format="s16", layout="mono", samples=samples)
            frame.sample_rate = RATE_HZ
        frame.make_writable()
        frame.planes[0].update(pcm)
        return b"".join(bytes(packet) for packet in self._context.encode(frame))

    def expect_loss(self, percent: int) -> None:
        """It has nothing against loss."""
