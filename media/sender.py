"""From samples to the payloads that one party is sent: cut to its packet length, and encoded."""

from __future__ import annotations

from typing import Final, Protocol

from . import opus
from .codecs import Codec
from .coders import OPUS, make_encoder

LOSS_EVERY: Final = 50
"Packets between two looks at the loss that the party reports."


class PayloadSink(Protocol):
    """Who sends the payloads."""

    @property
    def loss_percent(self) -> int:
        """How much of what was sent lately was lost, as the party reports it."""

    def say(self, codec: Codec, payload: bytes, ticks: int, now: float) -> None:
        """The next packet, which lasts so many ticks of the codec's clock."""

    def be_silent(self, ticks: int) -> None:
        """Nothing is sent for so long; timestamps go on."""


class AudioSender:
    """One stream of one codec. A `receiver.SampleSink`."""

    __slots__ = (
        "_codec",
        "_convert",
        "_encoder",
        "_frame",
        "_paused",
        "_pending",
        "_rate_hz",
        "_sent",
        "_sink",
        "_ticks",
    )

    def __init__(self, codec: Codec, rate_hz: int, ptime_ms: int, sink: PayloadSink) -> None:
        """`rate_hz` is that of the samples, 8,000 or 16,000; `ptime_ms` one of `coders.ptime_for`."""
        encoder = make_encoder(codec, rate_hz)
        self._codec = codec
        self._rate_hz = rate_hz
        self._encoder = encoder
        self._sent = 0
        self._paused = False
        "The encoder has nothing to say (DTX), and the party knows."
        self._convert = None
        if encoder.rate_hz != rate_hz:
            from .resample import make_resampler

            self._convert = make_resampler(rate_hz, encoder.rate_hz).convert
        self._frame = 2 * rate_hz * ptime_ms // 1000
        self._ticks = codec.clock_hz * ptime_ms // 1000
        self._pending = b""
        self._sink = sink

    def write(self, pcm: bytes, now: float) -> None:
        """Send what fills whole packets, keep the rest."""
        frame = self._frame
        if self._pending:
            pcm = self._pending + pcm
        at = 0
        while len(pcm) - at >= frame:
            self._send(pcm[at : at + frame] if at or len(pcm) > frame else pcm, now)
            at += frame
        self._pending = pcm[at:]

    def skip(self, samples: int, now: float) -> None:
        """Fill up the packet that was begun with silence; the rest is not sent."""
        if self._pending:
            filling = min(2 * samples, self._frame - len(self._pending))
            self.write(bytes(filling), now)
            samples -= filling // 2
        if samples:
            self._sink.be_silent(samples * self._codec.clock_hz // self._rate_hz)

    def _send(self, pcm: bytes, now: float) -> None:
        if self._convert is not None:
            pcm = self._convert(pcm)
        self._sent += 1
        if self._sent % LOSS_EVERY == 0:
            self._encoder.expect_loss(self._sink.loss_percent)
        payload = self._encoder.encode(pcm)
        empty = len(payload) <= opus.DTX_SIZE and self._codec.key == OPUS
        if empty and self._paused:
            self._sink.be_silent(self._ticks)
        else:
            self._sink.say(self._codec, payload, self._ticks, now)
        self._paused = empty
