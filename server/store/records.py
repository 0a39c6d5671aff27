"""What is kept of a session, its participants and its calls: the same values from a live one and from the database.

Instants are milliseconds since the epoch, as in the database. A session's id is the decimal text that it has inside
the process, and a number in the database.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

from signalling import user_number

if TYPE_CHECKING:
    from signalling import Participant, People, Role, Session

JsonObject = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """A session as every dialect may show it; the columns of `sessions`."""

    id: str
    tenant: str
    made_by: str
    kind: str
    name: str
    channel_id: str
    channel_name: str
    status: str
    "CREATED, INVITED, ACTIVE, PAUSED, RESOLVED or ABANDONED (conformance C13)."
    host: str | None
    owner: str | None
    created_at: int
    started_at: int | None
    ended_at: int | None
    updated_at: int
    participants_count: int
    "Distinct users over its life (B22)."
    live_participants: int
    max_participants: int
    "Most at one time."
    participant_ms: int
    "Sum of all stays; those that go on are counted until `updated_at`."
    had_recording: bool
    client_id: str
    group_id: str | None
    parent_id: str | None
    image_url: str | None
    meta: JsonObject | None
    paused_at: int | None
    paused_by: str | None
    end_cause: str | None
    invitation_id: str | None
    user_data: str | None
    roles: Mapping[str, Role] = field(default_factory=dict, compare=False)
    "Users who take part, took part or have a role in the channel -> what they may do; empty in lists."

    @classmethod
    def from_row(cls, row: Sequence[Any], roles: Mapping[str, Role] | None = None) -> SessionRecord:
        """From the values of SESSION_COLUMNS, in their order."""
        session_id, *rest = row
        rest[_META] = None if rest[_META] is None else json.loads(rest[_META])
        rest[_HAD_RECORDING] = bool(rest[_HAD_RECORDING])
        values = (str(session_id), *rest, roles or {})
        return cls(*values)

    def role_of(self, user: str) -> Role | None:
        """What `user` may do with this session; None for a stranger."""
        return "host" if user == self.host else self.roles.get(user)


@dataclass(frozen=True, slots=True)
class ParticipantRecord:
    """One stay of a user; the columns of `participants`."""

    session_id: str
    idx: int
    "From 0, in the order of coming."
    tenant: str
    channel_id: str | None
    "None: the session's own."
    user_id: str
    user_number: int
    handle: str
    display_name: str | None
    custom_id: str | None
    preset: str | None
    role: Role
    joined_at: int
    left_at: int | None
    updated_at: int
    quality: JsonObject | None
    "The counters of media.LegStats, once the media is over."

    @classmethod
    def from_row(cls, row: Sequence[Any]) -> ParticipantRecord:
        """From the values of PARTICIPANT_COLUMNS, in their order."""
        session_id, *rest, quality = row
        values = (str(session_id), *rest, None if quality is None else json.loads(quality))
        return cls(*values)


@dataclass(frozen=True, slots=True)
class CallRow:
    """One caller-callee pair; the columns of `calls`. `talking_ms` is by the monotonic clock."""

    session_id: str
    idx: int
    tenant: str
    caller: str
    callee: str
    caller_display_name: str | None
    trunk: str | None
    started_at: int
    answered_at: int | None
    ended_at: int | None
    talking_ms: int
    sip_status: int | None
    reason: str | None
    hung_up_by: str | None
    codecs: str | None
    "Names, separated by commas: the caller's, then the callee's."
    quality: Sequence[JsonObject] | None
    "Of each party whose media went through us: `participant`, its index, and the counters of media.LegStats."
    user_data: str | None

    @classmethod
    def from_row(cls, row: Sequence[Any]) -> CallRow:
        """From the values of CALL_COLUMNS, in their order."""
        session_id, *rest, quality, user_data = row
        values = (str(session_id), *rest, None if quality is None else json.loads(quality), user_data)
        return cls(*values)


SESSION_COLUMNS = tuple(f.name for f in fields(SessionRecord) if f.name != "roles")
PARTICIPANT_COLUMNS = tuple(f.name for f in fields(ParticipantRecord))
CALL_COLUMNS = tuple(f.name for f in fields(CallRow))
_META = SESSION_COLUMNS.index("meta") - 1
_HAD_RECORDING = SESSION_COLUMNS.index("had_recording") - 1


# From live sessions. The values are those of the columns, in their order: rows for the database as they are.


def room_of(session: Session) -> str | None:
    """The channel in the rows of its participants and events: None where it is the session's own."""
    return None if session.channel is None else session.channel.id


