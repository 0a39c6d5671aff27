"""A loop whose time is invented: it jumps to the next timer when nobody has anything to do."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

_T = TypeVar("_T")
START_AT = 1000.0
"Not zero, so that an instant mistaken for a duration shows."
STANDSTILL_S = 2.0
"Real seconds to wait for a thread or a socket when nothing is scheduled; then the test is stuck."


class Standstill(AssertionError):
    """The test waits for something that nobody will do."""


class VirtualSelector(selectors.BaseSelector):
    """A real selector that never waits: what it would have waited is handed to the clock."""

    def __init__(self, advance: Callable[[float], None]) -> None:
        """`advance` may do something instead of advancing: the loop looks at its work again."""
        self._real = selectors.DefaultSelector()
        self._advance = advance

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.modify(fileobj, events, data)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = self._real.select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if timeout is not None:
            self._advance(timeout)
            return []
        ready = self._real.select(STANDSTILL_S)
        if not ready:
            raise Standstill("nothing is scheduled and nobody sends: time stands still")
        return ready

    def close(self) -> None:
        self._real.close()

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()


class VirtualLoop(asyncio.SelectorEventLoop):
    """An asyncio loop in virtual time. A minute of it costs what happens in it, not what it lasts."""

    def __init__(self) -> None:
        self._virtual_now = START_AT
        self.when_idle: Callable[[], object] = lambda: False
        "Asked before time jumps; when true, it has made work, and time stays."
        super().__init__(VirtualSelector(self._advance))

    def time(self) -> float:
        """Virtual seconds."""
        return self._virtual_now

    def _advance(self, seconds: float) -> None:
        if not self.when_idle():
            self._virtual_now += seconds


class Clock:
    """Runs a `VirtualLoop` from a plain test function; a failure inside of it fails the test."""

    def __init__(self) -> None:
        self.loop = VirtualLoop()
        self.loop.set_debug(True)
        self.loop.set_exception_handler(self._on_exception)
        self._failures: list[str | BaseException] = []

    @property
    def now(self) -> float:
        """The loop's time, seconds."""
        return self.loop.time()

    def run(self, work: Coroutine[Any, Any, _T], *, limit_s: float = 600.0) -> _T:
        """The result of `work`; TimeoutError when it takes more than `limit_s` of virtual time."""
        result = self.loop.run_until_complete(asyncio.wait_for(work, limit_s))
        self._raise_failures()
        return result

    def run_for(self, seconds: float) -> None:
        """Let everything happen that happens within `seconds`."""
        self.run(asyncio.sleep(seconds), limit_s=seconds + 1)

    def run_until(self, condition: Callable[[], object], *, limit_s: float = 60.0) -> None:
        """Let things happen until `condition` is true; AssertionError when it is not after `limit_s`."""
        reached: asyncio.Future[None] = self.loop.create_future()

        def look() -> bool:
            if reached.done() or not condition():
                return False
            reached.set_result(None)
            return True

        async def wait() -> None:
            async with asyncio.timeout(limit_s):
                await reached

        self.loop.when_idle = look
        try:
            self.run(wait(), limit_s=limit_s + 1)
        except TimeoutError:
            raise AssertionError(f"still waiting after {limit_s:g} s") from None
        finally:
            self.loop.when_idle = lambda: False

    def close(self) -> None:
        """Cancel what still runs and close the loop."""
        tasks = asyncio.all_tasks(self.loop)
        for task in tasks:
            task.cancel()
        if tasks:
            self.loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()
        self._raise_failures()

    def _on_exception(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self._failures.append(context.get("exception") or str(context["message"]))

    def _raise_failures(self) -> None:
        if not self._failures:
            return
        failure = self._failures[0]
        self._failures.clear()
        if isinstance(failure, BaseException):
            raise failure
        raise AssertionError(failure)
