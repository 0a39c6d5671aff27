"""[io] The outbox: what must reach somebody outside, kept in the database until it has.

A lane keeps its order: its next delivery begins when the one before it was delivered or given up. Lanes run beside
each other. Every attempt carries the same id, and one that succeeded may be repeated after a crash (at least once).
The database is the one truth: memory holds the names of lanes, and what the busy ones deliver next.
"""

from __future__ import annotations

import asyncio
import json
import random
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

import structlog

from ..errors import ServerError
from ..store.queries import outbox as stored
from ..store.queries.outbox import Delivery
from ..store.writer import StoreUnavailable
from .lanes import Lane, Lanes

if TYPE_CHECKING:
    from ..store.database import Database
    from ..store.writer import Mode

log = structlog.get_logger("server.delivery.outbox")

JsonObject = Mapping[str, Any]
State = Literal["pending", "delivered", "dead"]

ROWS_A_TURN = 8  # of a lane in memory; then the other lanes have their turn
LANES_A_READ = 1000  # when lanes are looked for in the database
SCAN_EVERY_S = 5.0  # at most, while there are more lanes than memory holds
NO_DELIVERER_S = 60.0  # rest of a lane whose kind nobody delivers
STORE_DOWN_S = 1.0  # before the database is asked again
ATTEMPT_S = 60.0  # a deliverer has a shorter limit of its own; this one is for its faults
READ_S = 5.0  # for a query under way when the server stops
CLOSE_S = 2.0  # for attempts under way when the server stops
MAX_ERROR = 500  # characters of a reason that are kept
LONGEST_WAIT_S = 3600.0  # between two looks at the clock


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

    def write(self, table: str, row: Mapping[str, Any], mode: Mode = ...) -> None:
        """Take a row for the next flush."""

    async def settled(self) -> None:
        """Return when all that was written before is committed. StoreUnavailable when the database is down."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """When to try again: `first_s * factor**n` seconds, at most `limit_s`, less up to half by chance."""

    first_s: float = 2.0
    factor: float = 4.0
    limit_s: float = 3600.0
    attempts: int = 10
    "After so many failures the delivery is dead."

    def after(self, attempts: int, chance: float) -> float:
        """Seconds to wait after `attempts` failures; `chance` is from 0 to 1."""
        longest = min(self.limit_s, self.first_s * self.factor ** min(attempts - 1, 64))
        return longest * (1 - chance / 2)


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


@dataclass(frozen=True, slots=True)
class _Kind:
    deliverer: Deliverer
    backoff: Backoff
    on_result: Callable[[Result], None] | None


class Outbox:
    """Durable deliveries. Register the deliverers, then `start`."""

    def __init__(
        self,
        writer: Rows,
        database: Database,
        clock: Callable[[], float],
        *,
        at_once: int = 128,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`clock`: seconds since the epoch. `at_once`: lanes that deliver at the same time."""
        self._writer = writer
        self._database = database
        self._clock = clock
        self._chance = chance
        self._kinds: dict[str, _Kind] = {}
        self._lanes = Lanes(at_once=at_once)
        self._last_id = 0
        self._mark = secrets.token_hex(2)
        "Ids of two processes differ even when the clock was set back between them."
        self._scan_after: tuple[int, str] | None = None
        self._scanning = True
        self._missed = False
        self._scan_at = 0.0
        self._wake = asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None
        self._attempts: set[asyncio.Task[None]] = set()

    def register(
        self,
        kind: str,
        deliverer: Deliverer,
        *,
        backoff: Backoff | None = None,
        on_result: Callable[[Result], None] | None = None,
    ) -> None:
        """Let `deliverer` carry out what is put as `kind`; `on_result` is told of every attempt, and must be short."""
        self._kinds[kind] = _Kind(deliverer, backoff or Backoff(), on_result)

    def put(self, kind: str, tenant: str, lane: str, target: str, payload: JsonObject, *, id: str | None = None) -> str:
        """Take a delivery; durable with the writer's next flush, attempted after it. Returns its id.

        An `id` that was put before is not delivered a second time.
        """
        row = self.row(kind, tenant, lane, target, payload, id=id)
        self._writer.write("outbox", row, "insert")
        self.stir(kind, lane, target)
        return str(row["id"])

    def row(
        self, kind: str, tenant: str, lane: str, target: str, payload: JsonObject, *, id: str | None = None
    ) -> dict[str, Any]:
        """The row of a new delivery, for who writes it in a transaction of its own; then `stir` its lane."""
        now = self._clock()
        self._last_id = max(self._last_id + 1, int(now * 1_000_000))
        at_ms = int(now * 1000)
        return {
            "id": f"dlv_{self._last_id:016d}{self._mark}" if id is None else id,
            "tenant": tenant,
            "kind": kind,
            "lane": lane,
            "target": target,
            "payload": json.dumps(payload),
            "state": "pending",
            "attempts": 0,
            "next_at": at_ms,
            "created_at": at_ms,
            "delivered_at": None,
            "last_error": None,
        }

    def stir(self, kind: str, lane: str, target: str, *, now: bool = False) -> None:
        """Something was put into `lane`; `now` tries it even while the lane rests after a failure."""
        if not self._lanes.stir(lane, f"{kind} {target}", now=now):
            self._missed = True
        self._wake.set()

    async def redeliver(self, tenant: str, id: str) -> bool:
        """Try a dead or delivered one again, from the first attempt on. False when `tenant` has none of that id.

        One that is pending is tried at once, as one more of its attempts. StoreUnavailable when the database is down.
        """
        await self._writer.settled()
        found = await stored.delivery(self._database, tenant, id)
        if found is None:
            return False
        self.again(found)
        return True

    def again(self, found: Delivery) -> None:
        """Try one that was just read again, as `redeliver` does."""
        if found.state != "pending":
            again = replace(found, state="pending", attempts=0, next_at=int(self._clock() * 1000), delivered_at=None)
            self._writer.write("outbox", again.outcome())
        self.stir(found.kind, found.lane, found.target, now=True)

    async def start(self) -> None:
        """Begin to deliver, first what is still pending in the database."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """Stop. Attempts under way get a short time, then they are left for the next start."""
        if self._task is None:
            return
        # A query is let come to its end: one that is cut off costs its connection.
        self._closing = True
        self._wake.set()
        await asyncio.wait([self._task], timeout=READ_S)
        self._task.cancel()
        await asyncio.wait([self._task])
        self._task = None
        if self._attempts:
            _, late = await asyncio.wait(self._attempts, timeout=CLOSE_S)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)

    def look(self) -> None:
        """Look at the clock again: whoever moves it by hand says so."""
        self._wake.set()

    # The worker.

    async def _run(self) -> None:
        while not self._closing:
            self._wake.clear()
            try:
                await self._scan()
                self._lanes.wake(self._clock())
                picked = self._lanes.pick()
                if picked:
                    await self._begin(picked)
                    continue
            except StoreUnavailable as error:
                log.warning("outbox_waits_for_the_database", error=str(error))
                await self._pause(STORE_DOWN_S)
                continue
            await self._pause()

    async def _pause(self, wait_s: float | None = None) -> None:
        """`wait_s`, or until something is put in, a lane ends its turn, a rest is over."""
        if self._closing:
            return
        if wait_s is None:
            await self._wait(self._until_due())
        else:
            until = asyncio.get_running_loop().time() + wait_s
            while not self._closing and (left_s := until - asyncio.get_running_loop().time()) > 0:
                self._wake.clear()
                await self._wait(left_s)

    def _until_due(self) -> float:
        """Seconds until there may be something to do that nobody wakes us for."""
        if self._lanes.busy >= self._lanes.at_once:
            return LONGEST_WAIT_S
        due = [at for at in (self._lanes.deadline, self._scan_at if self._missed else None) if at is not None]
        return min([LONGEST_WAIT_S, *(max(0.0, at - self._clock()) for at in due)])

    async def _wait(self, wait_s: float) -> None:
        try:
            async with asyncio.timeout(wait_s):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _scan(self) -> None:
        """Look for lanes in the database: at the start, and for those that memory had no room for."""
        if not self._scanning:
            if not self._missed or self._clock() < self._scan_at:
                return
            self._scanning, self._missed, self._scan_after = True, False, None
        await self._writer.settled()
        while True:
            places = await stored.pending_lanes(self._database, self._scan_after, LANES_A_READ)
            for place in places:
                if not self._lanes.stir(place.lane, f"{place.kind} {place.target}"):
                    self._missed = True
                    break
                self._scan_after = place.after
            if self._missed or self._closing or len(places) < LANES_A_READ:
                break
        self._scanning = False
        self._scan_at = self._clock() + SCAN_EVERY_S

    async def _begin(self, picked: list[Lane]) -> None:
        """Read what comes next in these lanes, and let each deliver it in a task."""
        try:
            await self._writer.settled()
            found = await stored.first_of(self._database, [lane.name for lane in picked], ROWS_A_TURN)
        except BaseException:
            for lane in picked:
                self._lanes.requeue(lane)
            raise
        now = self._clock()
        for lane in picked:
            rows = found.get(lane.name)
            if not rows:
                self._lanes.drop(lane)
            elif (next_at := (rows[0].next_at or 0) / 1000) > now:
                self._lanes.rest(lane, next_at)
            else:
                task = asyncio.get_running_loop().create_task(self._turn(lane, rows))
                self._attempts.add(task)
                task.add_done_callback(self._ended)

    async def _turn(self, lane: Lane, rows: list[Delivery]) -> None:
        """Deliver `rows`, which are the next of `lane`, until one has to wait."""
        rest_until: float | None = None
        left = len(rows)
        try:
            for row in rows:
                kind = self._kinds.get(row.kind)
                if kind is None:
                    log.error("outbox_kind_unknown", kind=row.kind, id=row.id)
                    rest_until = self._clock() + NO_DELIVERER_S
                    break
                done = await self._attempt(kind, row)
                self._writer.write("outbox", done.outcome())
                _tell(kind, done)
                if done.state == "pending":
                    rest_until = (done.next_at or 0) / 1000
                    break
                left -= 1
        finally:
            if rest_until is not None:
                self._lanes.rest(lane, rest_until)
            elif left or len(rows) == ROWS_A_TURN:
                self._lanes.requeue(lane)
            else:
                self._lanes.drop(lane)
            self._wake.set()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._attempts.discard(task)
        if not task.cancelled() and (fault := task.exception()) is not None:
            log.error("outbox_turn_failed", error=repr(fault))

    async def _attempt(self, kind: _Kind, row: Delivery) -> Delivery:
        """Try once; the row as it is after that."""
        attempts = row.attempts + 1
        after_s: float | None = None
        limit = asyncio.timeout(ATTEMPT_S)
        try:
            async with limit:
                await kind.deliverer.deliver(row.id, row.payload, row.target)
        except Refused as refused:
            return self._dead(row, attempts, str(refused))
        except RetryLater as later:
            error, after_s = str(later), later.after_s
        except Exception as fault:  # A deliverer's fault is its own: the others go on, and this one is tried again.
            error = f"no result within {ATTEMPT_S:.0f} s" if limit.expired() else repr(fault)
            log.exception("deliverer_failed", kind=row.kind, id=row.id)
        else:
            return replace(
                row,
                state="delivered",
                attempts=attempts,
                next_at=None,
                delivered_at=int(self._clock() * 1000),
                last_error=None,
            )
        if attempts >= kind.backoff.attempts:
            return self._dead(row, attempts, error)
        wait_s = kind.backoff.after(attempts, self._chance())
        if after_s is not None:
            wait_s = max(wait_s, min(after_s, kind.backoff.limit_s))
        next_at = int((self._clock() + wait_s) * 1000)
        return replace(row, attempts=attempts, next_at=next_at, last_error=error[:MAX_ERROR])

    def _dead(self, row: Delivery, attempts: int, error: str) -> Delivery:
        log.warning("delivery_dead", kind=row.kind, id=row.id, target=row.target, attempts=attempts, error=error)
        return replace(row, state="dead", attempts=attempts, next_at=None, last_error=error[:MAX_ERROR])


def _tell(kind: _Kind, done: Delivery) -> None:
    if kind.on_result is not None:
        kind.on_result(
            Result(
                done.id,
                done.kind,
                done.tenant,
                done.lane,
                done.target,
                done.payload,
                done.state,
                done.attempts,
                done.last_error,
            )
        )
