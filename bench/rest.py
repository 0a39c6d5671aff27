"""`python -m bench.rest`: requests a second of the REST API on one core, beside a bare aiohttp handler in the same run.

Each request goes through authentication, validation and a session, with SQLite behind. First as many as are answered,
with CONNECTIONS clients that ask again at once, by the second of the core that the server used: a bare handler waits
for its clients now and then. Then at half of what is wanted, at an even pace, for the latency. At last the memory of
sessions without a call.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import uvloop

from .events import ROOT, START_S, TOKEN, free_port, server
from .load import quantile
from .machine import (
    DEVICE_NICENESS,
    GENERATOR_NICENESS,
    Cores,
    children_of,
    cpu_ns,
    memory_kb,
    raise_file_limit,
    start,
    stop,
)
from .table import Table
from .targets import Target, report

Process = subprocess.Popen[bytes]

CONNECTIONS = 32
BARE, OURS = "bare aiohttp", "Ringway"
GET, POST = "GET a second on one core", "POST a second on one core"
GET_P99, POST_P99 = "p99 of GET at 1,250/s, ms", "p99 of POST at 750/s, ms"
SESSION_KB = "KB a session without a call"
SESSIONS = 20_000  # for the memory of one

REST_TARGETS = (
    Target(GET, OURS, 2500, at_least=True),
    Target(POST, OURS, 1500, at_least=True),
    Target(GET, OURS, 0.4, at_least=True, beside=BARE),
    Target(POST, OURS, 0.4, at_least=True, beside=BARE),
    Target(GET_P99, OURS, 20),
    Target(POST_P99, OURS, 20),
    Target(SESSION_KB, OURS, 6),
)

BARE_SERVER = """
import sys
from aiohttp import web
import uvloop

async def get(request):
    return web.json_response({"id": "1", "calls": []})

async def post(request):
    return web.json_response({"session": (await request.json())["name"]})

uvloop.install()
app = web.Application()
app.router.add_get("/api/sessions/{id}", get)
app.router.add_post("/api/CallSession/createSession", post)
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None)
"""


def get_request(session: str) -> bytes:
    """Read one session (dialect D)."""
    return f"GET /api/sessions/{session} HTTP/1.1\r\nHost: b\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode()


def post_request(name: str = "bench") -> bytes:
    """Make a session (dialect A)."""
    body = json.dumps({"host": "alice", "name": name}).encode()
    head = (
        f"POST /api/CallSession/createSession HTTP/1.1\r\nHost: b\r\nAuthorization: Bearer {TOKEN}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Client(asyncio.Protocol):
    """One connection with one request at a time."""

    def __init__(self) -> None:
        self._data = b""
        self._done: Callable[[bytes], None] = lambda _body: None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def ask(self, request: bytes, done: Callable[[bytes], None]) -> None:
        """Send `request`; `done` gets the body of the answer, which must be a 200."""
        assert self._transport is not None
        self._done = done
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        data = self._data + data
        head, found, body = data.partition(b"\r\n\r\n")
        if found and len(body) >= int(head.lower().partition(b"content-length: ")[2].split(b"\r\n", 1)[0]):
            assert head.startswith(b"HTTP/1.1 200 "), data
            self._data = b""
            self._done(body)
        else:
            self._data = data

    def close(self) -> None:
        """Hang up."""
        assert self._transport is not None
        self._transport.abort()


async def clients(port: int) -> list[Client]:
    """CONNECTIONS open ones."""
    loop = asyncio.get_running_loop()
    return [(await loop.create_connection(Client, "127.0.0.1", port))[1] for _ in range(CONNECTIONS)]


async def most_a_second(process: Process, port: int, request: bytes, seconds: float) -> float:
    """Requests answered in a second of the server's core when every client asks again at once."""
    asking = await clients(port)
    pids = children_of(process.pid)
    answered = 0
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    over = loop.create_future()

    def again(client: Client) -> Callable[[bytes], None]:
        def done(_body: bytes) -> None:
            nonlocal answered
            answered += 1
            if loop.time() < until:
                client.ask(request, done)
            elif not over.done():
                over.set_result(None)

        return done

    before = cpu_ns(pids)
    for client in asking:
        client.ask(request, again(client))
    await over
    used_s = (cpu_ns(pids) - before) / 1e9
    for client in asking:
        client.close()
    return answered / used_s


