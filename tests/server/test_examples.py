"""The examples against the API; behind originate.py is a registry whose calls are only told about."""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from examples import events, originate

from .conftest import ADMIN, Api
from .fake_registry import FakeSession
from .house import House

SCRIPT = Path(originate.__file__)


def options(api: Api, **changes: object) -> argparse.Namespace:
    url = str(api.client.make_url("/"))
    given = {"trunk": None, "name": None, "auto_answer": False, "token": ADMIN, "url": url}
    return argparse.Namespace(**{"caller": "1001", "callee": "1002", **given, **changes})


async def created(api: Api) -> FakeSession:
    await api.registry.asked.wait()
    while not api.registry.by_id:
        await api.client.get("/healthz")
    return next(iter(api.registry.by_id.values()))


async def test_it_follows_an_answered_call_to_its_end(
    api: Api, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(originate, "POLL_S", 0.001)
    running = asyncio.ensure_future(originate.run(options(api, trunk="carrier", name="Desk", auto_answer=True)))
    session = await created(api)
    session.calls[0].talking_time_s = 3
    session.ended = True
    assert await running == 0
    assert "1001 -> 1002: 3 s" in capsys.readouterr().out
    request = api.registry.requests[0]
    assert (request.trunk, request.caller_display_name) == ("carrier", "Desk")
    assert (request.additional_header, request.header_direction) == ("ANSWER_MODE", "CALLER")


async def test_a_call_that_nobody_answers_is_1(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(originate, "POLL_S", 0.001)
    running = asyncio.ensure_future(originate.run(options(api)))
    (await created(api)).ended = True
    assert await running == 1


async def test_a_refusal_is_2_and_told(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    assert await originate.run(options(api, callee="911")) == 2
    assert "403 NOT_ALLOWED" in capsys.readouterr().err


async def test_interrupting_hangs_up(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    following = asyncio.Event()

    async def follow(_http: object, _session: str) -> int:
        following.set()
        await asyncio.Event().wait()
        return 0

    monkeypatch.setattr(originate, "follow", follow)
    running = asyncio.ensure_future(originate.run(options(api)))
    await following.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (await created(api)).ended


def test_it_says_when_there_is_no_server() -> None:
    ran = subprocess.run(
        [sys.executable, str(SCRIPT), "--url", "http://127.0.0.1:9", "--token", "x", "1", "2"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 2
    assert ran.stderr.startswith("no answer from the server")
    assert "Traceback" not in ran.stderr


# examples/events.py


async def test_it_tells_the_events_of_a_session_until_its_end(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    session = house.session("alice")
    arguments = argparse.Namespace(
        url=str(house.client.make_url("/")), token=house.tokens["alice"], session=session.id, kind=[], after="evt_0"
    )
    running = asyncio.ensure_future(events.run(arguments))
    session.join("bob")
    await session.end()
    assert await asyncio.wait_for(running, 5) == 0
    kinds = [line.split()[2] for line in capsys.readouterr().out.splitlines()]
    assert (kinds[0], kinds[-1]) == ("session.started", "session.ended")
    assert kinds.count("participant.joined") == 2


async def test_a_session_that_is_not_there_is_2(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = argparse.Namespace(
        url=str(house.client.make_url("/")), token=house.tokens["alice"], session="1", kind=["leg.*"], after=None
    )
    assert await events.run(arguments) == 2
    assert "404 " in capsys.readouterr().err
