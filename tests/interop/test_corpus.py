"""The messages of RFC 4475 and RFC 5118, one by one, against a running server."""

from __future__ import annotations

import asyncio
import re
import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.corpus.expected import DROP, EXPECTED, messages

from .capture import Capture
from .network import Network
from .program import absent
from .scenes import needs_namespaces
from .server import Server
from .settings import Settings

pytestmark = [pytest.mark.interop, pytest.mark.netns]
ANSWER_LIMIT_S = 0.5


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[int]]:
    """For each message the statuses that came back, in order."""
    needs_namespaces()  # the messages name hosts of other people

    @asynccontextmanager
    async def running() -> AsyncIterator[tuple[Server, Network]]:
        network = Network.private()
        try:
            settings = Settings().add_extensions(1001, 1)
            server = await Server.start(network, tmp_path_factory.mktemp("corpus"), settings)
            try:
                yield server, network
            finally:
                await server.stop()
        finally:
            network.close()

    async def run() -> dict[str, list[int]]:
        async with running() as (server, network):
            try:
                capture = Capture(network, [server.sip_port])
            except PermissionError:
                absent("the right to open raw sockets")
                raise
            try:
                found = {}
                branches: set[bytes] = set()
                for number, (name, data) in enumerate(messages()):
                    data = _with_own_branch(data, branches)
                    found[name] = await _ask(server, network, capture, f"127.5.0.{number + 1}", data)
                server.check_log()
                return found
            finally:
                capture.close()

    return asyncio.run(run(), debug=True)


def _with_own_branch(data: bytes, taken: set[bytes]) -> bytes:
    """The RFCs give some messages one branch: the later ones would be retransmissions of the first."""
    match = re.search(rb"branch=z9hG4bK[^\s;,]+", data)
    if match is None:
        return data
    if match.group() in taken:
        data = data.replace(match.group(), match.group() + secrets.token_hex(4).encode(), 1)
    taken.add(match.group())
    return data


async def _ask(server: Server, network: Network, capture: Capture, address: str, data: bytes) -> list[int]:
    """Send from an address that no other message has: answers go to it, on whatever port Via says."""
    with network.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind((address, 5060))
        sender.sendto(data, ("127.0.0.1", server.sip_port))
        for _ in range(25):
            await asyncio.sleep(ANSWER_LIMIT_S / 25)
            statuses = [seen.status for seen in capture.find() if seen.status and seen.destination[0] == address]
            if statuses and statuses[-1] >= 200:
                break
    return statuses


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_corpus(name: str, answers: dict[str, list[int]]) -> None:
    expected, statuses = EXPECTED[name], answers[name]
    if expected == DROP:
        assert statuses == []
    else:
        assert statuses, "no answer"
        assert statuses[-1] in expected
