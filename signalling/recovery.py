"""What a former process left: sessions that go on, and calls that were cut off when it died."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from .commands import CallRecord, Finished
from .participants import Participant
from .session import Session

if TYPE_CHECKING:
    from .registry import Registry

INTERRUPTED = "interrupted"


def cut_off_session(registry: Registry, session_id: str, **fields: Any) -> Session:
    """A session whose calls died with the process that had it: made like by `Registry.restore`, but not live."""
    return Session(
        session_id,
        bus=registry.bus,
        clock=registry.switch.sip.now,
        on_answer=_nobody,
        on_end=_nobody,
        **fields,
    )


def recall(
    session: Session,
    *,
    seq: int,
    updated_at: float,
    participants: Iterable[Participant],
    calls: Iterable[CallRecord],
) -> None:
    """Let a session know its past: who took part, its calls, and the number of its last event."""
    session.last_seq = seq
    session.updated_at = updated_at
    session.participants = list(participants)
    session.calls = list(calls)
    if not session.present():
        session.empty_since = updated_at


def interrupt(session: Session, at: float) -> None:
    """End a session that was cut off; it was last known to go on at `at`, seconds since the epoch."""
    end = Finished(INTERRUPTED, by="server", status=503)
    if session.in_call:
        call = session.call
        session.close_call(end, call.began + at - call.started_at.timestamp())
    session._end(end, at)


def past_call(record: CallRecord, *, answered_s: float | None, ended_s: float | None) -> CallRecord:
    """`record` by a clock that stands still at its beginning: answered and ended so many seconds after it."""
    record.clock = _beginning
    record.began = 0.0
    record.answered = answered_s
    record.ended = ended_s
    return record


def _beginning() -> float:
    return 0.0


def _nobody(_session: Session) -> None:
    """Nobody counts a session that is not live."""
