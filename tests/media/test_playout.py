"""What waits between a party's packets and our clock, by a clock of the test's own."""

from __future__ import annotations

import audioop
import random
from collections.abc import Callable

import pytest

from media.playout import MAX_TARGET_MS, MAX_WAITING_MS, Playout

from .tones import share, tone

FRAME = bytes(range(256)) * 2 + bytes(128)  # 20 ms at 16 kHz


def run(playout: Playout, seconds: float, arrival: Callable[[int], float | None]) -> tuple[list[int], int]:
    """Frame n comes at `arrival(n)`, or never; one is read every 20 ms. What waits after each read, and misses."""
    arrivals = [at for n in range(int(seconds * 50)) if (at := arrival(n)) is not None]
    arrivals.sort()
    waiting, missed, number = [], 0, 0
    for tick in range(int(seconds * 50)):
        now = tick / 50 + 0.01
        while number < len(arrivals) and arrivals[number] <= now:
            playout.write(FRAME, now)
            number += 1
        if playout.read(20) is None:
            missed += 1
        waiting.append(playout.waiting_ms)
    return waiting, missed


def test_a_clean_network_is_delayed_by_at_most_60_ms() -> None:
    waiting, missed = run(Playout(16000), 10, lambda n: n / 50)
    assert max(waiting) + 20 <= 60
    assert missed <= 2, "until there was enough to begin"


@pytest.mark.parametrize("drift", [200e-6, -200e-6])
def test_clocks_that_differ(drift: float) -> None:
    """Ten minutes at 200 ppm are 120 ms: neither a growing delay nor more than a miss every 20 ms of them."""
    waiting, missed = run(Playout(16000), 600, lambda n: n / 50 * (1 + drift))
    assert max(waiting[-3000:]) <= 60
    assert missed <= 12


def test_jitter_makes_it_wait_longer_and_calm_shorter() -> None:
    chance = random.Random(3)
    playout = Playout(16000)
    _, missed = run(playout, 60, lambda n: n / 50 + chance.random() * 0.08)
    assert 5 <= missed < 60, "of 3,000"
    assert playout.target_ms <= MAX_TARGET_MS
    waiting, _ = run(playout, 60, lambda n: n / 50)
    assert max(waiting[-100:]) <= 60


def test_one_lost_packet_leaves_no_delay() -> None:
    waiting, missed = run(Playout(16000), 20, lambda n: None if n == 100 else n / 50)
    assert max(waiting[-100:]) <= 60
    assert missed <= 6


def test_a_pause_is_no_lateness() -> None:
    playout = Playout(16000)
    for _ in range(10):
        for _ in range(5):
            playout.write(FRAME, 0.0)
        while playout.read(20) is not None:
            pass
        playout.read(20)
        playout.skip(8000, 0.0)
    assert playout.target_ms == 40


def test_a_burst_is_bounded() -> None:
    playout = Playout(16000)
    for _ in range(1000):
        playout.write(FRAME, 0.0)
    assert playout.waiting_ms == MAX_WAITING_MS


def test_what_is_made_one_does_not_click() -> None:
    playout = Playout(16000)
    for number in range(6):
        playout.write(tone(500, 320, 16000, at=320 * number), 0.0)
    heard = b""
    for number in range(6, 120):
        piece = playout.read(20)
        assert piece is not None
        heard += piece
        playout.write(tone(500, 320, 16000, at=320 * number), 0.0)
    assert playout.waiting_ms < 120
    assert share(heard, 500, 16000) > 0.99
    assert audioop.maxpp(heard, 2) < 16100
