"""From which address RTP is taken."""

from __future__ import annotations

import pytest

from media.learning import WINDOW_S, SourceLearning

PUBLIC, PRIVATE, OTHER = ("198.51.100.7", 4000), ("192.168.1.5", 4000), ("8.8.8.8", 53000)
REAL = ("9.9.9.9", 4000)


def test_the_signalled_address_settles_at_once() -> None:
    learning = SourceLearning(REAL, None, 0.0)
    assert learning.hear(REAL, 0.1)
    assert learning.settled(0.1)
    assert not learning.hear((REAL[0], 5000), 0.2)
    assert not learning.hear(OTHER, 0.2)
    assert learning.source == REAL


def test_the_signalled_host_from_another_port() -> None:
    learning = SourceLearning(REAL, None, 0.0)
    moved = (REAL[0], 61000)
    assert learning.hear(moved, 0.1)
    assert not learning.settled(0.2)
    assert learning.source == moved
    assert learning.settled(WINDOW_S)
    assert not learning.hear(REAL, WINDOW_S)


def test_the_better_candidate_wins_within_the_window() -> None:
    learning = SourceLearning(REAL, None, 0.0)
    assert learning.hear((REAL[0], 61000), 0.1)
    assert learning.hear(REAL, 0.11)
    assert learning.settled(0.11)


def test_an_equal_candidate_takes_over_from_a_silent_one_only() -> None:
    learning = SourceLearning(REAL, None, 0.0)
    old, new = (REAL[0], 61000), (REAL[0], 61002)
    assert learning.hear(old, 0.10)
    assert not learning.hear(new, 0.12)
    assert learning.hear(old, 0.14)
    assert not learning.hear(new, 0.16)
    assert learning.hear(new, 0.25)
    assert learning.source == new


def test_strangers_are_not_heard_if_the_signalled_address_is_public() -> None:
    learning = SourceLearning(REAL, OTHER[0], 0.0)
    assert not learning.hear(OTHER, 0.1)
    assert learning.source is None


def test_behind_nat_the_signalling_host_is_heard_at_any_time() -> None:
    learning = SourceLearning(PRIVATE, OTHER[0], 0.0)
    assert learning.hear(OTHER, WINDOW_S + 100)
    assert learning.settled(WINDOW_S + 100)


def test_behind_nat_any_public_host_is_heard_within_the_window() -> None:
    learning = SourceLearning(PRIVATE, None, 0.0)
    assert not learning.hear(("10.0.0.9", 4000), 0.1)
    assert learning.hear(OTHER, 0.1)
    assert not SourceLearning(PRIVATE, None, 0.0).hear(OTHER, WINDOW_S)


def test_the_signalling_host_outranks_any_other() -> None:
    learning = SourceLearning(PRIVATE, REAL[0], 0.0)
    assert learning.hear(OTHER, 0.1)
    assert learning.hear(REAL, 0.11)
    assert not learning.hear(OTHER, 0.5)
    assert learning.hear(PRIVATE, 0.6)
    assert learning.source == PRIVATE


@pytest.mark.parametrize("peer", [None, "127.0.0.1"])
def test_without_a_signalled_address(peer: str | None) -> None:
    learning = SourceLearning(None, peer, 0.0)
    assert learning.hear(("127.0.0.1", 4000), 0.1) is (peer is not None)
    assert learning.hear(OTHER, 0.3) is (peer is None)


def test_documentation_addresses_count_as_private() -> None:
    assert SourceLearning(PUBLIC, None, 0.0).hear(OTHER, 0.1)
