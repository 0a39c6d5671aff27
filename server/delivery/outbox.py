"""[io] The outbox: what must reach somebody outside, kept in the database until it has.

A lane keeps its order: its next delivery begins when the one before it was delivered or given up. Lanes run beside
each other. Every attempt carries the same id, and one that succeeded may be repeated after a crash (at least once).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from ..errors import ServerError

JsonObject = Mapping[str, Any]
State = Literal["pending", "delivered", "dead"]


class Refused(ServerError):
    """The target will never take this delivery: no further attempt; it is kept as dead."""


class RetryLater(ServerError):
    """The attempt failed for now. `after_s`: seconds that the target asked for, None leaves it to the back-off."""

    def __init__(self, reason: str, after_s: float | None = None) -> None:
        super().__init__(reason)
        self.after_s = after_s


class Deliverer(Protocol):
    """Carries out the deliveries of one kind."""

    async def deliver(self, id: str, payload: JsonObject, target: str) -> None:
        """Hand `payload` to `target`. Raises Refused or RetryLater; any other exception counts as RetryLater."""


class Rows(Protocol):
    """What the outbox needs of the batching writer."""

    def write(self, table: str, row: Mapping[str, Any], mode: Literal["upsert", "insert", "delete"] = ...) -> None:
        """Take a row for the next flush."""

    async def settled(self) -> None:
        """Return when all that was written before is committed. Raises when the database is down."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """When to try again: `first_s * factor**n` seconds, at most `limit_s`, less up to half by chance."""

    first_s: float = 2.0
    factor: float = 4.0
    limit_s: float = 3600.0
    attempts: int = 10
    "After so many failures the delivery is dead."


@dataclass(frozen=True, slots=True)
class Result:
    """How an attempt went: `state` is "pending" when another one follows."""

    id: str
    kind: str
    tenant: str
    lane: str
    target: str
    payload: JsonObject
    state: State
    attempts: int
    error: str | None
    "Why it failed; None when it was delivered."


class Outbox:
    """Durable deliveries. Register the deliverers, then `start`."""

    def __init__(self, writer: Rows, database: Any, clock: Callable[[], float], *, at_once: int = 128) -> None:
        """`clock`: seconds since the epoch. `at_once`: lanes that deliver at the same time."""
        raise NotImplementedError

    def register(
        self,
        kind: str,
        deliverer: Deliverer,
        *,
        backoff: Backoff | None = None,
        on_result: Callable[[Result], None] | None = None,
    ) -> None:
        """Let `deliverer` carry out what is put as `kind`; `on_result` is told of every attempt, and must be short."""
        raise NotImplementedError

    def put(self, kind: str, tenant: str, lane: str, target: str, payload: JsonObject, *, id: str | None = None) -> str:
        """Take a delivery; durable with the writer's next flush, attempted after it. Returns its id.

        An `id` that was put before is not delivered a second time.
        """
        raise NotImplementedError

    async def redeliver(self, tenant: str, id: str) -> bool:
        """Try a dead or delivered one again, from the first attempt on. False when `tenant` has none of that id."""
        raise NotImplementedError

    async def start(self) -> None:
        """Begin to deliver, first what is still pending in the database."""
        raise NotImplementedError

    async def close(self) -> None:
        """Stop. Attempts under way get a short time, then they are left for the next start."""
        raise NotImplementedError