def session_values(session: Session, number: int) -> tuple[Any, ...]:
    """The row of a live or retained session as it is now; `number` is its id."""
    participants = session.participants
    updated_at = session.updated_at
    present = 0
    stayed_s = 0.0
    for participant in participants:
        if participant.left_at is None:
            present += 1
            stayed_s += max(0.0, updated_at - participant.joined_at)
        else:
            stayed_s += participant.left_at - participant.joined_at
    count = len(participants)
    if count > 1:
        count = len({participant.user for participant in participants})
    channel = session.channel
    return (
        number,
        session.tenant,
        session.made_by,
        session.kind,
        session.name,
        session.channel_id,
        session.name if channel is None else channel.name,
        session.status,
        session.host,
        session.owner,
        number >> 20,
        round(participants[0].joined_at * 1000) if participants else None,
        _ms_or_none(session.ended_at),
        _ms(updated_at),
        count,
        present,
        session.max_present,
        _ms(stayed_s),
        False,
        session.client_id,
        session.group_id,
        session.parent_id,
        None if channel is None else channel.image_url,
        None if session.meta is None else encoded(session.meta),
        _ms_or_none(session.paused_at),
        session.paused_by,
        session.end_cause,
        session.invitation_id,
        session.user_data,
    )


def participant_values(session: Session, participant: Participant, number: int, people: People) -> tuple[Any, ...]:
    """The row of one stay; `number` is the session's id."""
    user = people.get(session.tenant, participant.user)
    stats = participant.stats
    return (
        number,
        participant.index,
        session.tenant,
        room_of(session),
        participant.user,
        user_number(session.tenant, participant.user) if user is None else user.number,
        participant.user if user is None else user.handle,
        participant.display_name,
        participant.custom_id,
        participant.preset,
        participant.role,
        _ms(participant.joined_at),
        _ms_or_none(participant.left_at),
        _ms(participant.joined_at if participant.left_at is None else participant.left_at),
        None if stats is None else encoded(_counters(stats)),
    )


def call_values(session: Session, index: int) -> tuple[Any, ...]:
    """The row of the call of that index."""
    call = session.calls[index]
    started_at = call.started_at.timestamp()
    quality = None
    if call.ended is not None and index == len(session.calls) - 1:
        # A leg's participant keeps the counters of its last call.
        quality = [
            {"participant": participant.index, **_counters(participant.stats)}
            for participant in session.participants
            if participant.stats is not None
        ]
    return (
        int(session.id),
        index,
        session.tenant,
        call.caller,
        call.callee,
        call.caller_display_name,
        call.trunk,
        _ms(started_at),
        None if call.answered is None else _ms(started_at + call.answered - call.began),
        None if call.ended is None else _ms(started_at + call.ended - call.began),
        call.talking_ms,
        call.status,
        call.reason,
        call.hung_up_by,
        ",".join(call.codecs) or None,
        encoded(quality) if quality else None,
        call.user_data,
    )


def session_record(session: Session) -> SessionRecord:
    """A live or retained session as it is now, with the roles in it."""
    channel = session.channel
    roles: dict[str, Role] = {} if channel is None else dict(channel.roles)
    if channel is not None and channel.owner is not None:
        roles[channel.owner] = "host"
    for participant in session.participants:
        role = session.role_of(participant.user)
        if role is not None:
            roles[participant.user] = role
    return SessionRecord.from_row(session_values(session, int(session.id)), roles)


def participant_records(session: Session, people: People) -> list[ParticipantRecord]:
    """All stays of a live or retained session, in the order of coming."""
    number = int(session.id)
    return [
        ParticipantRecord.from_row(participant_values(session, participant, number, people))
        for participant in session.participants
    ]


def call_rows(session: Session) -> list[CallRow]:
    """The calls of a live or retained session, in their order."""
    return [CallRow.from_row(call_values(session, index)) for index in range(len(session.calls))]


def encoded(value: object) -> str:
    """JSON text as the database has it."""
    try:
        return to_json(value, fallback=str).decode()
    except ValueError:  # half of a character, which JSON of ASCII alone can carry
        return json.dumps(value, separators=(",", ":"), default=str)


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _ms_or_none(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)


def _counters(stats: Any) -> dict[str, Any]:
    """Of the video only if there was any: rows are many."""
    counters = {name: getattr(stats, name) for name in stats.__dataclass_fields__}
    if counters["video"] is None:
        del counters["video"]
    else:
        counters["video"] = asdict(counters["video"])
    return counters
