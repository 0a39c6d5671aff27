"""`python -m bench.events`: what many listeners of the events cost, and whether those that stop reading delay the rest.

A server of its own process with a database; the listeners are this process. Latency is from the instant of an event,
which its id tells in microseconds, to the instant that its bytes are read; `p99_own_ms` is less what the machine kept
either process waiting for a core meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import cast

import aiohttp
import uvloop

from .load import quantile
from .machine import (
    DEVICE_NICENESS,
    GENERATOR_NICENESS,
    Cores,
    Waits,
    children_of,
    cpu_ns,
    raise_file_limit,
    start,
    stop,
)

ROOT = Path(__file__).parent.parent
TOKEN = "a token for the bench only"
START_S = 30.0
SETTLE_S = 1.0
SAMPLE_S = 0.01
SESSIONS = 20
SMALL_BUFFER = 4096  # bytes that a deaf listener's socket takes from the network
IDS = re.compile(rb"\nid: evt_(\d+)\n")

CONFIG = """
[server]
http_port = {http}
log_level = "error"
[sip]
listen = ["udp:127.0.0.1:{sip}"]
[media]
ports = "20000-29999"
[database]
data_dir = "{folder}"
[[tokens]]
name = "bench"
token = "{token}"
role = "admin"
"""


@dataclass
class Outcome:
    """What was measured."""

    p50_ms: float
    p99_ms: float
    p99_own_ms: float
    most_ms: float
    events: int
    missing: int
    "Events that a listener which reads did not get, over all of them."
    cpu: float
    "Cores that the server took, from 0 to 1."

    def __str__(self) -> str:
        return (
            f"{self.events} events, {self.missing} missing; p50 {self.p50_ms:.1f} ms, p99 {self.p99_ms:.1f} ms "
            f"({self.p99_own_ms:.1f} ms of its own), most {self.most_ms:.1f} ms; {self.cpu * 100:.0f} % of a core"
        )


@dataclass
class Listener(asyncio.Protocol):
    """One stream, read as fast as it comes, or not at all."""

    deaf: bool
    begun: asyncio.Event
    ids: list[bytes] = field(default_factory=list)
    reads: list[tuple[int, int]] = field(default_factory=list)
    "Of each read: when, in us since the epoch, and how many ids there were after it. Looked at afterwards."
    transport: asyncio.Transport | None = None
    _tail: bytes = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(f"GET /events HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode())

    def data_received(self, data: bytes) -> None:
        now_us = time.time_ns() // 1000
        data = self._tail + data
        end = data.rfind(b"\n\n")
        self._tail = data[end + 1 :] if end >= 0 else data
        self.ids += IDS.findall(data, 0, max(0, end))
        self.reads.append((now_us, len(self.ids)))
        if not self.begun.is_set() and b"retry:" in data:
            self.begun.set()
            if self.deaf and self.transport is not None:
                self.transport.pause_reading()

    @property
    def positions(self) -> list[int]:
        """Of the events that came."""
        return list(map(int, self.ids))

    def spans(self) -> list[tuple[int, int]]:
        """From when to when each of them was under way, in us since the epoch."""
        spans: list[tuple[int, int]] = []
        positions = self.positions
        for now_us, upto in self.reads:
            spans += [(position, now_us) for position in positions[len(spans) : upto]]
        return spans


async def listen(port: int, *, deaf: bool) -> Listener:
    """A listener whose stream has begun."""
    sock = socket.socket()
    if deaf:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(sock, ("127.0.0.1", port))
    listener = Listener(deaf, asyncio.Event())
    await loop.create_connection(lambda: listener, sock=sock)
    await asyncio.wait_for(listener.begun.wait(), START_S)
    return listener


def free_port(kind: socket.SocketKind) -> int:
    """A port that nobody has at this moment."""
    with socket.socket(type=kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def server(cores: Cores) -> AsyncIterator[tuple[subprocess.Popen[bytes], int]]:
    """A server that takes requests, and its HTTP port."""
    with tempfile.TemporaryDirectory() as folder:
        port = free_port(socket.SOCK_STREAM)
        config = Path(folder) / "ringway.toml"
        sip = free_port(socket.SOCK_DGRAM)
        config.write_text(CONFIG.format(http=port, sip=sip, folder=folder, token=TOKEN))
        command = [sys.executable, "-c", "from server.cli import main; main()", "serve", "--config", str(config)]
        process = start(command, cores.device, DEVICE_NICENESS, cwd=Path(folder), environment={"PYTHONPATH": str(ROOT)})
        try:
            give_up_at = time.monotonic() + START_S
            while not _answers(port):
                assert process.poll() is None, "the server did not start"
                assert time.monotonic() < give_up_at, "the server does not answer"
                await asyncio.sleep(0.1)
            yield process, port
        finally:
            await asyncio.to_thread(stop, process)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def make_events(port: int, rate: float, seconds: float) -> None:
    """Users join sessions and leave them, `rate` times a second in all."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", headers=headers) as http:

        async def post(command: str, body: dict[str, str]) -> dict[str, str]:
            async with http.post(f"/api/CallSession/{command}", json=body) as response:
                answer: dict[str, str] = await response.json()
                assert response.status == 200, answer
                return answer

        async def come_and_go(session: str) -> None:
            due = time.monotonic()
            for n in range(int(rate * seconds / SESSIONS)):
                await post("leaveSession" if n % 2 else "joinSession", {"user": "guest", "session": session})
                due += SESSIONS / rate
                await asyncio.sleep(max(0.0, due - time.monotonic()))

        made = [await post("createSession", {"host": "host", "name": "bench"}) for _ in range(SESSIONS)]
        await asyncio.sleep(SETTLE_S)
        await asyncio.gather(*(come_and_go(answer["session"]) for answer in made))
        await asyncio.sleep(SETTLE_S)


