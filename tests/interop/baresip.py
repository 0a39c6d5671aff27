"""baresip as a phone under remote control: settings, commands and events by netstrings, recordings."""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import time
from dataclasses import dataclass, field
from pathlib import Path

from . import tones
from .network import Network
from .program import Program, needs, until

MODULES = Path("/usr/lib/baresip/modules")
TONE_FILE_S = 60.0  # longer than any call here: at its end baresip hangs up
RTP_PORTS = 20


@dataclass(frozen=True)
class Codec:
    """A codec as baresip names it, with the module and the audio format it wants."""

    name: str
    module: str
    rate_hz: int = 8_000
    channels: int = 1
    tone_file_s: float = TONE_FILE_S
    "A large file takes baresip so long to load that the first words are lost."


PCMU = Codec("PCMU/8000/1", "g711.so")
PCMA = Codec("PCMA/8000/1", "g711.so")
G722 = Codec("G722/16000/1", "g722.so", 16_000)
OPUS = Codec("opus/48000/2", "opus.so", 48_000, 2, tone_file_s=20.0)


@dataclass(frozen=True)
class PhoneSettings:
    """One phone. `server` is the registrar and outbound proxy, or None for a phone on its own."""

    user: str
    tone_hz: int
    password: str = ""
    server: str | None = None
    transport: str = "udp"
    codec: Codec = PCMU
    auto_answer: bool = False
    address: str = "127.0.0.1"
    domain: str = "127.0.0.1"
    auth_user: str = ""
    port: int = 0
    "SIP port, with TLS on the one above it; 0 takes free ones."
    register: bool = True
    await_registration: bool = True
    "Whether start() returns only once the registrar has said 200."


@dataclass(frozen=True)
class Event:
    """What baresip told: its type (CALL_...), its parameter, and when it was read (monotonic, seconds)."""

    type: str
    param: str
    at: float


@dataclass
class Talk:
    """One call as a phone saw it. Times are monotonic seconds."""

    established_at: float
    closed_at: float = 0.0

    @property
    def duration_s(self) -> float:
        return self.closed_at - self.established_at


