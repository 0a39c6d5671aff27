"""What we play ourselves, as 20 ms frames of any codec: tones, the ringing tone, prompts, comfort noise."""

from __future__ import annotations

import math
import wave
from array import array
from functools import lru_cache
from pathlib import Path
from typing import Final

from . import comfort
from .codecs import Codec
from .coders import make_encoder
from .errors import MediaError

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


def _frames(codec: Codec, pcm: bytes) -> Frames:
    """Each 20 ms by itself; made once for all legs, so an encoder hears the end before the beginning only once."""
    encoder = make_encoder(codec, RATE_HZ)
    size = 2 * FRAME
    pcm += bytes(-len(pcm) % size)
    if encoder.rate_hz != RATE_HZ:
        from .resample import make_resampler

        pcm = make_resampler(RATE_HZ, encoder.rate_hz).convert(pcm)
        size = size * encoder.rate_hz // RATE_HZ
    return tuple(encoder.encode(pcm[at : at + size]) for at in range(0, len(pcm), size))


@lru_cache(maxsize=16)
def tone_frames(codec: Codec, hz: int) -> Frames:
    """One second of a tone, to be repeated. Raises ValueError for what 8 kHz cannot carry."""
    if not 0 < hz < RATE_HZ // 2:
        raise ValueError("a tone has 1 to 3,999 Hz")
    return _frames(codec, _sine(hz))


@lru_cache(maxsize=16)
def ringback_frames(codec: Codec) -> Frames:
    """One period of the ringing tone, to be repeated."""
    return _frames(codec, _sine(RINGBACK_HZ) * RINGBACK_ON_S + bytes(2 * RATE_HZ * RINGBACK_OFF_S))


@lru_cache(maxsize=16)
def comfort_frames(codec: Codec) -> Frames:
    """Two seconds of faint noise, to be repeated: no line is dead that sounds like this."""
    return _frames(codec, comfort.noise(2 * RATE_HZ, comfort.DEFAULT_DBOV))


@lru_cache(maxsize=16)
def prompt_frames(codec: Codec, name: str) -> Frames:
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
    return _frames(codec, pcm)
