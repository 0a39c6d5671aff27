"""Sessions past and present: from memory while they are there, else from the database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .records import CallRow, ParticipantRecord, SessionRecord

if TYPE_CHECKING:
    from signalling import Registry

    from .database import Database
    from .writer import Writer


class History:
    """What the dialects read of one session. Raises StoreUnavailable (503) where only the database could tell."""

    def __init__(self, registry: Registry, database: Database, writer: Writer) -> None:
        raise NotImplementedError

    async def session(self, session_id: str) -> SessionRecord | None:
        """The session of that internal (decimal) id, with the roles in it; None when nobody knows it."""
        raise NotImplementedError

    async def participants(self, session_id: str) -> list[ParticipantRecord]:
        """All stays in it, in the order of coming; none for an unknown session."""
        raise NotImplementedError

    async def calls(self, session_id: str) -> list[CallRow]:
        """Its calls in their order; none for an unknown session."""
        raise NotImplementedError
