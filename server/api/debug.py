"""What the process holds at this moment, for operators and leak tests."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import RootModel

from .health import PlainError, plain_error
from .openapi import Call, Dialect, operation, operations_of

TAG = "Debugging"


class Counts(RootModel[dict[str, int]]):
    """How many there are of each thing that calls are made of; all but what is kept on purpose returns to rest."""


class DebugApi:
    """For administrators alone."""

    def __init__(self, counts: Callable[[], dict[str, int]]) -> None:
        self._counts = counts

    def dialect(self) -> Dialect:
        """The routes of this API."""
        return Dialect(TAG, "What the process holds.", operations_of(self), plain_error, PlainError)

    @operation(
        "GET",
        "/debug/counts",
        summary="Count sessions, transactions, ports and tasks",
        tag=TAG,
        permission="debug.counts",
    )
    async def counts(self, call: Call) -> Counts:
        """Sessions, transactions, dialogs, calls, media ports and tasks; needs an admin's token."""
        return Counts(self._counts())
