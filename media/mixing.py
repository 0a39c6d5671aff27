"""Sums of samples: what everybody hears, and what each speaker hears, who is not to hear himself.

By audioop, in 32 bits: for frames of 20 ms that takes less time than numpy does, and no second of importing it.
"""

from __future__ import annotations

import audioop
from collections.abc import Sequence
from typing import Final

MOST: Final = 512
"Frames whose sum 32 bits hold: 16 for a sample, 9 for their number, and a sign."


def mixed(frames: Sequence[bytes]) -> tuple[bytes, list[bytes]]:
    """The sum of frames of 16-bit samples of equal length, and for each frame the sum of the others; both clipped."""
    assert 0 < len(frames) <= MOST
    parts = [audioop.mul(audioop.lin2lin(frame, 2, 4), 4, 1 / MOST) for frame in frames]
    total = parts[0]
    for part in parts[1:]:
        total = audioop.add(total, part, 4)
    return _clipped(total), [_clipped(audioop.add(total, audioop.mul(part, 4, -1), 4)) for part in parts]


def _clipped(samples: bytes) -> bytes:
    return audioop.lin2lin(audioop.mul(samples, 4, MOST), 4, 2)
