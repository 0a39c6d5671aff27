"""Comfort noise (RFC 3389): what a payload of type 13 says, and noise of that level."""

from __future__ import annotations

import audioop
import random
from array import array
from functools import cache
from typing import Final

PAYLOAD_TYPE: Final = 13
DEFAULT_DBOV: Final = -65.0
"Where nobody says a level: heard as a quiet room."
LOUDEST_DBOV: Final = -40.0
"No louder, whatever is said: comfort noise is not to be heard for itself."
_LENGTH = 16_000
_RMS = 4_000


@cache
def _noise() -> bytes:
    """White noise of a known level, long enough not to be heard as repeating."""
    peak = round(_RMS * 3**0.5)
    pcm = array("h", random.Random(3389).choices(range(-peak, peak + 1), k=_LENGTH)).tobytes()
    return pcm + pcm


def level_of(payload: bytes) -> float:
    """The noise level of a comfort noise payload in dBov (RFC 3389 §3)."""
    return -float(payload[0] & 0x7F) if payload else DEFAULT_DBOV


def noise(samples: int, dbov: float, at: int = 0) -> bytes:
    """So many 16-bit samples of noise, those from `at` on; at most a second."""
    factor = 32768 * 10 ** (min(dbov, LOUDEST_DBOV) / 20) / _RMS
    begin = 2 * (at % _LENGTH)
    return audioop.mul(_noise()[begin : begin + 2 * min(samples, _LENGTH)], 2, factor)
