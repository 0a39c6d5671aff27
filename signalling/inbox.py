"""[io] What is posted to a session's task and not yet read."""

from __future__ import annotations

import asyncio

import structlog

from .commands import Drop, Finished, HangUp, Hold, LegEvent, LegsDropped

log = structlog.get_logger("signalling.inbox")

MAX_INBOX = 1000  # posted and not yet read; a call in order has a handful, so more is an attack or a stuck task

Posted = LegEvent | HangUp | Hold | Drop


class Inbox:
    """Written by everybody, read by one task."""

    __slots__ = ("_items", "_waiter")

    def __init__(self) -> None:
        self._items: list[Posted] = []
        self._waiter: asyncio.Future[None] | None = None

    def post(self, item: Posted) -> None:
        """Append. Past the limit, everything is dropped and the reader is told to end."""
        if len(self._items) >= MAX_INBOX:
            log.warning("session_inbox_full")
            self._items = [HangUp("inbox full", by="server")]
        else:
            self._items.append(item)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def next(self, deadline: float | None = None) -> LegEvent | Hold | None:
        """The next thing posted, or None once `deadline` (loop time) has passed.

        A hang-up command raises Finished, so that every flow obeys it wherever it waits; legs that are to go raise
        LegsDropped.
        """
        while not self._items:
            loop = asyncio.get_running_loop()
            self._waiter = loop.create_future()
            timer = None
            if deadline is not None:
                if loop.time() >= deadline:
                    return None
                timer = loop.call_at(deadline, _wake, self._waiter)
            try:
                await self._waiter
            finally:
                self._waiter = None
                if timer is not None:
                    timer.cancel()
        item = self._items.pop(0)
        if isinstance(item, HangUp):
            raise Finished(item.cause, by=item.by)
        if isinstance(item, Drop):
            raise LegsDropped(item.legs)
        return item

    def clear(self) -> list[Posted]:
        """Forget, and give back, what was not read."""
        items, self._items = self._items, []
        return items


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
