"""When the machine let this process wait: a test that measures delay takes it off, and nothing else."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from types import TracebackType
from typing import Self

TICK_S = 0.005
LEAST_S = 0.002  # less than that is how exactly a timer fires


class Pauses:
    """While entered, notes each pause of the running loop that was not its own work.

    Wall time less CPU time of this thread less the sleep that was asked for: what is left, others had the processor.
    A loop that blocks itself by computing is no pause; one that waits in a system call would look like one.
    """

    def __init__(self) -> None:
        self._pauses: list[tuple[float, float, float]] = []
        "When the loop slept, when it went on, and how much of that was pause."
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.get_running_loop().create_task(self._watch())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._task is not None
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            began_at, used = loop.time(), time.thread_time()
            await asyncio.sleep(TICK_S)
            over_at = loop.time()
            lost = over_at - began_at - TICK_S - (time.thread_time() - used)
            if lost > LEAST_S:
                self._pauses.append((began_at, over_at, lost))

    def between(self, start: float, end: float) -> float:
        """Seconds of pause from one instant of the loop's clock to another."""
        return sum(
            min(lost, min(end, over_at) - max(start, began_at))
            for began_at, over_at, lost in self._pauses
            if began_at < end and over_at > start
        )

    def longest(self, start: float = 0.0, end: float = float("inf")) -> float:
        """The longest pause that touches this stretch of time, in seconds."""
        touching = [lost for began_at, over_at, lost in self._pauses if began_at < end and over_at > start]
        return max(touching, default=0.0)
