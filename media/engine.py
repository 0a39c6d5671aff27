"""[io] The media engine: makes legs with ports of their own, joins them, plays to them."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from typing import Any

from .codecs import KNOWN, Codec, policy_of
from .coders import load
from .errors import NoPortsLeft
from .leg import Attachment, MediaLeg, Mix
from .player import Frames, comfort_frames, prompt_frames, ringback_frames, tone_frames
from .poller import make_poller
from .ports import REST_S, PortPair, PortPool
from .relay_leg import Address
from .rtp_leg import RtpLeg
from .voice_leg import VoiceLeg

DEFAULT_CODECS = ("PCMU", "PCMA", "G722", "opus")
PLAYER_CODECS = ("PCMU", "PCMA", "G722", "opus")
"What a leg must be limited to if it is to hear tones and prompts: codecs that we can encode."

PCMU = KNOWN["pcmu"]
TICK_S = 0.02
LATE_TICKS = 10  # a ticker that is later than this does not catch up: nobody wants 200 ms at once
WHEEL = 20  # slices of a second: the legs' once-a-second work is spread, so that no packet waits for all of it


@dataclass(frozen=True, slots=True)
class MediaConfig:
    """Where and what media may be."""

    bind_host: str | tuple[str, ...] = "127.0.0.1"
    "Numeric address to bind RTP sockets to, or one of each IP version: the first serves where neither is asked for."
    advertised_host: str | tuple[str, ...] | None = None
    "Numeric address written into SDP, if another (behind 1:1 NAT); or one of each IP version that is bound."
    port_range: tuple[int, int] = (40000, 49999)
    "First and last UDP port, of each address; RTP takes the even ones, RTCP the odd ones after them."
    codecs: tuple[str, ...] = DEFAULT_CODECS
    "Codecs we accept and offer, best first."
    timeout_s: float = 60.0
    "Without RTP for this long, and no hold, a leg calls `on_timeout`."
    port_rest_s: float = REST_S
    "How long freed ports are not given out again."


class MediaEngine:
    """Implements `media.leg.Media` with real sockets. Made and used on a running asyncio loop."""

    def __init__(self, config: MediaConfig = MediaConfig()) -> None:
        """Raises ValueError for an unknown codec, an unusable port range, or addresses that do not go together."""
        self.config = config
        self.loop = asyncio.get_running_loop()
        self.poller = make_poller(self.loop)
        self.timeout_s = config.timeout_s
        self._policy = policy_of(config.codecs)
        self._pools = _pools(config)
        self._first_ipv6 = next(iter(self._pools))
        self._wheel: list[set[VoiceLeg]] = [set() for _ in range(WHEEL)]
        self._slots: dict[VoiceLeg, int] = {}
        self._next_slot = 0
        self._serial = 0
        self._bridges = 0
        self._players = 0
        self._wheel_timer: asyncio.TimerHandle | None = None
        self._ticker = Ticker(self.loop)
        self._wheel_at = 0
        self._loading: dict[str, asyncio.Future[object]] = {}
        self._closing: set[asyncio.Task[None]] = set()

    # Verbs of `Media`.

    def create_leg(
        self,
        *,
        codecs: Sequence[str] | None = None,
        peer_host: str | None = None,
        ipv6: bool | None = None,
        webrtc: bool = False,
        video: bool = True,
    ) -> VoiceLeg:
        """A new leg with ports of its own. Raises NoPortsLeft, ValueError for an unknown codec."""
        policy = self._policy if codecs is None else policy_of(codecs)
        self._serial += 1
        session_id = random.getrandbits(31)
        leg: VoiceLeg
        if webrtc:
            from .webrtc_leg import WebRtcLeg  # late: aiortc takes a second to import, see `preload`

            leg = WebRtcLeg(f"webrtc-{self._serial}", self, self.take_pairs(), policy, session_id, video=video)
        else:
            if ipv6 is None and peer_host is not None:
                ipv6 = ":" in peer_host
            if ipv6 is None or ipv6 not in self._pools:
                ipv6 = self._first_ipv6
            leg = RtpLeg(f"rtp-{self._serial}", self, self.take_pair(ipv6), policy, session_id, peer_host)
        slot = self._next_slot = (self._next_slot + 1) % WHEEL
        self._wheel[slot].add(leg)
        self._slots[leg] = slot
        if self._wheel_timer is None:
            self._wheel_timer = self.loop.call_later(1 / WHEEL, self._turn)
        return leg

    def bridge(self, a: MediaLeg, b: MediaLeg) -> Attachment:
        """Relay between two legs of this engine; the same bridge again if they are joined already."""
        first, second = self._own(a), self._own(b)
        joined = first.attachment
        if isinstance(joined, Bridge) and joined is second.attachment and first is not second:
            return joined
        return Bridge(self, first, second)

    def mix(self, legs: Sequence[MediaLeg]) -> Mix:
        """Let these legs hear each other, as far as their directions allow."""
        from .mixer import Mixer  # late: most servers never mix

        return Mixer(self, legs)

    def echo(self, leg: MediaLeg, prompt: bool = True) -> Attachment:
        """Send back what is received, after a short spoken prompt if wanted."""
        own = self._own(leg)
        if not prompt:
            return Bridge(self, own, own)
        return Player(self, own, partial(prompt_frames, name="echo"), after=lambda leg: self.echo(leg, prompt=False))

    def tone(self, leg: MediaLeg, hz: int = 1000) -> Attachment:
        """Play a continuous tone. Raises ValueError for a frequency beyond 1-3,999 Hz."""
        tone_frames(PCMU, hz)
        return Player(self, self._own(leg), partial(tone_frames, hz=hz))

    def ringback(self, leg: MediaLeg) -> Attachment:
        """Play the ringing tone."""
        return Player(self, self._own(leg), ringback_frames)

    def announce(self, leg: MediaLeg, name: str) -> Attachment:
        """Say a recorded sentence once, then comfort noise until replaced. Raises MediaError for an unknown name."""
        prompt_frames(PCMU, name)
        return Player(self, self._own(leg), partial(prompt_frames, name=name), after=self.comfort)

    def comfort(self, leg: MediaLeg) -> Attachment:
        """Comfort noise until replaced."""
        return Player(self, self._own(leg), comfort_frames)

    def counts(self) -> dict[str, int]:
        """Live legs, bridges and players; ports in use and port pairs resting."""
        return {
            "legs": len(self._slots),
            "bridges": self._bridges,
            "players": self._players,
            "ports": 2 * sum(len(pool.used) for pool in self._pools.values()),
            "ports_resting": 2 * sum(pool.resting for pool in self._pools.values()),
        }

    @staticmethod
    def preload() -> None:
        """Import what legs towards browsers need; takes a second, and may run in a thread."""
        from . import webrtc_leg  # noqa: F401 -- for its imports
        from .ice import fingerprint

        fingerprint()

    def close(self) -> None:
        """Close every leg and free every port."""
        for leg in list(self._slots):
            leg.close()
        self._ticker.close()
        self.poller.close()
        if self._wheel_timer is not None:
            self._wheel_timer.cancel()
            self._wheel_timer = None

    # What legs and attachments need.

    def is_own(self, address: Address) -> bool:
        """True for an address of this engine: relaying to it could make a loop."""
        pool = self._pools.get(":" in address[0])
        return pool is not None and pool.owns(*address)

    def has(self, *, ipv6: bool) -> bool:
        """Whether there are ports of this IP version."""
        return ipv6 in self._pools

    def every_tick(self, tick: Callable[[float], bool]) -> None:
        """Call this every 20 ms with the monotonic time, until it returns False."""
        self._ticker.add(tick)

    async def load_codecs(self, names: Sequence[str] = ()) -> None:
        """Import in a thread what our codecs take, and those of these names. ValueError for an unknown one."""
        codecs = self._policy + (policy_of(names) if names else ())
        await self.loop.run_in_executor(None, load, codecs)

    def load(self, module: str) -> None:
        """Import in the background what takes long and is seldom needed; once."""
        if module not in self._loading:
            self._loading[module] = self.loop.run_in_executor(None, import_module, module)

    def closed(self, leg: VoiceLeg, pair: PortPair) -> None:
        """A leg is gone; its ports are free."""
        self._wheel[self._slots.pop(leg)].discard(leg)
        self.give_back(pair)

    def take_pair(self, ipv6: bool) -> PortPair:
        """A port pair of this IP version. Raises NoPortsLeft."""
        return self._pools[ipv6].take(time.monotonic())

    def take_pairs(self) -> tuple[PortPair, ...]:
        """A port pair of each IP version, the first one first; without one that has none left. Raises NoPortsLeft."""
        pairs: list[PortPair] = []
        for ipv6 in self._pools:
            try:
                pairs.append(self.take_pair(ipv6))
            except NoPortsLeft:
                continue
        if not pairs:
            raise NoPortsLeft("no RTP port is free")
        return tuple(pairs)

    def give_back(self, pair: PortPair) -> None:
        """Close a pair; its ports are free."""
        self._pools[pair.ipv6].give_back(pair, time.monotonic())

    def closed_later(self, leg: VoiceLeg, closing: Coroutine[Any, Any, None]) -> None:
        """A leg is gone; `closing` gives its ports back."""
        self._wheel[self._slots.pop(leg)].discard(leg)
        self.finish(closing)

    def finish(self, closing: Coroutine[Any, Any, None]) -> None:
        """Run this to its end, whatever becomes of the leg."""
        task = self.loop.create_task(closing)
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def attach(self, player: Player) -> None:
        """Begin to tick a player."""
        self._players += 1
        self._ticker.add(player.tick)

    def detach(self, player: Player) -> None:
        """A player is done."""
        self._players -= 1
        self._ticker.remove(player.tick)

    def bridged(self, change: int) -> None:
        """Count bridges."""
        self._bridges += change

    def _own(self, leg: MediaLeg) -> VoiceLeg:
        assert isinstance(leg, VoiceLeg), "legs of another engine"
        return leg

    def _turn(self) -> None:
        """One slice of the legs' once-a-second work."""
        self._wheel_timer = self.loop.call_later(1 / WHEEL, self._turn) if self._slots else None
        self._wheel_at = (self._wheel_at + 1) % WHEEL
        now = time.monotonic()
        for leg in list(self._wheel[self._wheel_at]):
            leg.check(now)


