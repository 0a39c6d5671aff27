"""`ringway user …` and `ringway token …`: on a running server, and on the database of one that is down."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest

from server.cli import main
from server.commands.token import ROLES, SCOPES
from server.sections import TokenRole, TokenScope
from tests.server.house import House

Run = Callable[..., str]


@pytest.fixture
def place(tmp_path: Path) -> list[str]:
    """A server that is down: its configuration, and a folder for its database."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    file = tmp_path / "ringway.toml"
    file.write_text(
        f'[server]\nhttp_port = {port}\naccount = "acme"\napp = "web"\n[database]\ndata_dir = "{tmp_path}/data"\n'
    )
    return ["--config", str(file)]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """What a command prints; it succeeds unless `fails`."""

    def run(*words: str, fails: bool = False) -> str:
        status = main(words)
        printed = capsys.readouterr()
        assert status == (1 if fails else 0), printed
        return printed.err if fails else printed.out

    return run


def test_users_of_a_server_that_is_down(run: Run, place: list[str]) -> None:
    assert "alice is user number" in run(
        "user", "add", "alice", "--extension", "1001", "--email", "a@b.example", *place
    )
    assert "there is a user alice already" in run("user", "add", "alice", *place, fails=True)
    assert "belongs to" in run("user", "add", "bob", "--extension", "1001", *place, fails=True)
    run("user", "add", "bob/../x", *place)
    assert [line.split()[0] for line in run("user", "list", *place).splitlines()] == ["ID", "alice", "bob/../x"]
    assert json.loads(run("user", "show", "alice", "--json", *place))["extensions"] == ["1001"]
    assert "id: bob/../x" in run("user", "show", "bob/../x", *place)
    run("user", "remove", "alice", *place)
    assert "alice" not in run("user", "list", *place)
    assert "alice" in run("user", "remove", "alice", *place, fails=True)


def test_a_user_is_of_the_tenant_that_is_named(run: Run, place: list[str]) -> None:
    run("user", "add", "alice", "--tenant", "other/app", *place)
    assert "alice" not in run("user", "list", *place)
    assert "alice" in run("user", "list", "--tenant", "other/app", *place)


def test_keys_of_a_server_that_is_down(run: Run, place: list[str]) -> None:
    token = run("token", "create", "web", "--role", "member", "--user", "alice", "--days", "2", *place).strip()
    key_id = token.split("_")[1]
    (key,) = json.loads(run("token", "list", "--json", *place))
    assert (key["id"], key["role"], key["user"]) == (key_id, "member", "alice")
    assert token not in json.dumps(key)
    assert "active until" in run("token", "list", *place)
    run("token", "revoke", key_id, *place)
    assert "revoked" in run("token", "list", *place)
    assert "there is no API key" in run("token", "revoke", "nothing", *place, fails=True)


async def in_thread(*words: str) -> int:
    """A command beside the server that it talks to."""
    return await asyncio.to_thread(main, words)


async def test_a_running_server_takes_both_at_once(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    url = str(house.client.make_url("/"))
    where = ("--url", url, "--token", house.tokens["admin"])
    assert await in_thread("user", "add", "dora", "--display-name", "Dora", *where) == 0
    dora = house.registry.people.get("default/default", "dora")
    assert dora is not None
    assert dora.display_name == "Dora"
    capsys.readouterr()
    assert await in_thread("token", "create", "web", "--user", "dora", "--channel", "c1=viewer", *where) == 0
    token = capsys.readouterr().out.strip()
    assert (await house.get("/api/sessions", token=token))[0] == 200
    assert await in_thread("token", "revoke", token.split("_")[1], *where) == 0
    assert (await house.get("/api/sessions", token=token))[0] == 401


async def test_the_database_of_a_running_server_is_left_alone(
    house: House, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "running.toml"
    file.write_text(f'[server]\nhttp_port = {house.client.port}\n[database]\ndata_dir = "{tmp_path}/data"\n')
    assert await in_thread("user", "list", "--config", str(file)) == 1
    assert "a server runs at" in capsys.readouterr().err


def test_refusals_say_what_to_do(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RINGWAY_URL", raising=False)
    monkeypatch.delenv("RINGWAY_TOKEN", raising=False)
    assert "--url and --token" in run("user", "list", fails=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    nobody = run("user", "list", "--url", f"http://127.0.0.1:{port}", "--token", "t", fails=True)
    assert "no Ringway answers" in nobody


async def test_a_token_that_may_not_is_told_so(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    url = str(house.client.make_url("/"))
    assert await in_thread("user", "list", "--url", url, "--token", house.tokens["alice"]) == 1
    assert "admin" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["token", "create", "x", "--days", "0"],
        ["token", "create", "x", "--days", "soon"],
        ["token", "create", "x", "--channel", "c1"],
        ["token", "create", "x", "--channel", "c1=owner"],
        ["token", "create", "x", "--role", "root"],
        ["token", "create", "x", "--scope", "all"],
        ["user"],
    ],
)
def test_a_wrong_command_line_is_2(words: list[str]) -> None:
    with pytest.raises(SystemExit) as exited:
        main(words)
    assert exited.value.code == 2


def test_the_choices_are_those_of_the_server() -> None:
    choices: tuple[Any, ...] = (ROLES, SCOPES)
    assert choices == (get_args(TokenRole), get_args(TokenScope))
