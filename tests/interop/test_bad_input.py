"""Twenty thousand broken messages, a thousand a second, while good calls go on."""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import AbstractAsyncContextManager

import pytest

from tests.fuzz.mutator import mutations

from .scenes import Outcome, Scenes, needs_namespaces
from .settings import Settings
from .stage import Stage, heard_each_other, meet, part, stage_with_server

pytestmark = [pytest.mark.interop, pytest.mark.netns, pytest.mark.slow]
scenes: Scenes[Stage] = Scenes()

MESSAGES, RATE = 20_000, 1_000
SEED = 4475
BURST = 10  # messages sent at a time
CALLS_AT_ONCE, CALLS = 10, 60
CALL_MS = 3_000
CALLERS, CALLEES = "127.0.4.1", "127.0.4.2:5060"
STRANGER = "127.0.4.99"


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    needs_namespaces()  # the messages name hosts of other people
    inward = {"name": "in", "hosts": [f"sip:{CALLERS}"], "inbound_sources": [f"{CALLERS}/32"], "allow": ["0."]}
    outward = {"name": "out", "hosts": [f"sip:{CALLEES}"]}
    settings = Settings(
        trunks=[{**trunk, "options_interval_s": 0} for trunk in (inward, outward)],
        routes=[{"pattern": "0.", "trunks": [{"trunk": "out"}]}],
    ).add_extensions(1001, 2)

    def stage() -> AbstractAsyncContextManager[Stage]:
        return stage_with_server(tmp_path_factory.mktemp("bad-input"), settings, development=False, captures=False)

    return scenes.play(request, stage, at_once=1)


@scenes.add
async def good_calls_outlive_bad_messages(stage: Stage) -> None:
    async with stage.cast() as cast:
        bad = list(mutations(SEED, MESSAGES))
        alice, bob = await cast.phones(2)
        await cast.trunk("uas", place=CALLEES)  # its own count does not matter: it takes a retransmission for a fault
        talk, other = await meet(alice, bob)
        options = ("-r", "5", "-m", str(CALLS), "-l", str(CALLS_AT_ONCE), "-d", str(CALL_MS), "-s", "0123")
        callers = cast.callers("uac", *options, address=CALLERS)
        await _pour(stage, bad)
        made = await callers.finished(CALLS / CALLS_AT_ONCE * CALL_MS / 1000 + 20)
        await part(bob, other, alice, talk)
        assert (made.successful, made.failed) == (CALLS, 0), callers.errors()[-3000:]
        await heard_each_other(alice, talk, bob, other)
    status, _ = await stage.server.get("/readyz")
    assert status == 200
    stage.server.check_log()


async def _pour(stage: Stage, messages: list[bytes]) -> None:
    """Send the messages evenly; what is answered to them is read by nobody."""
    with stage.network.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.bind((STRANGER, 0))
        started_at = time.monotonic()
        for number, data in enumerate(messages):
            if number % BURST == 0:
                await asyncio.sleep(max(0.0, started_at + number / RATE - time.monotonic()))
            stranger.sendto(data, ("127.0.0.1", stage.server.sip_port))
        took_s = time.monotonic() - started_at
    assert took_s < MESSAGES / RATE * 1.5, f"the messages took {took_s:.1f} s: no load at all"


@scenes.add
async def nothing_is_left_over(stage: Stage) -> None:
    await stage.server.idle()


@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", scenes.names())
def test_bad_input(name: str, outcomes: dict[str, Outcome]) -> None:
    outcomes[name].check()
