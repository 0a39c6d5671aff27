"""[io] One batch into the database: all of it or nothing, but for rows that the database will never take."""

from __future__ import annotations

import asyncio
from itertools import chain
from typing import Any

import structlog
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

from .database import Database
from .statements import Batch, Run, Statements

log = structlog.get_logger("server.store.transfer")

COMMIT_S = 10.0  # PostgreSQL: a transaction that takes longer has lost its server
OF_A_ROW = frozenset(["22", "23", "54"])
"Classes of SQLSTATE that blame a row: strange data, a broken constraint, a text too long for an index."
LONG = 2000  # bytes of a text that fits every index of PostgreSQL, with what stands beside it


class Transfer:
    """Writes batches, one at a time."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._statements = Statements(database.engine.dialect)
        self._limit_s = COMMIT_S if database.kind == "postgresql" else None  # a file answers, or waiting is all one can
        self.refused_rows = 0
        "Rows that the database would not take for what is in them."

    async def write(self, batch: Batch) -> None:
        """Commit `batch`. Any exception says that nothing of it is sure to be there, and that it may be repeated.

        When rows are to blame, they are mended or left out, and the others are written in transactions of their own.
        """
        try:
            await self._commit(batch)
        except Exception as error:
            if not blames_a_row(error):
                raise
            for run in batch:
                await self._write_apart(run)

    async def _commit(self, batch: Batch) -> None:
        async with asyncio.timeout(self._limit_s):
            await self._database.write(lambda: chain.from_iterable(map(self._statements.prepared, batch)))

    async def _write_apart(self, run: Run) -> None:
        try:
            await self._commit([run])
        except Exception as error:
            if not blames_a_row(error):
                raise
            if len(run.rows) > 1:
                half = len(run.rows) // 2
                await self._write_apart(run._replace(rows=run.rows[:half]))
                await self._write_apart(run._replace(rows=run.rows[half:]))
                return
            for mend in (_storable, _shorter):
                mended = [tuple(map(mend, row)) for row in run.rows]
                if mended != run.rows:
                    await self._write_apart(run._replace(rows=mended))
                    return
            self.refused_rows += 1
            log.error("row_refused", table=run.table, mode=run.mode, error=str(error).partition("\n")[0])


def blames_a_row(error: BaseException) -> bool:
    """Whether the database would refuse the same again, however well it is."""
    if isinstance(error, (IntegrityError, DataError)):
        return True
    if isinstance(error, DBAPIError):
        if error.connection_invalidated:
            return False
        causes = (error.orig, getattr(error.orig, "__cause__", None))
        states = [str(getattr(cause, "sqlstate", None) or "")[:2] for cause in causes]
        return not OF_A_ROW.isdisjoint(states) or any(
            isinstance(cause, (ValueError, OverflowError)) for cause in causes
        )
    return isinstance(error, (UnicodeEncodeError, OverflowError))


def _storable(value: Any) -> Any:
    """Text without what UTF-8 or PostgreSQL cannot hold: half characters and NUL."""
    if not isinstance(value, str):
        return value
    return value.encode("utf-8", "replace").decode().replace("\0", "\ufffd")


def _shorter(value: Any) -> Any:
    """Text that an index can hold; the database would take nothing of the row otherwise."""
    if not isinstance(value, str) or len(value) <= LONG // 4:
        return value
    return value.encode()[:LONG].decode(errors="ignore")
