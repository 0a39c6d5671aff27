"""What is kept of a session, its participants and its calls: the same values from a live one and from the database.

Instants are milliseconds since the epoch, as in the database. A session's id is the decimal text that it has inside
the process, and a number in the database.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from signalling import CallRecord, Participant, Role, Session

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
    owner: str
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
    "Users who take part or took part -> what they may do; filled in by `History.session`, empty in lists."

    @classmethod
    def from_row(cls, row: Sequence[Any]) -> SessionRecord:
        """From the values of SESSION_COLUMNS, in their order."""
        session_id, *rest = row
        rest[_META] = None if rest[_META] is None else json.loads(rest[_META])
        rest[_HAD_RECORDING] = bool(rest[_HAD_RECORDING])
        return cls(str(session_id), *rest)

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
    channel_id: str
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

    @classmethod
    def from_row(cls, row: Sequence[Any]) -> ParticipantRecord:
        """From the values of PARTICIPANT_COLUMNS, in their order."""
        session_id, *rest, quality = row
        return cls(str(session_id), *rest, None if quality is None else json.loads(quality))


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
    quality: JsonObject | None
    user_data: str | None

    @classmethod
    def from_row(cls, row: Sequence[Any]) -> CallRow:
        """From the values of CALL_COLUMNS, in their order."""
        session_id, *rest, quality, user_data = row
        return cls(str(session_id), *rest, None if quality is None else json.loads(quality), user_data)


SESSION_COLUMNS = tuple(f.name for f in fields(SessionRecord) if f.name != "roles")
PARTICIPANT_COLUMNS = tuple(f.name for f in fields(ParticipantRecord))
CALL_COLUMNS = tuple(f.name for f in fields(CallRow))
_META = SESSION_COLUMNS.index("meta") - 1
_HAD_RECORDING = SESSION_COLUMNS.index("had_recording") - 1


def session_record(session: Session) -> SessionRecord:
    """A live or retained session as it is now."""
    raise NotImplementedError


def participant_records(session: Session) -> list[ParticipantRecord]:
    """All stays of a live or retained session, in the order of coming."""
    raise NotImplementedError


def call_rows(session: Session) -> list[CallRow]:
    """The calls of a live or retained session, in their order."""
    raise NotImplementedError
