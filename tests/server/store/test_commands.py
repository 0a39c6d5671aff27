"""`ringway db upgrade|check|export`: what they print, how they end, what they leave alone."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, text

from server.cli import main
from server.store import migrations
from server.store.database import Database
from server.store.export import DERIVED, JSON_COLUMNS
from server.store.schema import metadata, participants, sessions, users

from .test_migrations import FIRST, made_up_to, session


def change(url: str, work: Callable[[Any], Awaitable[object]]) -> None:
    async def run() -> None:
        database = await Database.open(url)
        async with database.transaction() as connection:
            await work(connection)
        await database.close()

    asyncio.run(run())


def fill(url: str) -> None:
    stay = {
        "tenant": "a/b", "channel_id": "c", "user_id": "al\nice", "user_number": 1, "handle": "Ålice", "role": "host",
        "joined_at": 1, "updated_at": 2, "quality": '{"mos":4.1}',
    }  # fmt: skip

    async def work(connection: Any) -> None:
        await connection.execute(insert(sessions), [session(n, meta='{"a":[1,null]}') for n in range(1, 1203)])
        await connection.execute(insert(participants), [{"session_id": 1, "idx": 0, **stay}])
        await connection.execute(
            insert(users), [{"tenant": "a/b", "id": "u", "number": 2**53 - 1, "handle": "u", "created_at": 3}]
        )

    change(url, work)


# Upgrade.


def test_upgrade_makes_a_database_and_says_its_revision(
    empty_database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["db", "upgrade", "--url", empty_database_url]) == 0
    assert f"revision {migrations.HEAD}\n" in capsys.readouterr().out


def test_upgrade_brings_an_older_one_up_to_date(empty_database_url: str) -> None:
    async def old() -> None:
        await (await made_up_to(empty_database_url, FIRST)).close()

    asyncio.run(old())
    assert main(["db", "check", "--url", empty_database_url]) == 1
    assert main(["db", "upgrade", "--url", empty_database_url]) == 0
    assert main(["db", "check", "--url", empty_database_url]) == 0


def test_upgrade_counts_anew_what_is_counted_wrongly(database_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    fill(database_url)
    change(database_url, lambda connection: connection.execute(text("UPDATE tallies SET n = n + 1")))
    assert main(["db", "check", "--url", database_url]) == 1
    assert "tallies: 2 numbers are not what they count" in capsys.readouterr().err
    assert main(["db", "upgrade", "--url", database_url]) == 0
    assert "tallies was counted anew" in capsys.readouterr().out
    assert main(["db", "check", "--url", database_url]) == 0


def test_a_newer_database_is_refused_by_each_of_them(database_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    change(database_url, lambda connection: connection.execute(text("UPDATE alembic_version SET version_num = '9'")))
    for action in ("upgrade", "check", "export"):
        assert main(["db", action, "--url", database_url]) == 1
        assert "revision 9" in capsys.readouterr().err


# Check.


def test_check_counts_rows_and_finds_no_fault(database_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    fill(database_url)
    assert main(["db", "check", "--url", database_url]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["sessions", "1202"] in lines
    assert ["events", "0"] in lines
    assert ["no", "faults"] in lines


def test_check_tells_of_rows_whose_session_is_not_there(database_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    fill(database_url)
    change(database_url, lambda connection: connection.execute(text("DELETE FROM sessions WHERE id = 1")))
    assert main(["db", "check", "--url", database_url]) == 0
    assert "participants: 1 rows of sessions that are not there" in capsys.readouterr().out


def test_check_finds_a_damaged_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"sqlite:///{tmp_path}/ringway.db"
    fill(url)
    file = tmp_path / "ringway.db"
    with file.open("r+b") as damaged:
        for page in range(30, file.stat().st_size // 4096, 7):
            damaged.seek(page * 4096)
            damaged.write(b"\xff" * 64)
    assert main(["db", "check", "--url", url]) == 1
    assert capsys.readouterr().err


# Export.


def test_export_writes_every_row_as_json(database_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    fill(database_url)
    assert main(["db", "export", "--url", database_url]) == 0
    head, *lines = map(json.loads, capsys.readouterr().out.splitlines())
    assert head == {"ringway": "export", "revision": migrations.HEAD}
    assert [line["table"] for line in lines] == ["sessions"] * 1202 + ["participants", "users"]
    assert lines[0]["row"]["meta"] == {"a": [1, None]}
    assert lines[0]["row"]["had_recording"] is False
    assert lines[-2]["row"]["user_id"] == "al\nice"
    assert lines[-2]["row"]["handle"] == "Ålice"
    assert lines[-2]["row"]["quality"] == {"mos": 4.1}
    assert lines[-1]["row"]["number"] == 2**53 - 1


def test_export_writes_the_tables_that_are_named(database_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    fill(database_url)
    assert main(["db", "export", "--url", database_url, "--table", "users", "--table", "participants"]) == 0
    _, *lines = map(json.loads, capsys.readouterr().out.splitlines())
    assert [line["table"] for line in lines] == ["participants", "users"]
    assert main(["db", "export", "--url", database_url, "--table", "user"]) == 1
    assert "there is no table user; there are sessions, participants" in capsys.readouterr().err


def test_export_makes_a_new_file_for_its_owner_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(f"sqlite:///{tmp_path}/ringway.db")
    out = tmp_path / "all.jsonl"
    arguments = ["db", "export", "--data", str(tmp_path), "-o", str(out)]
    assert main(arguments) == 0
    assert "1204 rows" in capsys.readouterr().err
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert len(out.read_text("utf-8").splitlines()) == 1205
    assert main(arguments) == 1
    assert "exists" in capsys.readouterr().err


def test_the_columns_that_hold_json_are_known() -> None:
    for table, column in JSON_COLUMNS:
        assert column in metadata.tables[table].c
    assert set(metadata.tables) >= DERIVED


# Where.


def test_the_configuration_says_where_the_database_is(tmp_path: Path) -> None:
    config = tmp_path / "ringway.toml"
    config.write_text(f'[database]\ndata_dir = "{tmp_path}/data"\n', "utf-8")
    assert main(["db", "upgrade", "--config", str(config)]) == 0
    assert (tmp_path / "data" / "ringway.db").exists()


@pytest.mark.parametrize("action", ["check", "export"])
def test_looking_makes_no_database(tmp_path: Path, action: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["db", action, "--data", str(tmp_path / "nothing")]) == 1
    assert "No such file" in capsys.readouterr().err
    assert not (tmp_path / "nothing").exists()


def test_a_database_in_memory_cannot_be_looked_at(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["db", "check", "--url", "none"]) == 1
    assert "ends with its server" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["db"], ["db", "upgrade"], ["db", "check", "--url", "none", "--data", "x"], ["db", "drop"]]
)
def test_a_wrong_command_line_ends_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
