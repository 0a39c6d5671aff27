"""[io] Idempotency keys: a request that is sent again gets the answer of the first, and nothing is done twice."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from ..errors import ApiError

TTL_S = 24 * 3600.0  # a client that retries later than a day has lost interest
MAX_KEYS = 20_000  # about 10 MB; beyond, the oldest finished ones are forgotten
MAX_KEY_LENGTH = 255

Answer = TypeVar("Answer")
Scope = tuple[str, ...]
"Who used the key and for which operation: others may use the same key for something else."


@dataclass(slots=True)
class _Entry(Generic[Answer]):
    fingerprint: str
    future: asyncio.Future[Answer]
    forget_at: float


class IdempotencyStore(Generic[Answer]):
    """Remembers answers by key. Only in memory: a restart forgets them, as it ends the calls that they made."""

    def __init__(self, *, ttl_s: float = TTL_S, max_keys: int = MAX_KEYS) -> None:
        self._ttl_s = ttl_s
        self._max_keys = max_keys
        self._entries: OrderedDict[tuple[Scope, str], _Entry[Answer]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    async def once(
        self,
        scope: Scope,
        key: str,
        fingerprint: str,
        act: Callable[[], Awaitable[Answer]],
        *,
        now: float,
    ) -> Answer:
        """The answer of `act`, or that of an earlier request with this key; one in flight is waited for.

        `fingerprint` stands for the content of the request: another one with the same key is refused with 422.
        A refusal of `act` (ApiError below 500, or 503) did nothing, so it is told to those who wait and then
        forgotten: the same request may be tried again. Any other error is kept, because something may have been done.
        """
        name = (scope, key)
        self._forget_old(now)
        entry = self._entries.get(name)
        if entry is not None:
            if entry.fingerprint != fingerprint:
                raise ApiError(422, "IDEMPOTENCY_KEY_REUSED", "this Idempotency-Key was used with another request")
            return await asyncio.shield(entry.future)
        self._make_room()
        entry = _Entry(fingerprint, asyncio.get_running_loop().create_future(), now + self._ttl_s)
        self._entries[name] = entry
        try:
            answer = await act()
        except BaseException as error:  # whatever it was, those who wait must be told
            self._fail(name, entry, error)
            raise
        entry.future.set_result(answer)
        return answer

    def _fail(self, name: tuple[Scope, str], entry: _Entry[Answer], error: BaseException) -> None:
        if isinstance(error, ApiError) and (error.status < 500 or error.status == 503):
            del self._entries[name]
        if isinstance(error, asyncio.CancelledError):
            # The server stops, or the client went away: whether a call was made is not known.
            error = ApiError(503, "INTERRUPTED", "the first request with this Idempotency-Key was interrupted")
        entry.future.set_exception(error)
        entry.future.exception()  # nobody may be waiting, which is no mistake

    def _forget_old(self, now: float) -> None:
        while self._entries:
            name, entry = next(iter(self._entries.items()))
            if entry.forget_at > now:
                break
            if not entry.future.done():
                self._entries.move_to_end(name)
                break
            del self._entries[name]

    def _make_room(self) -> None:
        while len(self._entries) >= self._max_keys:
            finished = next((name for name, entry in self._entries.items() if entry.future.done()), None)
            if finished is None:
                raise ApiError(
                    503, "LIMIT_REACHED", "too many requests are being worked on", headers={"Retry-After": "1"}
                )
            del self._entries[finished]
