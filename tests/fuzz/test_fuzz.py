from __future__ import annotations

import random

from tests.fuzz.mutator import MAX_LENGTH, mutations
from tests.fuzz.parser import Tally, check_datagram, check_stream

SEED = 4475
COUNT = 5_000


def test_mutations_are_the_same_for_the_same_seed() -> None:
    assert list(mutations(1, 50)) == list(mutations(1, 50))
    assert list(mutations(1, 50)) != list(mutations(2, 50))
    assert all(len(data) <= MAX_LENGTH for data in mutations(3, 500))


def test_broken_messages_raise_nothing_but_parse_errors() -> None:
    tally = Tally()
    for data in mutations(SEED, COUNT):
        check_datagram(data, tally)
    assert tally.read + tally.refused == COUNT
    assert tally.read > COUNT // 10, "a mutator that breaks everything tests little"
    assert len(tally.reasons) > 25, tally.reasons


def test_broken_streams_raise_nothing() -> None:
    tally = Tally()
    rng = random.Random(SEED)
    for data in mutations(SEED + 1, COUNT // 5):
        check_stream(data, rng, tally)
    assert tally.events > 100
