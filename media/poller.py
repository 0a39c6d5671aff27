"""[io] Tells sockets that they can be read, at less cost than the loop's own readers."""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable
from typing import Protocol

BATCH = 64  # sockets a wake-up; then the loop gets its turn
DEPTH = 8  # packets of one socket at a time when we are behind

Reader = Callable[[], bool]
"Reads one packet; False if there was none."


class Poller(Protocol):
    """Calls readers of sockets, at least once whenever there is something to read."""

    def add(self, fd: int, reader: Reader) -> None:
        """Call `reader` whenever the socket can be read."""

    def remove(self, fd: int) -> None:
        """Do so no more."""

    def close(self) -> None:
        """Forget every reader."""


class EpollPoller:
    """An epoll of our own, which the loop sees as one file.

    A loop's reader is several objects a socket and a context entered a call; with a thousand sockets they fill the
    processor's cache.
    """

    __slots__ = ("_epoll", "_loop", "_readers")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._epoll = select.epoll()
        self._readers: list[Reader | None] = []
        "By file descriptor: those are small numbers."
        loop.add_reader(self._epoll.fileno(), self._run)

    def add(self, fd: int, reader: Reader) -> None:
        """Call `reader` whenever the socket can be read."""
        self._epoll.register(fd, select.EPOLLIN)
        readers = self._readers
        if fd >= len(readers):
            readers.extend([None] * (fd + 1 - len(readers)))
        readers[fd] = reader

    def remove(self, fd: int) -> None:
        """Do so no more; before the socket is closed."""
        self._epoll.unregister(fd)
        self._readers[fd] = None

    def close(self) -> None:
        """Forget every reader."""
        if not self._epoll.closed:
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()
            self._readers.clear()

    def _run(self) -> None:
        readers = self._readers
        events = self._epoll.poll(0, BATCH)
        if len(events) == BATCH:
            self._catch_up(events)
            return
        for fd, _ in events:
            reader = readers[fd]
            if reader is not None:  # else an earlier one of this batch has closed it
                reader()

    def _catch_up(self, events: list[tuple[int, int]]) -> None:
        """A full batch: we may be behind by more than a packet a socket.

        A read that finds nothing costs a quarter of a packet, so only the first socket is tried for a second one.
        If it has one the others will too, and several reads a wake-up let us gain on what comes in meanwhile.
        """
        readers = self._readers
        depth = 2
        for number, (fd, _) in enumerate(events):
            taken = 0
            while taken < depth and (reader := readers[fd]) is not None and reader():
                taken += 1
            if number == 0:
                depth = DEPTH if taken == depth else 1


class LoopPoller:
    """The loop's own readers, where there is no epoll."""

    __slots__ = ("_fds", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._fds: set[int] = set()

    def add(self, fd: int, reader: Reader) -> None:
        """Call `reader` whenever the socket can be read."""
        self._loop.add_reader(fd, reader)
        self._fds.add(fd)

    def remove(self, fd: int) -> None:
        """Do so no more."""
        self._loop.remove_reader(fd)
        self._fds.discard(fd)

    def close(self) -> None:
        """Forget every reader."""
        for fd in list(self._fds):
            self.remove(fd)


def make_poller(loop: asyncio.AbstractEventLoop) -> Poller:
    """The cheapest poller that this system has."""
    return EpollPoller(loop) if hasattr(select, "epoll") else LoopPoller(loop)
