"""[io] `ringway db upgrade`, `ringway db check` and `ringway db export`."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from ..store.database import Database


def add_commands(commands: Any) -> None:
    """Put `db` into the command line."""
    parser = commands.add_parser("db", help="upgrade, check and export the database")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    upgrade = actions.add_parser("upgrade", help="bring the database to this version, as a start of the server does")
    upgrade.set_defaults(command=lambda options: _run(_upgrade(options)))
    check = actions.add_parser("check", help="read all of it: revision, damage, totals, rows; exit 1 for a fault")
    check.set_defaults(command=lambda options: _run(_check(options)))
    export = actions.add_parser("export", help="write tables as JSON Lines, secrets included")
    export.set_defaults(command=lambda options: _run(_export(options)))
    export.add_argument("--table", action="append", default=[], metavar="NAME", help="only this one; may be repeated")
    export.add_argument("--output", "-o", type=Path, metavar="FILE", help="where to; standard output if not given")
    for action in (upgrade, check, export):
        where = action.add_mutually_exclusive_group(required=True)
        where.add_argument("--config", type=Path, metavar="FILE", help="the configuration that the server runs with")
        where.add_argument("--data", type=Path, metavar="DIR", help="the data folder, as in `ringway dev --data`")
        where.add_argument("--url", metavar="URL", help="sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME")


def _run(work: Coroutine[Any, Any, None]) -> None:
    from sqlalchemy.exc import DBAPIError

    from ..errors import ServerError

    try:
        asyncio.run(work)
    except DBAPIError as error:
        raise ServerError(f"the database failed: {error.orig}") from error


def _url(options: argparse.Namespace) -> str:
    from ..config import load
    from ..sections import Database
    from ..store.store import url_of

    if options.url is not None:
        return str(options.url)
    if options.data is not None:
        return url_of(Database(data_dir=str(options.data)))
    return url_of(load(options.config, os.environ).database)


async def _open(options: argparse.Namespace, *, migrate: bool) -> Database:
    from ..errors import StartError
    from ..store.database import MEMORY, Database

    url = _url(options)
    if url == MEMORY:
        raise StartError("a database in memory ends with its server; there is nothing to look at")
    return await Database.open(url, migrate=migrate)


async def _upgrade(options: argparse.Namespace) -> None:
    from ..store.inspection import mend

    database = await _open(options, migrate=True)
    try:
        mended = await mend(database)
        sys.stdout.write(f"{database.name}: revision {await database.revision()}\n")
        for table in mended:
            sys.stdout.write(f"{table} was counted anew\n")
    finally:
        await database.close()


async def _check(options: argparse.Namespace) -> None:
    from ..errors import ServerError
    from ..store.inspection import inspect

    database = await _open(options, migrate=False)
    try:
        report = await inspect(database)
    finally:
        await database.close()
    lines = [f"{database.name}: revision {report.revision}"]
    lines += [f"{name:24}{count:>12}" for name, count in report.rows.items()]
    lines += [f"{name}: {count} rows of sessions that are not there" for name, count in report.orphans.items()]
    sys.stdout.write("\n".join(lines) + "\n")
    if report.faults:
        raise ServerError("\n".join(report.faults))
    sys.stdout.write("no faults\n")


async def _export(options: argparse.Namespace) -> None:
    from ..store.export import export, tables_named

    tables_named(options.table)
    database = await _open(options, migrate=False)
    try:
        if options.output is None:
            await export(database, options.table, sys.stdout.write)
            return
        with _new_file(options.output) as file:
            count = await export(database, options.table, file.write)
    finally:
        await database.close()
    sys.stderr.write(f"{options.output}: {count} rows\n")


def _new_file(path: Path) -> TextIO:
    """Who called whom, and what opens the door: for its owner alone, and nothing is overwritten."""
    return open(path, "x", encoding="utf-8", opener=lambda name, flags: os.open(name, flags, 0o600))
