"""[io] The batching writer: what happens is in the database a tenth of a second later, and no call waits for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from signalling import EventBus, Happening, Session

    from .database import Database

Mode = Literal["upsert", "insert", "delete"]
Row = Mapping[str, Any]


class StoreUnavailable(Exception):
    """The database is down; becomes a SignallingError with status 503."""


class Write(NamedTuple):
    """A row on its way into the database."""

    table: str
    row: Row
    "Column -> value as the database has it: instants in ms, JSON as text."
    mode: Mode = "upsert"
    "upsert: by primary key, the other columns given are set; insert: ignored when the key is there; delete: by the row."


BeforeCommit = Callable[[Sequence["Happening"]], Iterable[Write]]
"Rows that must be committed together with the events they come from."


class Writer:
    """Takes rows and events at once, and writes them in order, in one transaction each FLUSH_S at most."""

    def __init__(self, database: Database, *, spool: Path | None = None) -> None:
        """`spool`: the folder that keeps what the database does not take; None for a database in memory."""
        self.before_commit: list[BeforeCommit] = []
        raise NotImplementedError

    def follow(self, bus: EventBus) -> None:
        """Write every event of `bus` from now on, and the sessions that they change."""
        raise NotImplementedError

    def touch(self, session: Session) -> None:
        """Write a session as it is at the next flush: something changed that was no event."""
        raise NotImplementedError

    def write(self, table: str, row: Row, mode: Mode = "upsert") -> None:
        """Take a row for the next flush; rows of one table keep their order. KeyError for an unknown table or column."""
        raise NotImplementedError

    async def settled(self) -> None:
        """Return when all that was written before is committed. StoreUnavailable (503) when the database is down."""
        raise NotImplementedError

    async def start(self) -> None:
        """Put what an earlier process had to spool into the database, then begin to write."""
        raise NotImplementedError

    async def close(self) -> None:
        """Write what is pending, to the spool if the database does not take it, and stop."""
        raise NotImplementedError
