"""Telling sockets that they can be read."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from media.poller import BATCH, DEPTH, EpollPoller, LoopPoller, Poller, make_poller

from .party import until

Kinds = pytest.mark.parametrize("kind", [EpollPoller, LoopPoller])


@pytest.fixture
def pair() -> Iterator[Callable[[], tuple[socket.socket, socket.socket]]]:
    made: list[socket.socket] = []

    def make() -> tuple[socket.socket, socket.socket]:
        both = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        both[0].setblocking(False)
        made.extend(both)
        return both

    yield make
    for each in made:
        each.close()


Make = Callable[[], tuple[socket.socket, socket.socket]]


def read(here: socket.socket, got: list[bytes]) -> bool:
    try:
        got.append(here.recv(100))
    except BlockingIOError:
        return False
    return True


@Kinds
async def test_a_reader_is_called_while_there_is_something(kind: type[EpollPoller | LoopPoller], pair: Make) -> None:
    poller: Poller = kind(asyncio.get_running_loop())
    here, there = pair()
    got: list[bytes] = []
    poller.add(here.fileno(), partial(read, here, got))
    for number in range(3):
        there.send(bytes([number]))
    await until(lambda: len(got) == 3)
    assert got == [b"\0", b"\1", b"\2"]
    poller.remove(here.fileno())
    there.send(b"unheard")
    other, far = pair()
    poller.add(other.fileno(), partial(read, other, got))
    far.send(b"heard")
    await until(lambda: len(got) == 4)
    assert got[3] == b"heard"
    poller.close()
    poller.close()


@Kinds
async def test_a_reader_may_remove_another(kind: type[EpollPoller | LoopPoller], pair: Make) -> None:
    poller: Poller = kind(asyncio.get_running_loop())
    sockets = [pair() for _ in range(2)]
    called: list[int] = []

    def reader(number: int) -> bool:
        called.append(number)
        sockets[number][0].recv(100)
        poller.remove(sockets[1 - number][0].fileno())
        return True

    for number, (here, there) in enumerate(sockets):
        poller.add(here.fileno(), partial(reader, number))
        there.send(b"x")
    await until(lambda: bool(called))
    await asyncio.sleep(0)
    assert len(called) == 1
    poller.close()


@pytest.mark.parametrize("packets", [1, 2, DEPTH + 2])
async def test_more_than_a_batch(pair: Make, packets: int) -> None:
    poller = make_poller(asyncio.get_running_loop())
    got: list[bytes] = []
    for number in range(BATCH + 10):
        here, there = pair()
        poller.add(here.fileno(), partial(read, here, got))
        for _ in range(packets):
            there.send(bytes([number]))
    await until(lambda: len(got) == packets * (BATCH + 10))
    assert sorted(b"".join(got)) == sorted(packets * bytes(range(BATCH + 10)))
    if packets > 1:
        assert got[0] == got[1]
        assert got[min(packets, DEPTH + 2)] != got[0]
    poller.close()


async def test_when_behind_a_reader_may_remove_itself(pair: Make) -> None:
    poller = make_poller(asyncio.get_running_loop())
    got: list[bytes] = []

    def read_once(here: socket.socket) -> bool:
        poller.remove(here.fileno())
        return read(here, got)

    for _ in range(BATCH):
        here, there = pair()
        poller.add(here.fileno(), partial(read_once, here))
        there.send(b"1")
        there.send(b"2")
    await until(lambda: len(got) == BATCH)
    assert got == [b"1"] * BATCH
    poller.close()
