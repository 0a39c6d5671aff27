"""What was written and not yet taken for a batch: events, the sessions that they change, and rows of other kinds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import structlog

from signalling import CallEnded, ChatSent, Happening, ParticipantJoined, ParticipantLeft, People, Session, wire_kind

from .records import (
    CALL_COLUMNS,
    PARTICIPANT_COLUMNS,
    SESSION_COLUMNS,
    call_values,
    encoded,
    participant_values,
    room_of,
    session_values,
)
from .statements import Batch, Mode, Run, check_columns, row_values

log = structlog.get_logger("server.store.pending")

MAX_EVENTS = 1000  # of one batch: with their sessions, some 10 ms of work between two turns of the loop

Row = Mapping[str, Any]


class Write(NamedTuple):
    """A row on its way into the database."""

    table: str
    row: Row
    "Column -> value as the database has it: instants in ms; a dict or a list becomes JSON."
    mode: Mode = "upsert"
    """upsert: put in the place of the row of its key; a row that lacks required columns changes one that is there.
    insert: ignored when a row is in its way. delete: all rows that are like this one in its columns."""


BeforeCommit = Callable[[Sequence[Happening]], Iterable[Write]]
"Rows that must be committed together with the events they come from."

EVENT_COLUMNS = ("position", "session_id", "tenant", "channel_id", "seq", "kind", "at", "data")
CHAT_COLUMNS = (
    "session_id",
    "idx",
    "id",
    "tenant",
    "user_id",
    "participant_idx",
    "display_name",
    "payload_type",
    "payload",
    "pinned",
    "edited",
    "created_at",
)


class _Touched:
    """A session to be written, and what of it besides its own row."""

    __slots__ = ("all", "calls", "number", "participants")

    def __init__(self, session: Session) -> None:
        self.number = int(session.id)
        self.participants: set[int] = set()
        self.calls: set[int] = set()
        self.all = False


class Rows:
    """Rows by table and mode, in an order that keeps that of each table."""

    def __init__(self) -> None:
        self.runs: Batch = []
        self._last: dict[str, Run] = {}
        self._checked: set[tuple[str, Mode, tuple[str, ...]]] = set()

    def add(self, write: Write) -> None:
        """Put a row after all of its table. KeyError for an unknown table or column, TypeError for a strange value."""
        table, row, mode = write
        columns = tuple(row)
        values = row_values(row)
        run = self._last.get(table)
        if run is None or run.mode != mode or run.columns != columns:
            key = (table, mode, columns)
            if key not in self._checked:
                check_columns(*key)
                self._checked.add(key)
            run = self._last[table] = Run(table, mode, columns, [])
            self.runs.append(run)
        run.rows.append(values)

    def take(self) -> Batch:
        """All of it, which is then gone from here."""
        runs, self.runs = self.runs, []
        self._last.clear()
        return runs


class Pending:
    """Taken in at once and in order; made into rows later, so that what changes often is written once."""

    def __init__(self) -> None:
        self.people: People | None = None
        "Who the participants are."
        self.happenings: list[Happening] = []
        self.touched: list[Session] = []
        self.rows = Rows()

    def __bool__(self) -> bool:
        return bool(self.happenings or self.touched or self.rows.runs)

    def take(self, hooks: Sequence[BeforeCommit]) -> Batch:
        """The next batch: at most MAX_EVENTS events and what belongs to them; ask again while there is more."""
        happenings = self.happenings[:MAX_EVENTS]
        del self.happenings[:MAX_EVENTS]
        sessions: dict[Session, _Touched] = {}
        for session in self.touched:
            sessions[session] = touched = _Touched(session)
            touched.all = True
        self.touched.clear()
        events = _event_runs(happenings, sessions)
        batch = self._session_runs(sessions)
        batch += self.rows.take()
        batch += events
        if happenings:
            batch += _runs_of(hooks, happenings)
        return [run for run in batch if run.rows]

    def _session_runs(self, sessions: Mapping[Session, _Touched]) -> Batch:
        session_rows: list[tuple[Any, ...]] = []
        participant_rows: list[tuple[Any, ...]] = []
        call_rows: list[tuple[Any, ...]] = []
        for session, touched in sessions.items():
            number = touched.number
            stays = session.participants
            if not touched.all:
                stays = [stays[index] for index in sorted(touched.participants) if index < len(stays)]
            if session.calls:
                touched.calls.add(len(session.calls) - 1)
            indices = range(len(session.calls)) if touched.all else sorted(touched.calls)
            try:
                session_rows.append(session_values(session, number))
                if self.people is not None:
                    for stay in stays:
                        participant_rows.append(participant_values(session, stay, number, self.people))
                call_rows += [call_values(session, index) for index in indices]
            except Exception:  # a fault of ours in one session must not cost the history of the others
                log.exception("session_not_written", session=session.id)
        return [
            Run("sessions", "upsert", SESSION_COLUMNS, session_rows),
            Run("participants", "upsert", PARTICIPANT_COLUMNS, participant_rows),
            Run("calls", "upsert", CALL_COLUMNS, call_rows),
        ]


def _event_runs(happenings: Sequence[Happening], sessions: dict[Session, _Touched]) -> Batch:
    """Rows of events, and of what was said; notes in `sessions` what the events changed."""
    rows: list[tuple[Any, ...]] = []
    chat: list[tuple[Any, ...]] = []
    for position, session, kind, seq, at, fields in happenings:
        touched = sessions.get(session)
        if touched is None:
            touched = sessions[session] = _Touched(session)
        if kind is ParticipantJoined or kind is ParticipantLeft:
            touched.participants.add(fields["participant"])
        elif kind is CallEnded:
            touched.calls.add(fields["call"])
        elif kind is ChatSent:
            chat.append(_chat_row(session, fields, at))
        rows.append(
            (
                position,
                touched.number,
                session.tenant,
                room_of(session),
                seq,
                wire_kind(kind),
                round(at * 1000),
                encoded(fields),
            )
        )
    return [Run("events", "insert", EVENT_COLUMNS, rows), Run("chat_messages", "upsert", CHAT_COLUMNS, chat)]


def _chat_row(session: Session, fields: Mapping[str, Any], at: float) -> tuple[Any, ...]:
    return (
        int(session.id),
        fields["index"],
        fields["id"],
        session.tenant,
        fields["user"],
        fields["participant"],
        fields["display_name"],
        fields["payload_type"],
        fields["payload"],
        False,
        False,
        round(at * 1000),
    )


def _runs_of(hooks: Sequence[BeforeCommit], happenings: Sequence[Happening]) -> Batch:
    rows = Rows()
    for hook in hooks:
        try:
            for write in hook(happenings):
                rows.add(write)
        except Exception:  # a fault of ours in one follower must not cost the history
            log.exception("hook_failed", hook=repr(hook))
    return rows.take()
