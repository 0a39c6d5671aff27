"""Concealment of lost audio by its last pitch periods, as in G.711 Appendix I but without its delay of 3.75 ms."""

from __future__ import annotations

import audioop
from array import array
from typing import Final

HISTORY_MS: Final = 48
TEMPLATE_MS: Final = 10
"What is looked for in the past."
LAGS_MS: Final = (5, 15)
"Pitch periods of voices: 200 Hz to 66 Hz; a higher one is found as several of its periods."
PLAIN_MS, FADED_MS = 10, 60
"Repeated at full level for the first, faded to nothing at the second."
BLEND_MS, MAX_BLEND_MS = 4, 10


class Concealer:
    """Of one stream of 16-bit mono samples."""

    __slots__ = ("_at", "_history", "_lost", "_per_ms", "_period", "_size")

    def __init__(self, rate_hz: int) -> None:
        self._per_ms = rate_hz // 1000
        self._size = 2 * HISTORY_MS * self._per_ms
        self._history = bytes(self._size)
        self._lost = 0
        "Samples concealed since the last good one."
        self._period = array("h")
        self._at = 0

    def receive(self, pcm: bytes) -> bytes:
        """Good samples as they are to be heard: after a loss they are blended in."""
        if self._lost:
            pcm = self._blend(pcm)
        self._history = pcm[-self._size :] if len(pcm) >= self._size else self._history[len(pcm) :] + pcm
        return pcm

    def conceal(self, samples: int) -> bytes:
        """So many samples in place of lost ones."""
        if not self._lost:
            self._period = self._find_period()
            self._at = 0
        period, at, lost, per_ms = self._period, self._at, self._lost, self._per_ms
        fade, end = PLAIN_MS * per_ms, FADED_MS * per_ms
        out = array("h", bytes(2 * samples))
        for number in range(min(samples, max(0, end - lost))):
            gain = min(1.0, (end - lost - number) / (end - fade))
            out[number] = int(period[at] * gain)
            at = at + 1 if at + 1 < len(period) else 0
        self._at = at
        self._lost = lost + samples
        return out.tobytes()

    def _find_period(self) -> array[int]:
        history, per_ms = self._history, self._per_ms
        shortest, longest = (ms * per_ms for ms in LAGS_MS)
        template = history[-2 * TEMPLATE_MS * per_ms :]
        lag = longest
        if audioop.max(template, 2) > 0:
            past = history[-2 * (TEMPLATE_MS * per_ms + longest) : -2 * shortest]
            at, factor = audioop.findfit(past, template)
            lag = (longest - at) * (1 if factor > 0 else 2)  # it also finds half a period upside down
        period = array("h", history[-2 * lag :])
        before = array("h", history[-2 * (lag + lag // 4) : -2 * lag])
        for number, sample in enumerate(before):  # so that the end leads into the beginning
            share = (number + 1) / (len(before) + 1)
            at = lag - len(before) + number
            period[at] = int(period[at] * (1 - share) + sample * share)
        return period

    def _blend(self, pcm: bytes) -> bytes:
        per_ms = self._per_ms
        length = min(MAX_BLEND_MS * per_ms, BLEND_MS * per_ms + self._lost * BLEND_MS // PLAIN_MS, len(pcm) // 2)
        ours, theirs = array("h", self.conceal(length)), array("h", pcm[: 2 * length])
        for number, sample in enumerate(ours):
            share = (number + 1) / (length + 1)
            theirs[number] = int(sample * (1 - share) + theirs[number] * share)
        self._lost = 0
        return theirs.tobytes() + pcm[2 * length :]
