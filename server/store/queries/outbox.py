"""What the outbox and the list of dead letters read."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import Row, and_, func, or_, select

from ..schema import outbox
from .reading import reading

if TYPE_CHECKING:
    from ..database import Database

JsonObject = Mapping[str, Any]
State = Literal["pending", "delivered", "dead"]


@dataclass(frozen=True, slots=True)
class Delivery:
    """A row of `outbox`. Instants are milliseconds since the epoch."""

    id: str
    tenant: str
    kind: str
    lane: str
    target: str
    payload: JsonObject
    state: State
    attempts: int
    next_at: int | None
    created_at: int
    delivered_at: int | None
    last_error: str | None

    def outcome(self) -> dict[str, Any]:
        """The key, and the columns that an attempt changes, as the writer takes them."""
        return {
            "id": self.id,
            "state": self.state,
            "attempts": self.attempts,
            "next_at": self.next_at,
            "delivered_at": self.delivered_at,
            "last_error": self.last_error,
        }


COLUMNS = tuple(Delivery.__dataclass_fields__)
_COLUMNS = [outbox.c[name] for name in COLUMNS]
_PAYLOAD = COLUMNS.index("payload")


def _delivery(row: Row[Any]) -> Delivery:
    values = list(row)
    values[_PAYLOAD] = json.loads(values[_PAYLOAD] or "{}")
    return Delivery(*values)


@dataclass(frozen=True, slots=True)
class LanePlace:
    """A lane with something pending in it, and where the reading of lanes goes on after it."""

    lane: str
    kind: str
    target: str
    after: tuple[int, str]


async def first_of(database: Database, lanes: Collection[str], limit: int) -> dict[str, list[Delivery]]:
    """Of each lane its first `limit` pending deliveries in their order; a lane without any is left out."""
    pending = (
        select(
            outbox.c.id,
            func.row_number()
            .over(partition_by=outbox.c.lane, order_by=(outbox.c.created_at, outbox.c.id))
            .label("place"),
        )
        .where(outbox.c.lane.in_(list(lanes)), outbox.c.state == "pending")
        .subquery()
    )
    query = (
        select(*_COLUMNS)
        .join(pending, pending.c.id == outbox.c.id)
        .where(pending.c.place <= limit)
        .order_by(outbox.c.lane, outbox.c.created_at, outbox.c.id)
    )
    found: dict[str, list[Delivery]] = {}
    async with reading(database) as connection:
        for row in await connection.execute(query):
            delivery = _delivery(row)
            found.setdefault(delivery.lane, []).append(delivery)
    return found


async def pending_lanes(database: Database, after: tuple[int, str] | None, limit: int) -> list[LanePlace]:
    """Where something is pending, by (next_at, id), from behind `after` on; a lane may come more than once."""
    query = (
        select(outbox.c.lane, outbox.c.kind, outbox.c.target, outbox.c.next_at, outbox.c.id)
        .where(outbox.c.state == "pending")
        .order_by(outbox.c.next_at, outbox.c.id)
        .limit(limit)
    )
    if after is not None:
        at, id_ = after
        query = query.where(
            outbox.c.next_at >= at, or_(outbox.c.next_at > at, and_(outbox.c.next_at == at, outbox.c.id > id_))
        )
    async with reading(database) as connection:
        rows = await connection.execute(query)
        return [LanePlace(lane, kind, target, (at or 0, id_)) for lane, kind, target, at, id_ in rows]


async def delivery(database: Database, tenant: str, id: str) -> Delivery | None:
    """The delivery of that id."""
    query = select(*_COLUMNS).where(outbox.c.id == id, outbox.c.tenant == tenant)
    async with reading(database) as connection:
        row = (await connection.execute(query)).first()
        return None if row is None else _delivery(row)


async def dead(
    database: Database,
    tenant: str,
    *,
    limit: int,
    after: tuple[int, str] | None = None,
    kind: str | None = None,
    target: str | None = None,
) -> Sequence[Delivery]:
    """Deliveries that were given up, oldest first, from behind `after`, a pair of created_at and id, on."""
    query = (
        select(*_COLUMNS)
        .where(outbox.c.tenant == tenant, outbox.c.state == "dead")
        .order_by(outbox.c.created_at, outbox.c.id)
        .limit(limit)
    )
    if kind is not None:
        query = query.where(outbox.c.kind == kind)
    if target is not None:
        query = query.where(outbox.c.target == target)
    if after is not None:
        at, id_ = after
        query = query.where(or_(outbox.c.created_at > at, and_(outbox.c.created_at == at, outbox.c.id > id_)))
    async with reading(database) as connection:
        return [_delivery(row) for row in await connection.execute(query)]
