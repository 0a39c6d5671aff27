"""The README's five minutes, as written: `ringway dev` on its own ports, two softphones, 600, curl, the example."""

from __future__ import annotations

import asyncio
import re
import shlex
import signal
import sys
from pathlib import Path

import pytest

from .baresip import Baresip, PhoneSettings
from .network import Network
from .program import Program, needs
from .scenes import own_network
from .stage import heard_each_other, meet, part

pytestmark = pytest.mark.interop

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text()
PROMPT_S = 5.0  # the echo test speaks first
TALK_S = 3.0


def test_the_readme_says_what_is_tried_here() -> None:
    assert "user 1001, password `ringway-1001`" in README
    assert "Dial 600" in README
    assert """-d '{"caller": "1001", "callee": "1002", "send_sdp": true}'""" in README
    assert "examples/originate.py --token TOKEN 1001 1002" in README


@pytest.mark.timeout(120)
async def test_five_minutes(tmp_path: Path) -> None:
    needs("baresip", "curl")
    async with own_network() as network:
        ports = [8080, 5060, 40000] if network.name else [network.ports(1), network.ports(1), network.ports(200)]
        options = [
            "--http-port",
            str(ports[0]),
            "--sip-port",
            str(ports[1]),
            "--rtp-ports",
            f"{ports[2]}-{ports[2] + 199}",
        ]
        server = Program(
            network,
            [
                sys.executable,
                "-c",
                "import sys; from server.cli import main; sys.exit(main())",
                "dev",
                *([] if network.name else options),
            ],
            tmp_path / "server",
            environment={"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
        )
        phones: list[Baresip] = []
        try:
            await server.said("Ctrl-C ends all calls")
            for user, hz in (("1001", 600), ("1002", 900)):
                settings = PhoneSettings(user, hz, password=f"ringway-{user}", server=f"127.0.0.1:{ports[1]}")
                phones.append(await Baresip.start(settings, tmp_path / user, network))
            alice, bob = phones
            await _they_talk(alice, bob)
            await _the_echo_test(alice)
            await _one_curl(network, tmp_path / "curl", server.log(), alice, bob)
            await _the_example(network, tmp_path / "example", server.log(), alice, bob)
            await _control_c_ends_calls(server, alice, bob)
        finally:
            await asyncio.gather(*(phone.stop() for phone in phones))
            server.kill()


async def _they_talk(alice: Baresip, bob: Baresip) -> None:
    mine, theirs = await meet(alice, bob)
    await asyncio.sleep(TALK_S)
    await part(alice, mine, bob, theirs)
    await heard_each_other(alice, mine, bob, theirs)


async def _the_echo_test(alice: Baresip) -> None:
    await alice.dial("sip:600@127.0.0.1")
    talk = await alice.talk_begins()
    await asyncio.sleep(PROMPT_S + TALK_S)
    await alice.hang_up()
    await alice.talk_ends(talk)
    heard = await alice.heard(alice.settings.tone_hz)
    assert heard.tone_s >= TALK_S * 0.8, f"heard its own tone for {heard.tone_s:.1f} s of {heard.total_s:.1f} s"


async def _one_curl(network: Network, folder: Path, banner: str, alice: Baresip, bob: Baresip) -> None:
    line = re.search(r"^ +(curl .*)$", banner, re.MULTILINE)
    assert line is not None, banner
    curl = Program(network, [*shlex.split(line[1]), "-s"], folder)
    await alice.answer()
    await bob.answer()
    mine, theirs = await asyncio.gather(alice.talk_begins(), bob.talk_begins())
    assert await curl.wait(5) == 0
    assert re.fullmatch(r'\{"id":"\d+"\}', curl.log().strip())
    await part(bob, theirs, alice, mine)


async def _the_example(network: Network, folder: Path, banner: str, alice: Baresip, bob: Baresip) -> None:
    token = re.search(r"Token +(\S+)", banner)
    base = re.search(r"(http://\S+)/api/sessions", banner)
    assert token is not None
    assert base is not None
    example = [sys.executable, str(ROOT / "examples/originate.py"), "--url", base[1], "--token", token[1]]
    program = Program(network, [*example, "1001", "1002"], folder)
    await alice.answer()
    await bob.answer()
    mine, theirs = await asyncio.gather(alice.talk_begins(), bob.talk_begins())
    await asyncio.sleep(1.5)
    await part(bob, theirs, alice, mine)
    assert await program.wait(5) == 0, program.log()
    assert "1001 -> 1002: 1 s" in program.log()


async def _control_c_ends_calls(server: Program, alice: Baresip, bob: Baresip) -> None:
    mine, theirs = await meet(alice, bob)
    server.signal(signal.SIGINT)
    await asyncio.gather(alice.talk_ends(mine), bob.talk_ends(theirs))
    assert await server.wait(5) == 0, server.log()
    assert "Traceback" not in server.log()
