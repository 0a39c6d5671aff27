"""Tones as samples, and how much of one is in samples."""

from __future__ import annotations

import math
from array import array


def tone(hz: float, samples: int, rate_hz: int, *, at: int = 0, amplitude: int = 8000) -> bytes:
    """16-bit samples of a sine, from sample `at` on."""
    step = 2 * math.pi * hz / rate_hz
    return array("h", (round(amplitude * math.sin(step * (at + n))) for n in range(samples))).tobytes()


def share(pcm: bytes, hz: float, rate_hz: int) -> float:
    """How much of the power of these samples is at a frequency, 0 to 1 (Goertzel)."""
    samples = array("h", pcm)
    coefficient = 2 * math.cos(2 * math.pi * hz / rate_hz)
    before = last = 0.0
    for sample in samples:
        before, last = last, sample + coefficient * last - before
    power = before * before + last * last - coefficient * before * last
    total = sum(sample * sample for sample in samples)
    return 2 * power / (len(samples) * total) if total else 0.0


def steady_share(pcm: bytes, hz: float, rate_hz: int) -> float:
    """The same of pieces of 50 ms, on average: a shift of phase between them is not heard."""
    size = 2 * rate_hz // 20
    pieces = [pcm[at : at + size] for at in range(0, len(pcm) - size + 1, size)]
    return sum(share(piece, hz, rate_hz) for piece in pieces) / len(pieces)