def _pools(config: MediaConfig) -> dict[bool, PortPool]:
    """The ports of each IP version, by whether it is IPv6. ValueError for two of one, or an address of neither."""
    advertised = {":" in host: host for host in _hosts(config.advertised_host)}
    pools: dict[bool, PortPool] = {}
    for host in _hosts(config.bind_host):
        ipv6 = ":" in host
        if ipv6 in pools:
            raise ValueError("two addresses of one IP version to bind media to")
        told = advertised.pop(ipv6, None)
        pools[ipv6] = PortPool(host, *config.port_range, rest_s=config.port_rest_s, advertised=told)
    if not pools or advertised:
        raise ValueError("an advertised address for media needs one of its IP version to bind to")
    return pools


def _hosts(hosts: str | tuple[str, ...] | None) -> tuple[str, ...]:
    return (hosts,) if isinstance(hosts, str) else hosts or ()


class Ticker:
    """One 20 ms timer for everything that plays; it stands still while nothing does."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._ticking: dict[Callable[[float], bool], None] = {}
        self._due_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def add(self, tick: Callable[[float], bool]) -> None:
        """Call this every 20 ms with the monotonic time, until it returns False."""
        self._ticking[tick] = None
        if self._timer is None:
            self._due_at = self._loop.time()
            self._arm()

    def remove(self, tick: Callable[[float], bool]) -> None:
        """Call this no more."""
        self._ticking.pop(tick, None)

    def close(self) -> None:
        """Stop."""
        self._ticking.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        self._due_at += TICK_S
        self._timer = self._loop.call_at(self._due_at, self._run)

    def _run(self) -> None:
        late = self._loop.time() - self._due_at
        if late > LATE_TICKS * TICK_S:
            self._due_at += late
        now = time.monotonic()
        for tick in list(self._ticking):
            if tick in self._ticking and not tick(now):
                self._ticking.pop(tick, None)
        self._timer = None
        if self._ticking:
            self._arm()


class Bridge:
    """Two legs joined, or one with itself (echo)."""

    __slots__ = ("_engine", "_legs", "_open")

    def __init__(self, engine: MediaEngine, a: VoiceLeg, b: VoiceLeg) -> None:
        self._engine = engine
        self._legs = (a, b)
        for leg in self._legs:
            if leg.attachment is not None:
                leg.attachment.close()
        self._open = True
        engine.bridged(1)
        a.attachment = b.attachment = self
        a.feed(b)
        b.feed(a)

    def close(self) -> None:
        """Part the legs. Harmless twice."""
        if self._open:
            self._open = False
            self._engine.bridged(-1)
            for leg in self._legs:
                leg.attachment = None
                leg.feed(None)


@dataclass(slots=True, eq=False)
class Player:
    """Frames sent to one leg, over and over or once and then something else."""

    engine: MediaEngine
    leg: VoiceLeg
    frames: Callable[[Codec], Frames]
    "The frames in a codec."
    after: Callable[[VoiceLeg], Attachment] | None = None
    "What to attach when all is said; None to say it again."
    at: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.leg.attachment is not None:
            self.leg.attachment.close()
        self.leg.attachment = self
        self.engine.attach(self)

    def tick(self, now: float) -> bool:
        """Send the next frame. False when the player is done."""
        leg = self.leg
        codec = leg.voice
        if codec is not None:
            frames = self.frames(KNOWN[codec.key[0]])  # made once, whatever number the leg gives it
            leg.play(codec, frames[self.at], now)
            self.at = (self.at + 1) % len(frames)
            over = self.at == 0
        else:
            leg.pause()
            over = leg.agreed and not leg.can_hear_players
        if over and self.after is not None:
            self.after(leg)
            return False
        return True

    def close(self) -> None:
        """Stop. Harmless twice."""
        if self.leg.attachment is self:
            self.leg.attachment = None
            self.leg.pause()
            self.engine.detach(self)
