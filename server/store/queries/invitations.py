"""What the invitation dialect asks of the database, and the rows of invitations and relationships."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import BigInteger, Integer, Select, Text, bindparam, case, func, select, union
from sqlalchemy.ext.asyncio import AsyncConnection

from signalling import ChatMessage, Delivery, Invitation, Invitee, Participant, Relationship, Session

from ..records import SESSION_COLUMNS, SessionRecord
from ..schema import chat_messages, invitations, participants, relationships, sessions

# Rows.


def invitation_row(invitation: Invitation) -> dict[str, Any]:
    """The columns of `invitations`."""
    return {
        "id": invitation.id,
        "session_id": int(invitation.session_id),
        "tenant": invitation.tenant,
        "inviter": invitation.inviter,
        "person_id": invitation.invitee.person_id,
        "email": invitation.invitee.email,
        "phone": invitation.invitee.phone,
        "name": invitation.invitee.name,
        "status": invitation.status,
        "created_at": _ms(invitation.created_at),
        "expires_at": _ms(invitation.expires_at),
        "resent_count": invitation.resent_count,
        "last_sent_at": _ms(invitation.last_sent_at),
        "responded_at": _ms(invitation.responded_at),
        "responded_by": invitation.responded_by,
        "decline_reason": invitation.decline_reason,
        "context": invitation.context,
        "relationship_id": invitation.relationship_id,
        "deliveries": json.dumps(
            {
                to: {"by": delivery.by, "state": delivery.state, "error": delivery.error, "at": _ms(delivery.at)}
                for to, delivery in invitation.deliveries.items()
            }
        ),
    }


def invitation_of(row: Mapping[str, Any]) -> Invitation:
    """From a row of `invitations`; the directory may know more of the person."""
    deliveries = {
        to: Delivery(to, told["by"], told["state"], told["error"], _s(told["at"]))
        for to, told in json.loads(row["deliveries"] or "{}").items()
    }
    return Invitation(
        id=row["id"],
        session_id=str(row["session_id"]),
        tenant=row["tenant"],
        inviter=row["inviter"],
        invitee=Invitee(row["person_id"], row["email"], row["phone"], row["name"]),
        created_at=row["created_at"] / 1000,
        expires_at=row["expires_at"] / 1000,
        relationship_id=row["relationship_id"] or "",
        status=row["status"],
        resent_count=row["resent_count"],
        last_sent_at=_s(row["last_sent_at"]),
        responded_at=_s(row["responded_at"]),
        responded_by=row["responded_by"],
        decline_reason=row["decline_reason"],
        context=row["context"],
        deliveries=deliveries,
    )


def relationship_row(relationship: Relationship) -> dict[str, Any]:
    """The columns of `relationships`."""
    return {
        "id": relationship.id,
        "tenant": relationship.tenant,
        "user_a": relationship.user_a,
        "user_b": relationship.user_b,
        "contact": relationship.contact,
        "created_at": _ms(relationship.created_at),
    }


def relationship_of(row: Mapping[str, Any]) -> Relationship:
    """From a row of `relationships`."""
    return Relationship(
        row["id"], row["tenant"], row["user_a"], row["user_b"], row["contact"], row["created_at"] / 1000
    )


def _ms(at: float | None) -> int | None:
    return None if at is None else round(at * 1000)


def _s(at: int | None) -> float | None:
    return None if at is None else at / 1000


# Restoring.


async def open_invitations(connection: AsyncConnection) -> list[Invitation]:
    """Those of sessions that have not ended: what signalling.Invitations held when the process stopped."""
    query = (
        select(invitations)
        .join(sessions, sessions.c.id == invitations.c.session_id)
        .where(sessions.c.ended_at.is_(None), invitations.c.status.in_(("PENDING", "ACCEPTED")))
        .order_by(invitations.c.session_id)
    )
    return [invitation_of(dict(row)) for row in (await connection.execute(query)).mappings()]


async def relationships_of_pairs(connection: AsyncConnection) -> list[Relationship]:
    """Those that began with a contact and are now between two users."""
    query = (
        select(relationships)
        .where(relationships.c.user_b.is_not(None), relationships.c.contact.is_not(None))
        .order_by(relationships.c.created_at)
    )
    return [relationship_of(dict(row)) for row in (await connection.execute(query)).mappings()]


# Reading.


@dataclass(frozen=True, slots=True)
class Stay:
    """A user's part in a session: from the first coming on, whether it is over or not."""

    user: str
    display_name: str | None
    joined_at: int
    "ms since the epoch."
    present: bool
    "Whether the user, or anybody else where it stands for the others, takes part now."


@dataclass(frozen=True, slots=True)
class Sitting:
    """A session with what the invitation dialect shows of it to one user."""

    session: SessionRecord
    mine: Stay | None
    other: Stay | None
    "Of the first of all others."
    invitation: Invitation | None


def sitting_of(session: Session, record: SessionRecord, user: str, invitation: Invitation | None) -> Sitting:
    """The same from a session in memory."""
    firsts: dict[bool, Participant] = {}
    present: set[bool] = set()
    for participant in session.participants:
        own = participant.user == user
        firsts.setdefault(own, participant)
        if participant.left_at is None:
            present.add(own)
    mine, other = (
        Stay(first.user, first.display_name, round(first.joined_at * 1000), own in present)
        if (first := firsts.get(own)) is not None
        else None
        for own in (True, False)
    )
    return Sitting(record, mine, other, invitation)


