"""Tones to speak and the measure of what was heard."""

from __future__ import annotations

import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

FRAME_S = 0.04  # gives 25 Hz between the lines of the spectrum
MARGIN_DB = 20.0
SILENCE_DBFS = -50.0
SAMPLE_RATE_HZ = 8_000

Samples = npt.NDArray[np.float64]


def write_tone(path: Path, hz: float, seconds: float, *, channels: int = 1, rate_hz: int = SAMPLE_RATE_HZ) -> None:
    """A sine at half of full scale as a 16-bit WAV file. `hz` should be a multiple of 25."""
    times = np.arange(int(seconds * rate_hz)) / rate_hz
    samples = (16_000 * np.sin(2 * np.pi * hz * times)).astype("<i2")
    with wave.open(str(path), "wb") as out:
        out.setnchannels(channels)
        out.setsampwidth(2)
        out.setframerate(rate_hz)
        out.writeframes(np.repeat(samples, channels).tobytes())


@dataclass(frozen=True)
class Heard:
    """What a recording holds of one tone. Times in seconds."""

    tone_s: float
    "Time in which the tone stood at least MARGIN_DB above every other."
    total_s: float

    def share_of(self, talk_s: float) -> float:
        """The share (0..1 and a little over) of `talk_s` in which the tone was heard."""
        return self.tone_s / talk_s


def listen(path: Path, hz: float) -> Heard:
    """Measure the tone `hz` in a mono or stereo 16-bit WAV file."""
    samples, rate_hz = read_wav(path)
    return measure(samples, rate_hz, hz)


def measure(samples: Samples, rate_hz: int, hz: float) -> Heard:
    """Measure the tone `hz` in samples of -1..1."""
    length = int(rate_hz * FRAME_S)
    frames = samples[: len(samples) // length * length].reshape(-1, length)
    if not len(frames):
        return Heard(0.0, len(samples) / rate_hz)
    levels = _spectrum_db(frames)
    line = round(hz * length / rate_hz)
    own = levels[:, line - 1 : line + 2].max(axis=1)
    others = levels.copy()
    others[:, max(0, line - 3) : line + 4] = -200.0  # the tone's own skirt under the Hann window
    clear = (own - others.max(axis=1) >= MARGIN_DB) & (own > SILENCE_DBFS) & (own >= levels.max(axis=1))
    return Heard(float(clear.sum()) * FRAME_S, len(samples) / rate_hz)


def quiet_share(path: Path, start_s: float, end_s: float) -> float:
    """The share of frames between two times of a recording that hold (almost) nothing."""
    samples, rate_hz = read_wav(path)
    part = samples[int(start_s * rate_hz) : int(end_s * rate_hz)]
    length = int(rate_hz * FRAME_S)
    frames = part[: len(part) // length * length].reshape(-1, length)
    if not len(frames):
        return 1.0
    return float((_spectrum_db(frames).max(axis=1) < SILENCE_DBFS).mean())


def read_wav(path: Path) -> tuple[Samples, int]:
    """Samples in -1..1 (the first channel) and their rate in Hz.."""
    with wave.open(str(path), "rb") as source:
        rate_hz, channels = source.getframerate(), source.getnchannels()
        raw = np.frombuffer(source.readframes(source.getnframes()), dtype="<i2")
    return raw[::channels].astype(np.float64) / 32_768, rate_hz


def _spectrum_db(frames: Samples) -> Samples:
    """dB relative to a full-scale sine, a row a frame."""
    length = frames.shape[1]
    window = np.hanning(length)
    lines = np.abs(np.fft.rfft(frames * window, axis=1)) * 2 / window.sum()
    decibels: Samples = 20 * np.log10(np.maximum(lines, 1e-10))
    return decibels