@dataclass
class _Inbox:
    pending: list[Event] = field(default_factory=list)
    history: list[Event] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class Baresip:
    """A running phone. Start with `await Baresip.start(...)`, end with `await phone.stop()`."""

    def __init__(self, settings: PhoneSettings, folder: Path, network: Network) -> None:
        self.settings = settings
        self.folder = folder
        self.network = network
        self.port = settings.port or network.ports(2, settings.address)
        self._control_port = network.ports(1)
        self._rtp_port = network.ports(RTP_PORTS, settings.address)
        self._tokens = itertools.count(1)
        self._replies: dict[str, asyncio.Future[str]] = {}
        self._inbox = _Inbox()
        self._writer: asyncio.StreamWriter | None = None
        self._reader_task: asyncio.Task[None] | None = None
        self.program: Program | None = None

    @classmethod
    async def start(cls, settings: PhoneSettings, folder: Path, network: Network) -> Baresip:
        """Write the settings, start the program and connect to its control port."""
        needs("baresip")
        phone = cls(settings, folder, network)
        phone._write_settings()
        phone.program = Program(network, ["baresip", "-f", str(folder)], folder)
        try:
            await phone.program.said("baresip is ready")
            await phone._connect()
            if settings.server and settings.register and settings.await_registration:
                await phone.registered()
        except BaseException:
            await phone.stop()
            raise
        return phone

    @property
    def uri(self) -> str:
        """Where it can be called without any server."""
        return f"sip:{self.settings.user}@{self.settings.address}:{self.port}"

    @property
    def rtp_ports(self) -> range:
        """Where it may listen for RTP."""
        return range(self._rtp_port, self._rtp_port + RTP_PORTS, 2)

    async def registered(self, timeout_s: float = 6.0) -> None:
        """Wait for the registrar's 200."""
        await self._registration("OK", timeout_s)

    async def registration_refused(self, timeout_s: float = 6.0) -> None:
        """Wait until the registrar has said no for good."""
        await self._registration("ERR", timeout_s)

    async def _registration(self, state: str, timeout_s: float) -> None:
        """Poll `reginfo`: the first answer may come before the control port is open, so there is no event."""
        give_up_at = time.monotonic() + timeout_s
        while state not in (answer := await self.command("reginfo")):
            assert time.monotonic() < give_up_at, f"{self.settings.user} registers: {answer.strip()!r}"
            await asyncio.sleep(0.05)

    async def command(self, name: str, params: str | None = None, timeout_s: float = 5.0) -> str:
        """Give a command; baresip's answer. Raises AssertionError when it says no."""
        assert self._writer is not None
        token = f"{name}-{next(self._tokens)}"
        message = {"command": name, "token": token} | ({"params": params} if params is not None else {})
        data = json.dumps(message).encode()
        reply: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._replies[token] = reply
        self._writer.write(b"%d:%s," % (len(data), data))
        async with asyncio.timeout(timeout_s):
            return await reply

    async def dial(self, uri: str) -> None:
        """Start a call; the events tell how it goes."""
        await self.command("dial", uri)

    async def answer(self, timeout_s: float = 6.0) -> None:
        """Wait for an incoming call and accept it."""
        await self.event("CALL_INCOMING", timeout_s=timeout_s)
        await self.command("accept")

    async def hang_up(self) -> None:
        await self.command("hangup")

    async def press(self, digit: str) -> None:
        """Send one DTMF digit (RFC 4733): key down, and up again."""
        await self.command("sndcode", digit)

    async def event(self, kind: str, param: str | None = None, timeout_s: float = 6.0) -> Event:
        """Wait for an event not yet taken, and take it. `param`, when given, must be within the event's."""
        give_up_at = time.monotonic() + timeout_s
        while True:
            for event in self._inbox.pending:
                if event.type == kind and (param is None or param in event.param):
                    self._inbox.pending.remove(event)
                    return event
            self._inbox.changed.clear()
            try:
                async with asyncio.timeout(give_up_at - time.monotonic()):
                    await self._inbox.changed.wait()
            except TimeoutError:
                seen = [f"{event.type} {event.param}".strip() for event in self._inbox.history]
                raise AssertionError(
                    f"{self.settings.user}: no {kind} {param or ''} in {timeout_s} s; saw {seen}"
                ) from None

    def saw(self, kind: str) -> bool:
        """Whether such an event ever came."""
        return any(event.type == kind for event in self._inbox.history)

    async def talk_begins(self, timeout_s: float = 6.0) -> Talk:
        """Wait until the call is up and the first RTP was heard."""
        established = await self.event("CALL_ESTABLISHED", timeout_s=timeout_s)
        await self.event("CALL_RTPESTAB", timeout_s=timeout_s)
        return Talk(established.at)

    async def talk_ends(self, talk: Talk, timeout_s: float = 3.0) -> Event:
        """Wait for the end of the call; what baresip gives as its reason."""
        event = await self.event("CALL_CLOSED", timeout_s=timeout_s)
        talk.closed_at = event.at
        return event

    async def heard(self, hz: float) -> tones.Heard:
        """What the recording of the last call, or of its part since the last resume, holds of a tone."""
        return (await self.heard_in_parts(hz))[-1]

    async def heard_in_parts(self, hz: float) -> list[tones.Heard]:
        """The same of every recording, oldest first: one a call, and another each time it is resumed."""
        files = sorted((self.folder / "rec").glob("dump-*-dec.wav"))
        assert files, f"{self.settings.user} recorded nothing"
        await until(lambda: files[-1].stat().st_size > 44, 3.0, lambda: f"{files[-1]} stays empty")
        return [tones.listen(path, hz) for path in files]

    async def stop(self) -> None:
        """Quit (it unregisters first), close the control connection."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        if self._reader_task is not None:
            self._reader_task.cancel()
            await asyncio.gather(self._reader_task, return_exceptions=True)
            self._reader_task = None
        if self.program is not None:
            await self.program.stop()

    def _write_settings(self) -> None:
        folder, mine = self.folder, self.settings
        (folder / "rec").mkdir(parents=True, exist_ok=True)
        (folder / "contacts").touch()
        say = folder / "say.wav"
        codec = mine.codec
        tones.write_tone(say, mine.tone_hz, codec.tone_file_s, channels=codec.channels, rate_hz=codec.rate_hz)
        lines = {
            "poll_method": "epoll",
            "sip_listen": f"{mine.address}:{self.port}",
            "net_interface": mine.address,
            "call_max_calls": "1",
            "call_local_timeout": "60",
            "audio_path": "/usr/share/baresip",
            "audio_source": f"aufile,{say}",
            "audio_player": f"aubridge,sink-{mine.user}",
            "audio_alert": f"aubridge,sink-{mine.user}",
            "ausrc_srate": str(mine.codec.rate_hz),
            "auplay_srate": str(mine.codec.rate_hz),
            "ausrc_channels": str(mine.codec.channels),
            "auplay_channels": str(mine.codec.channels),
            "rtp_ports": f"{self._rtp_port}-{self._rtp_port + RTP_PORTS - 2}",
            "snd_path": f"{folder}/rec",
            "module_path": str(MODULES),
            "ctrl_tcp_listen": f"127.0.0.1:{self._control_port}",
        }
        modules = ["module " + name for name in (mine.codec.module, "aufile.so", "aubridge.so", "sndfile.so")]
        modules += ["module_app " + name for name in ("account.so", "menu.so", "ctrl_tcp.so", "debug_cmd.so")]
        text = "\n".join([f"{name} {value}" for name, value in lines.items()] + modules) + "\n"
        (folder / "config").write_text(text)
        (folder / "accounts").write_text(self._account() + "\n")

    def _account(self) -> str:
        mine = self.settings
        fields = [
            f"<sip:{mine.user}@{mine.domain};transport={mine.transport}>",
            f"answermode={'auto' if mine.auto_answer else 'manual'}",
            f"audio_codecs={mine.codec.name}",
        ]
        if mine.server:
            fields += [
                f"auth_user={mine.auth_user or mine.user}",
                f"auth_pass={mine.password}",
                f'outbound="sip:{mine.server};transport={mine.transport}"',
                f"regint={60 if mine.register else 0}",
            ]
        else:
            fields.append("regint=0")
        return ";".join(fields)

    async def _connect(self) -> None:
        connection = self.network.socket(socket.AF_INET, socket.SOCK_STREAM)
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", self._control_port))
        reader, self._writer = await asyncio.open_connection(sock=connection)
        self._reader_task = asyncio.create_task(self._read(reader), name=f"baresip {self.settings.user}")

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while True:
            try:
                size = int((await reader.readuntil(b":"))[:-1])
                message = json.loads((await reader.readexactly(size + 1))[:-1])
            except (asyncio.IncompleteReadError, ConnectionError):
                return
            if message.get("event"):
                event = Event(message["type"], str(message.get("param", "")), time.monotonic())
                self._inbox.pending.append(event)
                self._inbox.history.append(event)
                self._inbox.changed.set()
            elif (reply := self._replies.pop(message.get("token", ""), None)) and not reply.done():
                if message["ok"]:
                    reply.set_result(message["data"])
                else:
                    reply.set_exception(AssertionError(f"{self.settings.user}: {message['data']}"))