async def p99_at(port: int, request: bytes, rate: float, seconds: float) -> float:
    """Milliseconds, counted from the instant that a request was due."""
    free = await clients(port)
    asking = list(free)
    late: list[float] = []
    began = time.perf_counter()
    due: list[float] = []

    def send() -> None:
        while free and due:
            at, client = due.pop(0), free.pop()

            def done(_body: bytes, at: float = at, client: Client = client) -> None:
                late.append((time.perf_counter() - at) * 1000)
                free.append(client)
                send()

            client.ask(request, done)

    for n in range(int(rate * seconds)):
        wait = began + n / rate - time.perf_counter()
        if wait > 0.0005:
            await asyncio.sleep(wait)
        due.append(began + n / rate)
        send()
    await asyncio.sleep(1)
    for client in asking:
        client.close()
    return quantile(sorted(late), 0.99)


async def make_sessions(port: int, count: int) -> str:
    """Make them; the id of the last one."""
    asking = await clients(port)
    left = count
    last = b""
    over = asyncio.get_running_loop().create_future()

    def again(client: Client) -> Callable[[bytes], None]:
        def done(body: bytes) -> None:
            nonlocal left, last
            left -= 1
            last = body
            if left >= len(asking):
                client.ask(post_request(), done)
            elif left == 0:
                over.set_result(None)

        return done

    for client in asking:
        client.ask(post_request(), again(client))
    await over
    for client in asking:
        client.close()
    return str(json.loads(last)["session"])


@asynccontextmanager
async def bare(cores: Cores) -> AsyncIterator[tuple[Process, int]]:
    """The bare handler, and its port."""
    with tempfile.TemporaryDirectory() as folder:
        port = free_port(socket.SOCK_STREAM)
        command = [sys.executable, "-c", BARE_SERVER, str(port)]
        process = start(command, cores.device, DEVICE_NICENESS, cwd=Path(folder), environment={"PYTHONPATH": str(ROOT)})
        try:
            async with asyncio.timeout(START_S):
                while True:
                    try:
                        _, writer = await asyncio.open_connection("127.0.0.1", port)
                    except OSError:
                        await asyncio.sleep(0.05)
                    else:
                        writer.close()
                        break
            yield process, port
        finally:
            await asyncio.to_thread(stop, process)


async def run(cores: Cores, repeats: int, seconds: float) -> Table:
    """All figures, the two servers in turn."""
    table = Table([BARE, OURS], BARE)
    for repeat in range(repeats):
        print(f"  rest {repeat + 1}/{repeats}", file=sys.stderr)
        async with bare(cores) as (process, port):
            table.add(GET, BARE, await most_a_second(process, port, get_request("1"), seconds))
            table.add(POST, BARE, await most_a_second(process, port, post_request(), seconds))
            table.add(GET_P99, BARE, await p99_at(port, get_request("1"), 1250, seconds))
            table.add(POST_P99, BARE, await p99_at(port, post_request(), 750, seconds))
        async with server(cores) as (process, port):
            session = await make_sessions(port, CONNECTIONS)
            table.add(GET, OURS, await most_a_second(process, port, get_request(session), seconds))
            table.add(GET_P99, OURS, await p99_at(port, get_request(session), 1250, seconds))
            table.add(POST_P99, OURS, await p99_at(port, post_request(), 750, seconds))
            table.add(POST, OURS, await most_a_second(process, port, post_request(), seconds))
            await asyncio.sleep(2)
            pids = children_of(process.pid)
            before = memory_kb(pids)
            await make_sessions(port, SESSIONS)
            await asyncio.sleep(2)
            table.add(SESSION_KB, OURS, (memory_kb(pids) - before) / SESSIONS)
    return table


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.rest", description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--check", action="store_true", help="end with status 1 if a target is missed")
    given = parser.parse_args()
    raise_file_limit()
    cores = Cores.of_this_machine()
    os.sched_setaffinity(0, {cores.generator})
    if os.geteuid() == 0:
        os.nice(GENERATOR_NICENESS)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        table = runner.run(run(cores, given.repeats, given.seconds))
    print(table.markdown())
    missed = report(table, REST_TARGETS)
    return 1 if missed and given.check else 0


if __name__ == "__main__":
    sys.exit(main())
