"""A stage with a server: extensions handed out, phones that end with the scene, a capture of all SIP."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .baresip import PCMU, Baresip, Codec, PhoneSettings, Talk
from .capture import Capture
from .linphone import Linphone, LinphoneSettings
from .network import Network
from .program import absent
from .scenes import own_network
from .server import Server
from .settings import Settings, password_of
from .sipp import Sipp

HEARD_SHARE = 0.95
FIRST_EXTENSION = 1001
DISCARD_PORT = 9  # nothing is ever sent there


@dataclass
class Stage:
    """What the scenes of a module share."""

    network: Network
    folder: Path
    server: Server
    capture: Capture
    _extensions: itertools.count[int] = field(default_factory=lambda: itertools.count(FIRST_EXTENSION))
    _folders: itertools.count[int] = field(default_factory=itertools.count)

    @asynccontextmanager
    async def cast(self) -> AsyncIterator[Cast]:
        """Phones and trunks of one scene; all end with the block."""
        cast = Cast(self)
        try:
            yield cast
        finally:
            await cast.leave()

    def extension(self) -> str:
        """The number of an extension that no other scene uses."""
        return str(next(self._extensions))

    def place_for(self, name: str) -> Path:
        """A folder of its own."""
        return self.folder / f"{next(self._folders):02d}-{name}"


class Cast:
    """Those who play in one scene."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self._members: list[Baresip | Linphone | Sipp] = []

    async def phones(self, count: int, **settings: Any) -> list[Baresip]:
        """Registered phones, each with an extension of its own."""
        numbers = [self.stage.extension() for _ in range(count)]
        return list(await asyncio.gather(*(self.phone(number, **settings) for number in numbers)))

    async def phone(
        self,
        number: str,
        *,
        password: str | None = None,
        transport: str = "udp",
        codec: Codec = PCMU,
        auto_answer: bool = False,
        await_registration: bool = True,
    ) -> Baresip:
        """A phone of the extension `number`; it says a tone of its own."""
        settings = PhoneSettings(
            user=number,
            tone_hz=tone_of(number),
            password=password_of(number) if password is None else password,
            server=self.stage.server.place,
            transport=transport,
            codec=codec,
            auto_answer=auto_answer,
            await_registration=await_registration,
        )
        return await self._baresip(settings, f"baresip-{number}")

    async def trunk_phone(self, number: str, address: str, port: int, *, auto_answer: bool = True) -> Baresip:
        """A phone at an address of its own that knows of no server: the far end of a trunk."""
        settings = PhoneSettings(number, tone_of(number), address=address, port=port, auto_answer=auto_answer)
        return await self._baresip(settings, f"trunk-{number}")

    async def linphone(self, number: str) -> Linphone:
        """A linphonec of the extension `number`."""
        settings = LinphoneSettings(number, password_of(number), tone_of(number), self.stage.server.place)
        folder = self.stage.place_for(f"linphone-{number}")
        phone = await Linphone.start(settings, folder, self.stage.network)
        self._members.append(phone)
        return phone

    async def trunk(self, scenario: str, *options: str, place: str, status: str = "") -> Sipp:
        """A SIPp that answers at host:port."""
        address, _, port = place.rpartition(":")
        folder = self.stage.place_for(scenario)
        trunk = await Sipp.trunk(
            self.stage.network, folder, scenario, *options, address=address, port=int(port), status=status
        )
        self._members.append(trunk)
        return trunk

    def callers(self, scenario: str, *options: str, address: str, timeout_s: int = 60) -> Sipp:
        """A SIPp that calls the server."""
        caller = Sipp(
            self.stage.network,
            self.stage.place_for(scenario),
            scenario,
            *options,
            target=self.stage.server.place,
            address=address,
            timeout_s=timeout_s,
        )
        self._members.append(caller)
        return caller

    async def leave(self) -> None:
        """End everyone."""
        await asyncio.gather(*(member.stop() for member in self._members))

    async def _baresip(self, settings: PhoneSettings, name: str) -> Baresip:
        phone = await Baresip.start(settings, self.stage.place_for(name), self.stage.network)
        self._members.append(phone)
        return phone


def tone_of(number: str) -> int:
    """The tone, in Hz, that the phone of `number` says; numbers next to each other differ by 100 Hz."""
    return 500 + 100 * (int(number[-4:]) % 16)


async def meet(caller: Baresip, callee: Baresip, number: str | None = None) -> tuple[Talk, Talk]:
    """Dial, ring, answer; the talks once both hear something."""
    await caller.dial(f"sip:{number or callee.settings.user}@{caller.settings.domain}")
    if not callee.settings.auto_answer:
        await callee.answer()
    mine, theirs = await asyncio.gather(caller.talk_begins(), callee.talk_begins())
    return mine, theirs


async def part(first: Baresip, talk: Talk, second: Baresip, other: Talk) -> None:
    """`first` hangs up; the other's call is over within a second."""
    await first.hang_up()
    await asyncio.gather(first.talk_ends(talk), second.talk_ends(other))
    assert other.closed_at - talk.closed_at < 1.0, "the other side stayed in the call"


async def heard_each_other(first: Baresip, talk: Talk, second: Baresip, other: Talk) -> None:
    """Each recording holds the other's tone for nearly all of the talk."""
    for listener, speaker, length in ((first, second, talk.duration_s), (second, first, other.duration_s)):
        heard = await listener.heard(speaker.settings.tone_hz)
        share = heard.share_of(length)
        assert share >= HEARD_SHARE, (
            f"{listener.settings.user} heard {speaker.settings.user} ({speaker.settings.tone_hz} Hz) "
            f"for {share:.0%} of {length:.1f} s; the recording is {heard.total_s:.1f} s long"
        )


@asynccontextmanager
async def stage_with_server(
    folder: Path, settings: Settings, *, development: bool = True, captures: bool = True
) -> AsyncIterator[Stage]:
    """A network, a capture of its SIP and a server, which at the end must stop cleanly.

    Under load do without `captures` (the capture then sees nothing) and without `development`.
    """
    async with own_network() as network:
        server = await Server.start(network, folder / "server", settings, development=development)
        try:
            capture = Capture(network, [server.sip_port if captures else DISCARD_PORT])
        except PermissionError:
            await server.stop()
            absent("the right to open raw sockets")
            raise
        try:
            yield Stage(network, folder, server, capture)
            await server.stop()
        finally:
            capture.close()
            with suppress(AssertionError):  # the first failure is the one to tell
                if server.program.running:
                    await server.stop()
