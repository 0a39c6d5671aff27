"""From the RTP packets of one party to its samples: put in order, decoded, mended, without a delay of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from . import comfort, opus
from .codecs import Codec
from .coders import OPUS, Decoder, can_code, make_decoder
from .jitter import JitterBuffer, Packet
from .rtp import MASK32

MAX_CONCEALED_MS: Final = 120
"Of one gap; concealment has faded away before, and what is longer is silence."
MAX_LEAP_S: Final = 1.0
"A timestamp that is ahead of the time that passed by more than this is another clock."
MAX_CUT_MS: Final = 200
"Samples heard already, by the timestamps: more is another clock."
FILL_MARGIN_S: Final = 0.03
"Noise is filled in up to this long ago: the voice may be back already, and on its way."
FILL_MS: Final = 20
MAX_FILL_MS: Final = 100
"At once; after a longer stop of ours nobody wants the rest."


class SampleSink(Protocol):
    """Who gets the samples of a party, as they come."""

    def write(self, pcm: bytes, now: float) -> None:
        """The next samples, 16-bit native-endian mono."""

    def skip(self, samples: int, now: float) -> None:
        """Nothing for so many samples."""


class AudioReceiver:
    """One party's stream, to 8 or 16 kHz."""

    __slots__ = (
        "_anchor",
        "_codec",
        "_codecs",
        "_convert",
        "_decoder",
        "_filled",
        "_frame",
        "_heard_at",
        "_jitter",
        "_next_ts",
        "_noise_dbov",
        "_pausing",
        "_rate_hz",
        "_sink",
        "refused",
    )

    def __init__(self, codecs: Sequence[Codec], rate_hz: int, sink: SampleSink) -> None:
        """`codecs` with the payload types that come in; those that we cannot decode are passed over."""
        self._codecs = {codec.payload_type: codec for codec in codecs if can_code(codec)}
        self._rate_hz = rate_hz
        self._sink = sink
        self._jitter = JitterBuffer()
        self._codec: Codec | None = None
        self._decoder: Decoder
        self._convert: Callable[[bytes], bytes] | None = None
        self._next_ts: int | None = None
        "Timestamp of the sample after the last one heard."
        self._frame = 0
        "Samples of the last packet, at the decoder's rate."
        self._heard_at = 0.0
        self._pausing = False
        "The party said that it is silent (DTX): what it would sound like is filled in."
        self._noise_dbov: float | None = None
        "How; None as the decoder has it."
        self._anchor = (0.0, 0)
        "When the pause began: instant and timestamp."
        self._filled = 0
        self.refused = 0
        "Payloads that could not be decoded."

    @property
    def waiting(self) -> bool:
        """True while `handle_tick` is needed, about every 20 ms."""
        return self._pausing or self._jitter.deadline is not None

    def receive(self, payload_type: int, seq: int, timestamp: int, payload: bytes, now: float) -> None:
        """A packet of the stream; one of a payload type that is no audio only says that it is not missing."""
        if self._jitter.insert(Packet(seq, timestamp, payload_type, payload), now):
            self._drain(now)

    def handle_tick(self, now: float) -> None:
        """Go on without what did not come; fill a pause with noise."""
        if self._jitter.deadline is not None:
            self._drain(now)
        if self._pausing:
            self._fill_up(now)

    def _drain(self, now: float) -> None:
        while (packet := self._jitter.pop(now)) is not None:
            if packet.restart:
                self._next_ts, self._pausing = None, False
            codec = self._codecs.get(packet.payload_type)
            if codec is not None:
                self._take(codec, packet, now)
            elif packet.payload_type == comfort.PAYLOAD_TYPE:
                self._pause(packet, now)

    def _take(self, codec: Codec, packet: Packet, now: float) -> None:
        if codec is not self._codec:
            self._change(codec)
        cut = self._mend(packet, now)
        self._heard_at = now
        decoder = self._decoder
        try:
            pcm = decoder.decode(packet.payload)
        except ValueError:
            self.refused += 1
            pcm = decoder.conceal(self._frame)
        self._frame = len(pcm) // 2
        self._next_ts = (packet.timestamp + self._ticks(self._frame)) & MASK32
        self._pausing = False
        if codec.key == OPUS and len(packet.payload) <= opus.DTX_SIZE:
            self._begin_pause(None, self._next_ts, now)
        self._write(pcm[2 * cut :] if cut else pcm, now)

    def _change(self, codec: Codec) -> None:
        """The party speaks another codec from now on."""
        if self._codec is None or codec.clock_hz != self._codec.clock_hz:
            self._next_ts = None
        self._codec = codec
        decoder = self._decoder = make_decoder(codec, self._rate_hz)
        self._frame = decoder.rate_hz // 50
        self._convert = None
        if decoder.rate_hz != self._rate_hz:
            from .resample import make_resampler

            self._convert = make_resampler(decoder.rate_hz, self._rate_hz).convert

    def _mend(self, packet: Packet, now: float) -> int:
        """Fill the gap before a packet, if there is any; how many of its samples were heard already."""
        codec = self._codec
        assert codec is not None
        if self._next_ts is None or self._next_ts == packet.timestamp:
            return 0
        gap = (packet.timestamp - self._next_ts) & MASK32
        if gap > MASK32 // 2:
            early = (MASK32 + 1 - gap) * self._decoder.rate_hz // codec.clock_hz
            return early if early <= MAX_CUT_MS * self._decoder.rate_hz // 1000 else 0
        if gap / codec.clock_hz > now - self._heard_at + MAX_LEAP_S:
            return 0
        samples = gap * self._decoder.rate_hz // codec.clock_hz
        if packet.missing:
            samples -= self._conceal(packet, samples, now)
        elif self._pausing and samples <= MAX_FILL_MS * self._decoder.rate_hz // 1000:
            pcm = self._fill(samples)[: 2 * samples]
            self._write(pcm, now)
            samples -= len(pcm) // 2
        if samples:
            self._sink.skip(samples * self._rate_hz // self._decoder.rate_hz, now)
        return 0

    def _conceal(self, packet: Packet, samples: int, now: float) -> int:
        """Make up what is missing before a packet; how many samples that was."""
        decoder = self._decoder
        wanted = min(samples, MAX_CONCEALED_MS * decoder.rate_hz // 1000)
        made = b""
        if wanted > self._frame:
            made = decoder.conceal(wanted - self._frame)
        made += decoder.recover(packet.payload, min(wanted, self._frame))
        made = made[: 2 * wanted]
        self._write(made, now)
        return len(made) // 2

    def _write(self, pcm: bytes, now: float) -> None:
        if pcm:
            self._sink.write(self._convert(pcm) if self._convert is not None else pcm, now)

    def _ticks(self, samples: int) -> int:
        assert self._codec is not None
        return samples * self._codec.clock_hz // self._decoder.rate_hz

    # Pauses.

    def _pause(self, packet: Packet, now: float) -> None:
        """Comfort noise is asked for (RFC 3389)."""
        codec = self._codec
        if codec is None:
            codec = next(iter(self._codecs.values()), None)
            if codec is None:
                return
            self._change(codec)
        dbov = comfort.level_of(packet.payload)
        self._heard_at = now
        if self._pausing:
            self._noise_dbov = dbov
        else:
            self._next_ts = packet.timestamp if codec.clock_hz == 8_000 else self._next_ts or 0
            self._begin_pause(dbov, self._next_ts, now)

    def _begin_pause(self, dbov: float | None, timestamp: int, now: float) -> None:
        self._pausing = True
        self._noise_dbov = dbov
        self._anchor = (now, timestamp)

    def _fill(self, samples: int) -> bytes:
        """Samples of the decoder's rate for a pause."""
        if self._noise_dbov is None:
            return self._decoder.conceal(samples)
        self._filled += samples
        return comfort.noise(samples, self._noise_dbov, self._filled - samples)

    def _fill_up(self, now: float) -> None:
        codec = self._codec
        assert codec is not None
        assert self._next_ts is not None
        begun_at, timestamp = self._anchor
        passed = int((now - begun_at - FILL_MARGIN_S) * codec.clock_hz) - ((self._next_ts - timestamp) & MASK32)
        step = FILL_MS * codec.clock_hz // 1000
        steps = max(0, passed // step)
        if (stopped := steps - MAX_FILL_MS // FILL_MS) > 0:
            self._next_ts = (self._next_ts + stopped * step) & MASK32
            self._sink.skip(stopped * FILL_MS * self._rate_hz // 1000, now)
            steps -= stopped
        for _ in range(steps):
            pcm = self._fill(FILL_MS * self._decoder.rate_hz // 1000)
            self._next_ts = (self._next_ts + step) & MASK32
            self._heard_at = now
            self._write(pcm, now)
