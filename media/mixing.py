"""Sums of samples: what everybody hears, and what each speaker hears, who is not to hear himself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def mixed(frames: Sequence[bytes]) -> tuple[bytes, list[bytes]]:
    """The sum of frames of 16-bit samples of equal length, and for each frame the sum of the others; both clipped."""
    parts = np.stack([np.frombuffer(frame, np.int16) for frame in frames]).astype(np.int32)
    total = parts.sum(axis=0)
    return _clipped(total), [_clipped(total - part) for part in parts]


def _clipped(samples: Any) -> bytes:
    return bytes(np.clip(samples, -32768, 32767).astype(np.int16).tobytes())
