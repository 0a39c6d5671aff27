"""Fixtures of media tests with sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
import uvloop

from media import MediaConfig, MediaEngine

from .party import Party

PORTS = (21000, 21199)


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop that the server runs on."""
    return {"uvloop": uvloop.new_event_loop}


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
