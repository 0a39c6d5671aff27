"""The server killed with -9 while calls come and go, and started again: what its clients saw is what it remembers."""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from .crowd import Call, Callers, Phone, Record
from .network import Network
from .program import Program
from .settings import ADMIN_TOKEN, Settings, password_of

pytestmark = [pytest.mark.interop, pytest.mark.slow]

ROOT = Path(__file__).parent.parent.parent
SEED = 20_261_122
ROUNDS = 10
CALLS_A_SECOND = 30
SESSIONS_A_SECOND = 15
HOLD_S = 0.4
LOAD_S = (1.6, 2.8)  # until the kill
KEPT_AFTER_S = 1.0  # what ended longer before the kill must be there
LISTENING_WITHIN_S = 3.0
TRUNK = "127.0.7.1"
NUMBER, EXTENSION = "0301001", "1001"
READY_LIMIT_S = 30.0


@dataclass
class RestSession:
    """A session made over REST, by time.monotonic()."""

    id: str
    made_at: float
    ended_at: float | None = None
    killed_at: float = 0.0
    "The first kill after it was made."

    @property
    def goes_on(self) -> bool:
        """Whether it must be live after the kill."""
        return self.ended_at is None and self.made_at < self.killed_at - KEPT_AFTER_S

    @property
    def is_over(self) -> bool:
        """Whether it must be in the history after the kill."""
        return self.ended_at is not None and self.ended_at < self.killed_at - KEPT_AFTER_S


@dataclass
class Seen:
    """What the clients saw, over all rounds."""

    calls: Record = field(default_factory=Record)
    sessions: list[RestSession] = field(default_factory=list)
    kills: list[float] = field(default_factory=list)
    listening_s: list[float] = field(default_factory=list)


