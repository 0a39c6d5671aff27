"""The example that calls by aiortc, against a whole server: it hears its own sound in the echo test."""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from examples import place_call
from server.app import Server
from tests.interop.tones import listen, write_tone

from .test_app import settings

TOKEN, HZ = "token-of-ann-for-these-tests", 650


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """Ann has an extension."""
    server = Server(
        settings(
            media={"ports": "21400-21499"},
            users={"people": [{"id": "ann", "extensions": ["1001"]}]},
            tokens=[{"name": "ann", "token": TOKEN, "role": "member", "user": "ann"}],
        )
    )
    await server.start()
    yield server
    await server.stop()


def options(server: Server, **changes: object) -> argparse.Namespace:
    url = f"http://127.0.0.1:{server.http_ports[0]}"
    given = {"number": "600", "url": url, "token": TOKEN, "user": None, "play": None, "record": None, "seconds": 5.0}
    return argparse.Namespace(**{**given, **changes})


async def test_14_it_calls_the_echo_test_and_records_itself(server: Server, tmp_path: Path) -> None:
    said, heard = tmp_path / "said.wav", tmp_path / "heard.wav"
    write_tone(said, HZ, 9.0)
    assert await place_call.run(options(server, play=said, record=heard, seconds=60.0)) == 0
    assert listen(heard, HZ).tone_s > 1.0  # after the prompt; it hangs up at the end of the file


async def test_14_a_number_that_does_not_exist_is_2_and_told(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await place_call.run(options(server, number="4711")) == 2
    assert capsys.readouterr().err.startswith("NO_ROUTE: ")


async def test_14_a_wrong_token_is_2_and_told(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    assert await place_call.run(options(server, token="wrong")) == 2
    assert "UNAUTHORIZED" in capsys.readouterr().err
