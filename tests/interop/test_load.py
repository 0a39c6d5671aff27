"""SIPp's own caller and callee with the server between them: no call is lost, and nothing is left over."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

import pytest

from .scenes import Outcome, Scenes
from .settings import Settings
from .stage import Stage, stage_with_server

pytestmark = [pytest.mark.interop, pytest.mark.slow]
scenes: Scenes[Stage] = Scenes()

CALLS, RATE = 500, 50
TCP_CALLS = 100
HOLD_MS = 1000
UDP_CALLERS, UDP_CALLEES = "127.0.3.1", "127.0.3.2:5060"
TCP_CALLERS, TCP_CALLEES = "127.0.3.3", "127.0.3.4:5060"
BYPASS_CALLEES = "127.0.3.5:5060"


def _settings() -> Settings:
    settings = Settings(rtp_ports=1200)
    for name, address in (("udp-in", UDP_CALLERS), ("tcp-in", TCP_CALLERS)):
        settings.trunks.append(
            {
                "name": name,
                "hosts": [f"sip:{address}"],
                "inbound_sources": [f"{address}/32"],
                "options_interval_s": 0,
                "allow": ["0."],
            }
        )
    outward = {"udp-out": UDP_CALLEES, "tcp-out": f"{TCP_CALLEES};transport=tcp", "bypass-out": BYPASS_CALLEES}
    for index, (name, place) in enumerate(outward.items(), 1):
        trunk = {"name": name, "hosts": [f"sip:{place}"], "options_interval_s": 0}
        settings.trunks.append(trunk | ({"media": "bypass"} if name == "bypass-out" else {}))
        settings.routes.append({"pattern": f"0{index}.", "trunks": [{"trunk": name}]})
    return settings


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    def stage() -> AbstractAsyncContextManager[Stage]:
        return stage_with_server(tmp_path_factory.mktemp("load"), _settings(), development=False, captures=False)

    return scenes.play(request, stage, at_once=1)


async def _load(stage: Stage, number: str, caller: str, callee: str, calls: int, options: tuple[str, ...] = ()) -> None:
    async with stage.cast() as cast:
        callees = await cast.trunk("uas", "-m", str(calls), *options, place=callee)
        rate = ("-r", str(RATE), "-m", str(calls), "-l", str(calls), "-d", str(HOLD_MS), "-s", number)
        callers = cast.callers("uac", *rate, *options, address=caller)
        made = await callers.finished(calls / RATE + HOLD_MS / 1000 + 15)
        assert (made.successful, made.failed) == (calls, 0), callers.errors()[-3000:]
        answered = await callees.finished(10)
        assert (answered.successful, answered.failed) == (calls, 0), callees.errors()[-3000:]


@scenes.add
async def five_hundred_calls_at_fifty_a_second(stage: Stage) -> None:
    await _load(stage, "01234", UDP_CALLERS, UDP_CALLEES, CALLS)


@scenes.add
async def calls_with_their_media_elsewhere(stage: Stage) -> None:
    await _load(stage, "03234", UDP_CALLERS, BYPASS_CALLEES, CALLS // 2)


@scenes.add
async def calls_over_tcp(stage: Stage) -> None:
    await _load(stage, "02234", TCP_CALLERS, TCP_CALLEES, TCP_CALLS, ("-t", "t1"))


@scenes.add
async def nothing_is_left_over(stage: Stage) -> None:
    """Played last: ports, tasks, transactions and dialogs are as they were before the first call."""
    await stage.server.idle()


@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", scenes.names())
def test_load(name: str, outcomes: dict[str, Outcome]) -> None:
    outcomes[name].check()
