"""What we play ourselves, as 20 ms frames of G.711: tones, the ringing tone, prompts."""

from __future__ import annotations

import math
import wave
from array import array
from functools import lru_cache
from pathlib import Path
from typing import Final

from .codecs import encode_g711

RATE_HZ: Final = 8_000
FRAME: Final = 160  # samples in 20 ms
AMPLITUDE: Final = 8_000  # of 32,767: about -12 dBm0, as tones are
RINGBACK_HZ, RINGBACK_ON_S, RINGBACK_OFF_S = 425, 1, 4  # ETSI EN 300 001, as most of Europe has it

Frames = tuple[bytes, ...]

PROMPTS: Final = Path(__file__).parent / "prompts"


def _sine(hz: int) -> bytes:
    """One second of 16-bit samples, which holds a whole number of periods."""
    step = 2 * math.pi * hz / RATE_HZ
    return array("h", (round(AMPLITUDE * math.sin(step * n)) for n in range(RATE_HZ))).tobytes()


def _frames(law: str, pcm: bytes) -> Frames:
    encoded = encode_g711(law, pcm + bytes(-len(pcm) % (2 * FRAME)))
    return tuple(encoded[at : at + FRAME] for at in range(0, len(encoded), FRAME))


@lru_cache(maxsize=16)
def tone_frames(law: str, hz: int) -> Frames:
    """One second of a tone, to be repeated; `law` is PCMU or PCMA. Raises ValueError for what 8 kHz cannot carry."""
    if not 0 < hz < RATE_HZ // 2:
        raise ValueError("a tone has 1 to 3,999 Hz")
    return _frames(law, _sine(hz))


@lru_cache(maxsize=2)
def ringback_frames(law: str) -> Frames:
    """One period of the ringing tone, to be repeated."""
    silent = encode_g711(law, bytes(2 * FRAME))
    return tone_frames(law, RINGBACK_HZ) * RINGBACK_ON_S + (silent,) * (50 * RINGBACK_OFF_S)


@lru_cache(maxsize=8)
def prompt_frames(law: str, name: str) -> Frames:
    """A recorded sentence, read at its first use: a WAV file of 16-bit mono samples at 8 kHz in `prompts`."""
    with wave.open(str(PROMPTS / f"{name}.wav"), "rb") as file:
        shape = (file.getnchannels(), file.getsampwidth(), file.getframerate())
        if shape != (1, 2, RATE_HZ):
            raise ValueError(f"prompt {name} is not 16-bit mono at 8 kHz")
        pcm = file.readframes(file.getnframes())
    return _frames(law, pcm)
