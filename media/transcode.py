"""What one leg hears, said to another in a codec that the other has."""

from __future__ import annotations

from collections.abc import Sequence

from .codecs import Codec
from .coders import WIDE_HZ, can_code, ptime_for, rate_of
from .receiver import AudioReceiver
from .sender import AudioSender, PayloadSink


def target_of(sends: Sequence[Codec]) -> Codec | None:
    """The codec to speak to a party in: the first that it has and we can encode."""
    return next((codec for codec in sends if can_code(codec)), None)


def transcoder(
    received: Sequence[Codec], codec: Codec, ptime_ms: int | None, maxptime_ms: int | None, sink: PayloadSink
) -> AudioReceiver:
    """A receiver of any of `received` whose samples go to `sink` as `codec`.

    Opus is coded at the rate of the other codec, so that only G.722 and G.711 between each other need resampling.
    """
    rates = (rate_of(each) for each in received if can_code(each))
    rate_hz = rate_of(codec) or max((rate for rate in rates if rate is not None), default=WIDE_HZ)
    sender = AudioSender(codec, rate_hz, ptime_for(codec, ptime_ms, maxptime_ms), sink)
    return AudioReceiver(received, rate_hz, sender)