async def session_ids(
    connection: AsyncConnection, tenant: str, user: str, *, limit: int, before: int | None, status: str | None
) -> list[int]:
    """Sessions that `user` takes or took part in, or was asked to by name; newest first, from below `before`."""
    query = _ids(before is not None, status is not None)
    wanted = {"tenant": tenant, "user": user, "limit": limit, "before": before, "status": status}
    given = {name: value for name, value in wanted.items() if value is not None}
    return [row[0] for row in await connection.execute(query, given)]


@cache
def _ids(further: bool, of_status: bool) -> Select[Any]:
    """Both ways to a session in one statement, each read no further than the page goes."""
    here, asked = participants.c, invitations.c
    ways = []
    for query, key in (
        (select(here.session_id).distinct().where(here.tenant == _TENANT, here.user_id == _USER), here.session_id),
        (select(asked.session_id).where(asked.tenant == _TENANT, asked.person_id == _USER), asked.session_id),
    ):
        if further:
            query = query.where(key < bindparam("before", type_=BigInteger))
        if of_status:
            query = query.join(sessions, sessions.c.id == key).where(sessions.c.status == bindparam("status"))
        ways.append(select(query.order_by(key.desc()).limit(_LIMIT).subquery().c.session_id))
    found = union(*ways).subquery()
    return select(found.c.session_id).order_by(found.c.session_id.desc()).limit(_LIMIT)


async def sittings(connection: AsyncConnection, ids: Sequence[int], user: str) -> list[Sitting]:
    """These sessions as `user` is shown them, in the order of `ids`; unknown ones are left out."""
    if not ids:
        return []
    records: dict[str, tuple[SessionRecord, Invitation | None]] = {}
    for row in await connection.execute(_OF_IDS, {"ids": ids}):
        record = SessionRecord.from_row(row[: len(_SESSION)])
        asked = dict(zip(_INVITATION, row[len(_SESSION) :], strict=True))
        records[record.id] = record, None if asked["id"] is None else invitation_of(asked)
    stays = await _first_stays(connection, ids, user)
    return [
        Sitting(records[key][0], stays.get((key, True)), stays.get((key, False)), records[key][1])
        for key in map(str, ids)
        if key in records
    ]


_TENANT = bindparam("tenant", type_=Text)
_USER = bindparam("user", type_=Text)
_LIMIT = bindparam("limit", type_=Integer)
_SESSION = tuple(sessions.c[name] for name in SESSION_COLUMNS)
_INVITATION = tuple(invitations.c.keys())
_OF_IDS = (
    select(*_SESSION, *(invitations.c[name].label(f"invitation_{name}") for name in _INVITATION))
    .outerjoin_from(sessions, invitations, invitations.c.session_id == sessions.c.id)
    .where(sessions.c.id.in_(bindparam("ids", expanding=True)))
)


async def _first_stays(connection: AsyncConnection, ids: Sequence[int], user: str) -> dict[tuple[str, bool], Stay]:
    """(session, whether it is of `user`) -> the first stay."""
    own = participants.c.user_id == user
    here = case((participants.c.left_at.is_(None), 1), else_=0)
    firsts = (
        select(participants.c.session_id, func.min(participants.c.idx).label("idx"), func.max(here).label("present"))
        .where(participants.c.session_id.in_(ids))
        .group_by(participants.c.session_id, own)
        .subquery()
    )
    query = select(
        participants.c.session_id,
        participants.c.user_id,
        participants.c.display_name,
        participants.c.joined_at,
        firsts.c.present,
    ).join(firsts, (firsts.c.session_id == participants.c.session_id) & (firsts.c.idx == participants.c.idx))
    return {
        (str(session_id), who == user): Stay(who, name, joined_at, bool(present))
        for session_id, who, name, joined_at, present in await connection.execute(query)
    }


async def invitation(connection: AsyncConnection, invitation_id: str) -> Invitation | None:
    """The one of that id."""
    row = (await connection.execute(select(invitations).where(invitations.c.id == invitation_id))).mappings().first()
    return None if row is None else invitation_of(dict(row))


async def shared_sessions(
    connection: AsyncConnection, tenant: str, user: str, other: str | None, relationship_id: str
) -> tuple[int, int | None]:
    """How many sessions a relationship has had, and the id of the first."""
    shared: Any = select(invitations.c.session_id).where(
        invitations.c.relationship_id == relationship_id, invitations.c.tenant == tenant
    )
    if other is not None:
        one, two = participants.alias("one"), participants.alias("two")
        of_both = (
            select(one.c.session_id)
            .join(two, two.c.session_id == one.c.session_id)
            .where(one.c.tenant == tenant, one.c.user_id == user, two.c.tenant == tenant, two.c.user_id == other)
        )
        shared = union(shared, of_both)
    found = shared.subquery()
    count = select(func.count(found.c.session_id.distinct()), func.min(found.c.session_id))
    row = (await connection.execute(count)).one()
    return row[0], row[1]


async def messages(connection: AsyncConnection, session_id: int, *, limit: int, after: int | None) -> list[ChatMessage]:
    """What was said in a session, oldest first, from behind index `after`."""
    said = chat_messages.c
    query = select(
        said.idx, said.id, said.user_id, said.participant_idx, said.display_name, said.payload_type, said.payload,
        said.created_at,
    ).where(said.session_id == session_id)  # fmt: skip
    if after is not None:
        query = query.where(said.idx > after)
    rows = await connection.execute(query.order_by(said.idx).limit(limit))
    return [
        ChatMessage(
            index=row.idx,
            id=row.id,
            user=row.user_id,
            participant=row.participant_idx,
            display_name=row.display_name,
            payload_type=row.payload_type,
            payload=row.payload,
            at=row.created_at / 1000,
        )
        for row in rows
    ]
