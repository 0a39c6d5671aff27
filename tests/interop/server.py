"""Ringway under test: `ringway serve` as a program of its own, asked over HTTP, ended by SIGTERM."""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp

from .network import Network
from .program import Program
from .settings import ADMIN_TOKEN, Settings

ROOT = Path(__file__).parent.parent.parent
READY_LIMIT_S = 30.0
KEPT = {"retained", "media_ports_resting"}  # what is kept for a while after calls, on purpose
IDLE_LIMIT_S = 45.0  # timers of transactions run for 32 s after the last message (RFC 3261 17.1.1.2)


class Server:
    """A running server."""

    def __init__(self, network: Network, folder: Path, settings: Settings, *, development: bool = True) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        text, self.sip_port, self.http_port = settings.write(network)
        config = folder / "ringway.toml"
        config.write_text(text)
        self.address = settings.address
        command = [sys.executable, *(("-X", "dev") if development else ()), "-c", "from server.cli import main; main()"]
        self.program = Program(
            network,
            [*command, "serve", "--config", str(config)],
            folder,
            environment={"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": ""},
        )
        self._at_rest: dict[str, int] = {}
        connector = aiohttp.TCPConnector(
            socket_factory=lambda info: network.socket(socket.AddressFamily(info[0]), info[1], info[2])
        )
        self._http = aiohttp.ClientSession(f"http://127.0.0.1:{self.http_port}", connector=connector)

    @classmethod
    async def start(cls, network: Network, folder: Path, settings: Settings, *, development: bool = True) -> Server:
        """Start it and wait until it takes calls. `development`: Python's -X dev, which finds faults and is slow."""
        server = cls(network, folder, settings, development=development)
        try:
            await server.program.listens(server.sip_port, READY_LIMIT_S)
            await server.program.listens(server.http_port, READY_LIMIT_S)
            status, answer = await server.get("/readyz")
            assert status == 200, answer
            server._at_rest = await server.counts()
        except BaseException:
            server.program.kill()
            await server._http.close()
            raise
        return server

    @property
    def place(self) -> str:
        """host:port for SIP."""
        return f"{self.address}:{self.sip_port}"

    async def get(self, path: str, token: str = ADMIN_TOKEN) -> tuple[int, Any]:
        """GET; status and decoded JSON."""
        return await self._ask("GET", path, token, None)

    async def post(self, path: str, body: object = None, token: str = ADMIN_TOKEN) -> tuple[int, Any]:
        """POST of JSON; status and decoded JSON."""
        return await self._ask("POST", path, token, body)

    async def counts(self) -> dict[str, int]:
        """What the server holds at this moment: sessions, transactions, dialogs, ports, tasks."""
        status, answer = await self.get("/debug/counts")
        assert status == 200, answer
        counts: dict[str, int] = answer
        return counts

    async def idle(self, timeout_s: float = IDLE_LIMIT_S) -> None:
        """Wait until nothing of any call is left."""
        give_up_at = time.monotonic() + timeout_s
        while left := {
            name: count
            for name, count in (await self.counts()).items()
            if count > self._at_rest.get(name, 0) and name not in KEPT
        }:
            assert time.monotonic() < give_up_at, f"left over: {left}"
            await asyncio.sleep(0.5)

    async def stop(self) -> None:
        """SIGTERM; it must end with status 0 and without a traceback in its log."""
        await self._http.close()
        died = not self.program.running
        status = await self.program.stop(timeout_s=8.0)
        log = self.program.log()
        assert not died, f"the server died ({status})\n{log[-5000:]}"
        assert status == 0, f"exit status {status}\n{log[-5000:]}"
        self.check_log()

    def check_log(self) -> None:
        """AssertionError if anything in the log speaks of a fault of ours."""
        log = self.program.log()
        for sign in ("Traceback", '"level": "critical"', "Task exception was never retrieved", "was never awaited"):
            position = log.find(sign)
            assert position < 0, f"{sign} in the server's log\n{log[max(0, position - 1500) : position + 3000]}"

    async def _ask(self, method: str, path: str, token: str, body: object) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        timeout = aiohttp.ClientTimeout(total=5)
        async with self._http.request(method, path, json=body, headers=headers, timeout=timeout) as response:
            return response.status, await response.json()