class Server:
    """A server that is killed and started again, in one folder and on the same ports."""

    def __init__(self, network: Network, folder: Path) -> None:
        settings = Settings().add_extensions(int(EXTENSION), 1)
        settings.extensions[0]["max_calls"] = 1000
        settings.trunks.append(
            {
                "name": "crowd",
                "hosts": [f"sip:{TRUNK}:5060"],
                "inbound_sources": [f"{TRUNK}/32"],
                "options_interval_s": 0,
                "media": "bypass",
            }
        )
        settings.numbers.append({"number": NUMBER, "to": EXTENSION, "trunk": "crowd"})
        text, self.sip_port, self.http_port = settings.write(network)
        self.data = folder / "data"
        self._config = folder / "ringway.toml"
        self._config.write_text(f'{text}\n[database]\ndata_dir = "{self.data}"\n')
        self._network = network
        self._folder = folder
        self.program: Program

    async def start(self, http: aiohttp.ClientSession) -> float:
        """Run it; seconds until it was ready for requests and calls.

        On a machine that does much else it is the processor's time, which others do not stretch as much.
        """
        began = time.monotonic()
        command = [sys.executable, "-c", "from server.cli import main; main()", "serve", "--config", str(self._config)]
        self.program = Program(
            self._network,
            command,
            self._folder / f"run-{began:.3f}",
            environment={"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": ""},
        )
        while not await self._ready(http):
            log = self.program.log()[-3000:]
            assert self.program.running, log
            assert time.monotonic() < began + READY_LIMIT_S, log
            await asyncio.sleep(0.02)
        took_s = time.monotonic() - began
        return took_s if os.getloadavg()[0] < (os.cpu_count() or 1) else min(took_s, cpu_s(self.program.pid))

    async def _ready(self, http: aiohttp.ClientSession) -> bool:
        try:
            async with http.get("/readyz") as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What is committed."""
        with closing(sqlite3.connect(f"file:{self.data / 'ringway.db'}?mode=ro", uri=True)) as connection:
            return connection.execute(query).fetchall()


async def use_rest(http: aiohttp.ClientSession, seen: Seen, stop: asyncio.Event) -> None:
    """Make sessions, and end every second one."""
    number = 0
    while not stop.is_set():
        number += 1
        try:
            user = f"user{number % 20}"
            async with http.post("/api/CallSession/createSession", json={"host": user, "name": f"n{number}"}) as answer:
                assert answer.status == 200, await answer.text()
                made = RestSession((await answer.json())["session"], time.monotonic())
                seen.sessions.append(made)
            if number % 2:
                body = {"user": user, "session": made.id}
                async with http.post("/api/CallSession/endSession", json=body) as answer:
                    assert answer.status == 200, await answer.text()
                    made.ended_at = time.monotonic()
        except (aiohttp.ClientError, OSError):
            return  # killed
        await asyncio.sleep(1 / SESSIONS_A_SECOND)


async def call(callers: Callers, stop: asyncio.Event) -> None:
    """Call after call."""
    while not stop.is_set():
        callers.call()
        await asyncio.sleep(1 / CALLS_A_SECOND)


async def load_and_kill(
    server: Server, http: aiohttp.ClientSession, callers: Callers, seen: Seen, after_s: float
) -> None:
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as clients:
        clients.create_task(call(callers, stop))
        clients.create_task(use_rest(http, seen, stop))
        await asyncio.sleep(after_s)
        seen.kills.append(time.monotonic())
        server.program.kill()
        stop.set()


def check_calls(server: Server, calls: Sequence[Call], killed_at: float) -> None:
    """Of one round: what ended is there once, as it ended; what went on was interrupted."""
    rows: dict[str, list[tuple[Any, ...]]] = {}
    for caller, *rest in server.rows("SELECT caller, ended_at, reason, hung_up_by, talking_ms, session_id FROM calls"):
        rows.setdefault(caller, []).append(tuple(rest))
    for seen in calls:
        found = rows.get(seen.number, [])
        assert len(found) <= 1, f"{seen.number} is there {len(found)} times"
        if seen.ended_at is not None and seen.ended_at < killed_at - KEPT_AFTER_S:
            assert found, f"{seen.number} ended {killed_at - seen.ended_at:.2f} s before the kill and is forgotten"
            ended_at, reason, hung_up_by, talking_ms, _ = found[0]
            assert (reason, hung_up_by) == ("hung up", "caller")
            assert ended_at is not None
            assert seen.answered_at is not None
            assert abs(talking_ms - (seen.ended_at - seen.answered_at) * 1000) < 500
        elif seen.ended_at is None and seen.answered_at is not None and seen.answered_at < killed_at - KEPT_AFTER_S:
            assert found, f"{seen.number} was going on and is forgotten"
        for ended_at, reason, *_ in found:
            assert ended_at is not None, f"{seen.number} still goes on"
            if seen.ended_at is None and seen.answered_at is not None and seen.answered_at + HOLD_S > killed_at:
                assert reason == "interrupted"
    assert server.rows("SELECT COUNT(*) FROM sessions WHERE kind = 'call' AND ended_at IS NULL") == [(0,)]


async def check_sessions(server: Server, http: aiohttp.ClientSession, seen: Seen, killed_at: float) -> None:
    """Those without a call: ended ones are in the history once, the others go on."""
    rows = dict(server.rows("SELECT id, ended_at FROM sessions WHERE kind = 'room'"))
    for session in seen.sessions:
        session.killed_at = session.killed_at or killed_at
        if session.is_over:
            assert rows[int(session.id)] is not None
        elif session.goes_on:
            assert rows[int(session.id)] is None
    going_on = [session for session in seen.sessions if session.goes_on]
    for session in going_on[:5] + going_on[-5:]:
        body = {"session": session.id}
        async with http.post("/api/CallSession/_getParticipants", json=body) as answer:
            assert answer.status == 200
            assert len(await answer.json()) == 1
    events = server.rows("SELECT session_id, COUNT(*), COUNT(DISTINCT seq), MAX(seq) FROM events GROUP BY session_id")
    assert all(count == distinct == last for _, count, distinct, last in events), "each event once, none missing"


async def play(network: Network, folder: Path) -> Seen:
    """All rounds."""
    seen = Seen()
    chance = random.Random(SEED)
    server = Server(network, folder)
    place = ("127.0.0.1", server.sip_port)
    phone = Phone(place, EXTENSION, password_of(EXTENSION))
    callers = Callers(place, seen.calls, prefix="09", to=NUMBER, hold_s=HOLD_S)
    headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    timeout = aiohttp.ClientTimeout(total=10)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{server.http_port}", headers=headers, timeout=timeout) as http:
        await server.start(http)
        try:
            await phone.open(network, "127.0.0.1")
            await callers.open(network, TRUNK)
            phone.register()
            await asyncio.wait_for(phone.registered.wait(), 5)
            registers = phone.registers_sent
            for _ in range(ROUNDS):
                first, answered = len(seen.calls.calls), phone.answered
                await load_and_kill(server, http, callers, seen, chance.uniform(*LOAD_S))
                seen.listening_s.append(await server.start(http))
                calls = list(seen.calls.calls.values())[first:]
                assert phone.answered > answered, "the phone was reached"
                assert any(one.ended_at for one in calls)
                check_calls(server, calls, seen.kills[-1])
                await check_sessions(server, http, seen, seen.kills[-1])
            assert phone.registers_sent == registers, "it never had to register again"
            check_calls(server, list(seen.calls.calls.values()), 0.0)
        finally:
            server.program.kill()
            phone.close()
            callers.close()
    return seen


@pytest.mark.timeout(180)
async def test_6_killed_ten_times_under_load_it_forgets_nothing_and_repeats_nothing(tmp_path: Path) -> None:
    asyncio.get_running_loop().set_debug(False)
    seen = await play(Network.shared(), tmp_path)
    over = [one for one in seen.calls.calls.values() if one.ended_at is not None]
    assert len(over) > ROUNDS * CALLS_A_SECOND
    slow = [f"{took:.2f}" for took in seen.listening_s if took > LISTENING_WITHIN_S]
    assert not slow, f"listening again only after {slow} s"


def cpu_s(pid: int) -> float:
    """Seconds of processor time that a process has had."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
