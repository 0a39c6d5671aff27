"""Fixtures of media tests with sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from media import MediaConfig, MediaEngine

from .party import Party

PORTS = (21000, 21199)


@pytest.fixture
async def engine() -> AsyncIterator[MediaEngine]:
    """An engine on the loopback address."""
    engine = MediaEngine(MediaConfig(port_range=PORTS))
    yield engine
    engine.close()
    assert engine.counts()["legs"] == engine.counts()["bridges"] == engine.counts()["players"] == 0


@pytest.fixture
def party() -> Iterator[Callable[[int], Party]]:
    """Makes remote parties by SSRC."""
    made: list[Party] = []

    def make(ssrc: int) -> Party:
        made.append(Party(ssrc))
        return made[-1]

    yield make
    for each in made:
        each.close()