async def watch(waits: Waits) -> None:
    """Sample until cancelled."""
    while True:
        waits.sample()
        await asyncio.sleep(SAMPLE_S)


async def measure(cores: Cores, listeners: int, deaf: int, rate: float, seconds: float) -> Outcome:
    """`listeners` of which `deaf` stop reading, and `rate` events a second."""
    async with server(cores) as (process, port):
        reading = [await listen(port, deaf=False) for _ in range(listeners - deaf)]
        silent = [await listen(port, deaf=True) for _ in range(deaf)]
        pids = children_of(process.pid)
        waits = Waits([process.pid, os.getpid()], cores)
        watching = asyncio.get_running_loop().create_task(watch(waits))
        before, began = cpu_ns(pids), time.monotonic_ns()
        await make_events(port, rate, seconds)
        watching.cancel()
        cpu = (cpu_ns(pids) - before) / (time.monotonic_ns() - began)
        for listener in (*reading, *silent):
            if listener.transport is not None:
                listener.transport.abort()
    every = set().union(*(listener.positions for listener in reading))
    missing = sum(len(every) - len(set(listener.positions)) for listener in reading)
    assert all(listener.positions == sorted(set(listener.positions)) for listener in reading), "out of order, or twice"
    spans = [span for listener in reading for span in listener.spans()]
    late = sorted((end - start) / 1000 for start, end in spans)
    own = sorted((end - start - waits.between_us(start, end)) / 1000 for start, end in spans)
    p50, p99, own_p99 = quantile(late, 0.5), quantile(late, 0.99), quantile(own, 0.99)
    return Outcome(p50, p99, own_p99, late[-1], len(every), missing, cpu)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.events", description=__doc__)
    parser.add_argument("--listeners", type=int, default=500)
    parser.add_argument("--deaf", type=int, default=50)
    parser.add_argument("--rate", type=float, default=100.0)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    raise_file_limit()
    cores = Cores.of_this_machine()
    os.sched_setaffinity(0, {cores.generator})
    if os.geteuid() == 0:
        os.nice(GENERATOR_NICENESS)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        outcome = runner.run(measure(cores, given.listeners, given.deaf, given.rate, given.seconds))
    print(json.dumps(asdict(outcome)) if given.json else outcome)


if __name__ == "__main__":
    main()
