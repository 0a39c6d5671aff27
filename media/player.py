"""What we play ourselves, as 20 ms frames of G.711: tones, the ringing tone, prompts."""

from __future__ import annotations

import math
import random
import wave
from array import array
from functools import lru_cache
from pathlib import Path
from typing import Final

from .codecs import encode_g711
from .errors import MediaError

RATE_HZ: Final = 8_000
FRAME: Final = 160  # samples in 20 ms
AMPLITUDE: Final = 8_000  # of 32,767: about -12 dBm0, as tones are
COMFORT: Final = 40  # peak of noise that is heard as a quiet room: about -63 dBov
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


@lru_cache(maxsize=2)
def comfort_frames(law: str) -> Frames:
    """Two seconds of faint noise, to be repeated: no line is dead that sounds like this."""
    noise = random.Random(7).choices(range(-COMFORT, COMFORT + 1), k=2 * RATE_HZ)
    return _frames(law, array("h", noise).tobytes())


@lru_cache(maxsize=8)
def prompt_frames(law: str, name: str) -> Frames:
    """A recorded sentence, read at its first use: a WAV file of 16-bit mono samples at 8 kHz in `prompts`.

    Raises MediaError if there is none of that name.
    """
    path = PROMPTS / f"{name}.wav"
    if not name.isidentifier() or not path.is_file():
        raise MediaError(f"there is no prompt {name}")
    with wave.open(str(path), "rb") as file:
        shape = (file.getnchannels(), file.getsampwidth(), file.getframerate())
        if shape != (1, 2, RATE_HZ):
            raise ValueError(f"prompt {name} is not 16-bit mono at 8 kHz")
        pcm = file.readframes(file.getnframes())
    return _frames(law, pcm)
