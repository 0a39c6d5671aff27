"""linphonec as a second phone of another make: commands on stdin, answers read from its output."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from dataclasses import dataclass
from pathlib import Path

from . import tones
from .network import Network
from .program import Program, needs, until

TONE_FILE_S = 90.0
RTP_PORTS = 20


@dataclass(frozen=True)
class LinphoneSettings:
    """One linphonec. `server` is host:port of the registrar."""

    user: str
    password: str
    tone_hz: int
    server: str
    domain: str = "127.0.0.1"


class Linphone:
    """A running linphonec that speaks a file and records what it hears."""

    def __init__(self, settings: LinphoneSettings, folder: Path, network: Network) -> None:
        needs("linphonec")
        self.settings = settings
        self.folder = folder
        self.port = network.ports(2)
        rtp = network.ports(RTP_PORTS)
        for name in (".local/share/linphone", ".config/linphone"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        rc = folder / "rc"
        rc.write_text(f"[sip]\nsip_port={self.port}\nuse_ipv6=0\n[rtp]\naudio_rtp_port={rtp}-{rtp + RTP_PORTS - 2}\n")
        tones.write_tone(folder / "say.wav", settings.tone_hz, TONE_FILE_S)
        self.program = Program(
            network, ["linphonec", "-c", str(rc)], folder, environment={"HOME": str(folder)}, stdin=True
        )
        self._read_up_to = 0

    @classmethod
    async def start(cls, settings: LinphoneSettings, folder: Path, network: Network) -> Linphone:
        """Start it, give it its tone and its recording, register."""
        phone = cls(settings, folder, network)
        try:
            await phone.said("linphonec>")
            phone.tell("soundcard use files")
            phone.tell(f"play {folder / 'say.wav'}")
            phone.tell(f"record {folder / 'heard.wav'}")
            if settings.server:
                phone.tell(f"register sip:{settings.user}@{settings.domain} sip:{settings.server} {settings.password}")
                await phone.registered()
        except BaseException:
            await phone.stop()
            raise
        return phone

    async def registered(self, timeout_s: float = 10.0) -> None:
        """Ask until it says so."""
        give_up_at = time.monotonic() + timeout_s
        while "registered, identity" not in self.program.log():
            assert time.monotonic() < give_up_at, f"linphonec does not register\n{self.program.log()[-2000:]}"
            self.tell("status register")
            await asyncio.sleep(0.3)

    def tell(self, command: str) -> None:
        """Type a command."""
        self.program.stdin.write(command.encode() + b"\n")
        self.program.stdin.flush()

    async def said(self, pattern: str, timeout_s: float = 10.0) -> str:
        """Wait for output that matches, after what was last waited for; the matched text."""
        found: list[re.Match[str]] = []

        def look() -> bool:
            match = re.compile(pattern).search(self.program.log(), self._read_up_to)
            found[:] = [match] if match else []
            return bool(match)

        await until(look, timeout_s, lambda: f"linphonec never said {pattern!r}", self.program)
        self._read_up_to = found[0].end()
        return found[0].group()

    async def heard(self, hz: float) -> tones.Heard:
        """What its recording holds of a tone."""
        return tones.listen(self.folder / "heard.wav", hz)

    async def stop(self) -> None:
        """Quit, so that the recording is closed."""
        if self.program.running:
            with contextlib.suppress(AssertionError, BrokenPipeError):  # it is ended below all the same
                self.tell("quit")
                await self.program.wait(5)
        await self.program.stop()
