"""[io] The feed of events: one ring in memory, any number of listeners that each read it at their own place.

An event is encoded once, whoever listens. A listener has no queue: it is a place in the ring, and what its socket has
not taken yet. One that stops reading is cut; it comes back with the last id it saw, and the database has the rest.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from signalling import EVENT_KINDS, Happening, Principal, Session, event_body, wire_kind

from .auth import role_in
from .errors import ApiError, bad_request

log = structlog.get_logger("server.events")

RING = 4096  # events; they also keep their sessions, a few kilobytes each
TICK_S = 0.02  # between two rounds of writing: at most so late is an event, and so many writes a second are saved
FRAME_EVENTS = 256  # of one write to one listener
BUFFER_BYTES = 128 * 1024  # unread by a listener: then it gets nothing more until it reads
STALL_S = 10.0  # that a listener may stay at that bound before it is cut
HEARTBEAT_S = 15.0  # of silence, then a comment, so that proxies keep the connection
SWEEP_S = 1.0  # between two looks at who stalls, is gone, or hears nothing
LISTENERS = 2000
LISTENERS_A_TOKEN = 1000
RETRY_AFTER_S = "5"

HEARTBEAT = b":\n\n"
BEHIND = "behind"
"End of a listener's life in the ring which had less than it needs; the database has it."


@dataclass(frozen=True, slots=True)
class Filter:
    """What a listener wants; None and empty stand for all."""

    session: str | None = None
    "Decimal id."
    channel: str | None = None
    kinds: frozenset[str] = frozenset()
    prefixes: tuple[str, ...] = ()
    "Of kinds, with their dot: `leg.`"

    def wants_kind(self, kind: str) -> bool:
        """Whether a kind is asked for."""
        return (
            kind in self.kinds
            or (bool(self.prefixes) and kind.startswith(self.prefixes))
            or not (self.kinds or self.prefixes)
        )


def kinds_of(text: str | Iterable[str]) -> tuple[frozenset[str], tuple[str, ...]]:
    """Kinds and prefixes from `leg.*,session.ended`; ApiError 400 for what no event is called."""
    kinds: set[str] = set()
    prefixes: list[str] = []
    for part in text.split(",") if isinstance(text, str) else text:
        name = part.strip()
        if name in EVENT_KINDS:
            kinds.add(name)
        elif name == "*":
            return frozenset(), ()
        elif name.endswith(".*") and any(kind.startswith(name[:-1]) for kind in EVENT_KINDS):
            prefixes.append(name[:-1])
        else:
            raise bad_request(f"kind: no event is called {name!r}")
    return frozenset(kinds), tuple(dict.fromkeys(prefixes))


def position_of(text: str) -> int | None:
    """The place of an event from its id, `evt_…` or the number alone; None when it is neither."""
    digits = text.removeprefix("evt_")
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 16 else None


def encode(body: Mapping[str, Any]) -> bytes:
    """An event as server-sent events have it (WHATWG HTML §9.2): id, name, one line of JSON."""
    data = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return f"id: {body['id']}\nevent: {body['kind']}\ndata: {data}\n\n".encode("utf-8", "replace")


class Entry:
    """An event in the ring."""

    __slots__ = ("_encoded", "happening", "kind")

    def __init__(self, happening: Happening) -> None:
        self.happening = happening
        self.kind = wire_kind(happening.kind)
        self._encoded: bytes | None = None

    @property
    def session(self) -> Session:
        """Where it happened."""
        return self.happening.session

    @property
    def encoded(self) -> bytes:
        """As every listener gets it."""
        if self._encoded is None:
            self._encoded = encode(event_body(self.happening))
        return self._encoded

    def fits(self, wanted: Filter) -> bool:
        """Whether a listener with this filter wants it."""
        session = self.happening.session
        return (
            wanted.wants_kind(self.kind)
            and (wanted.session is None or wanted.session == session.id)
            and (wanted.channel is None or wanted.channel == session.channel_id)
        )


class Sink(Protocol):
    """The socket of a listener, as asyncio's transports have it."""

    def write(self, data: bytes) -> None:
        """Take data for sending; never blocks."""

    def get_write_buffer_size(self) -> int:
        """Bytes that the other side has not taken yet."""

    def is_closing(self) -> bool:
        """Whether it is closed, or about to be."""

    def abort(self) -> None:
        """Close it at once; what is not sent is lost."""


class Listener:
    """One that listens: a place in the ring, a filter, and whose token it came with."""

    def __init__(self, principal: Principal, wanted: Filter, sees_all: bool, chunked: bool) -> None:
        self.principal = principal
        self.wanted = wanted
        self.chunked = chunked
        self.share = (principal.tenant, wanted, chunked) if sees_all else None
        "What listeners have in common that get the same bytes; None for one that sees what its user may see."
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        "Why it got no more."
        self.place = 0
        "The next event of the ring that it has not got."
        self.position = 0
        "Of the last event that was looked at for it."
        self.sink: Sink | None = None
        "None until it is live."
        self.sent_at = 0.0
        self.stalled_at: float | None = None

    def may_see(self, session: Session) -> bool:
        """Whether the events of a session concern its token."""
        if self.share is not None:
            return session.tenant == self.principal.tenant
        return role_in(self.principal, session) is not None

    def framed(self, data: bytes) -> bytes:
        """`data` as its connection has it."""
        return chunk(data) if self.chunked else data

    def resume(self) -> None:
        """It was behind, and goes on."""
        self.ended = asyncio.get_running_loop().create_future()

    def end(self, why: str) -> None:
        """No more for this one."""
        if not self.ended.done():
            self.ended.set_result(why)


@dataclass(frozen=True, slots=True)
class FeedLimits:
    """How many may listen."""

    listeners: int = LISTENERS
    a_token: int = LISTENERS_A_TOKEN


Frame = tuple[bytes, int]
"What to write, and the place after it."


class Feed:
    """Follows the bus, and writes to the sockets of those who listen."""

    def __init__(
        self, *, limits: FeedLimits | None = None, ring: int = RING, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limits = limits or FeedLimits()
        self._ring_size = ring
        self._clock = clock
        self._ring: list[Entry] = []
        self._first = 0
        "Place of the ring's oldest."
        self.lost_to = int(time.time() * 1_000_000)
        "Events up to this position are not in the ring; the database has them."
        self._newest = self.lost_to
        self._live: set[Listener] = set()
        self._all: set[Listener] = set()
        self._of_token: Counter[str] = Counter()
        self._closed = False
        self._timer: asyncio.TimerHandle | asyncio.Handle | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._ticked_at = 0.0
        self._shared: dict[tuple[object, int], Frame] = {}

    # From the bus.

    def begin_after(self, position: int) -> None:
        """The database has events up to `position`, which happened before this feed followed any."""
        self.lost_to = max(self.lost_to, position)
        self._newest = max(self._newest, position)

    def follow(self, happening: Happening) -> None:
        """Take an event: a follower of signalling.EventBus."""
        ring = self._ring
        ring.append(Entry(happening))
        self._newest = happening.position
        if len(ring) > self._ring_size + self._ring_size // 4:
            cut = len(ring) - self._ring_size
            self.lost_to = ring[cut - 1].happening.position
            self._first += cut
            del ring[:cut]
        if self._live and self._timer is None:
            self._schedule()

    @property
    def newest(self) -> int:
        """Position of the newest event."""
        return self._newest

    # Listeners.

    def admit(self, principal: Principal, wanted: Filter, *, sees_all: bool, chunked: bool = True) -> Listener:
        """A place for one more; ApiError 503 when there is none. `leave` gives it back.

        `chunked`: whether its connection wants chunks (HTTP/1.1) or the bare bytes (HTTP/1.0).
        """
        if self._closed:
            raise ApiError(503, "STOPPING", "the server stops")
        if len(self._all) >= self._limits.listeners:
            raise _too_many(f"{self._limits.listeners} listeners are the limit")
        if self._of_token[principal.owner] >= self._limits.a_token:
            raise _too_many(f"{self._limits.a_token} listeners are the limit of a token")
        listener = Listener(principal, wanted, sees_all, chunked)
        self._all.add(listener)
        self._of_token[principal.owner] += 1
        return listener

    def go_live(self, listener: Listener, after: int, sink: Sink) -> bool:
        """Let a listener have what comes after position `after`; False when the ring no longer has all of that."""
        if self._closed:
            listener.end("the server stops")
            return True
        if after < self.lost_to:
            return False
        listener.place = self._first + self._index_after(after)
        listener.position = after
        listener.sink = sink
        listener.sent_at = self._clock()
        self._live.add(listener)
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)
        if self._timer is None and listener.place < self._end:
            self._schedule()
        return True

    def leave(self, listener: Listener) -> None:
        """A listener is gone."""
        self._live.discard(listener)
        if listener in self._all:
            self._all.remove(listener)
            owner = listener.principal.owner
            self._of_token[owner] -= 1
            if not self._of_token[owner]:
                del self._of_token[owner]

    @property
    def listeners(self) -> int:
        """How many there are."""
        return len(self._all)

    def close(self) -> None:
        """End every stream; nobody may begin one."""
        self._closed = True
        for listener in list(self._all):
            if listener in self._live:
                self._write_to(listener)
            listener.end("the server stops")
        self._live.clear()
        for handle in (self._timer, self._sweeper):
            if handle is not None:
                handle.cancel()
        self._timer = self._sweeper = None

    # Writing.

    @property
    def _end(self) -> int:
        return self._first + len(self._ring)

    def _index_after(self, position: int) -> int:
        """Index in the ring of the first event after `position`."""
        low, high = 0, len(self._ring)
        while low < high:
            middle = (low + high) // 2
            if self._ring[middle].happening.position <= position:
                low = middle + 1
            else:
                high = middle
        return low

    def _schedule(self) -> None:
        loop = asyncio.get_running_loop()
        wait_s = self._ticked_at + TICK_S - loop.time()
        self._timer = loop.call_soon(self._tick) if wait_s <= 0 else loop.call_later(wait_s, self._tick)

    def _tick(self) -> None:
        """Write to each listener what is new."""
        self._timer = None
        self._ticked_at = asyncio.get_running_loop().time()
        more = False
        for listener in tuple(self._live):
            if listener.place < self._end:
                more |= self._write_to(listener)
        self._shared.clear()
        if more:
            self._schedule()

    def _write_to(self, listener: Listener) -> bool:
        """Write the next frame; True when there is more to write at once."""
        sink = listener.sink
        assert sink is not None
        if sink.is_closing():
            self._drop(listener, "gone")
            return False
        if sink.get_write_buffer_size() > BUFFER_BYTES:
            if listener.place < self._first:
                self._cut(listener, "fell behind")
            else:
                self._stalls(listener)
            return False
        if listener.place < self._first:
            self._drop(listener, BEHIND)
            return False
        listener.stalled_at = None
        frame, listener.place = self._frame(listener)
        listener.position = self._ring[listener.place - self._first - 1].happening.position
        if frame:
            sink.write(frame)
            listener.sent_at = self._clock()
        return listener.place < self._end

    def _frame(self, listener: Listener) -> Frame:
        """The next events for a listener as one chunk; the same bytes for all that are at the same place."""
        key = (listener.share, listener.place)
        if listener.share is not None and (known := self._shared.get(key)) is not None:
            return known
        start = listener.place - self._first
        entries = self._ring[start : start + FRAME_EVENTS]
        wanted = listener.wanted
        parts = [entry.encoded for entry in entries if entry.fits(wanted) and listener.may_see(entry.session)]
        frame = (listener.framed(b"".join(parts)) if parts else b"", listener.place + len(entries))
        if listener.share is not None:
            self._shared[key] = frame
        return frame

    def _stalls(self, listener: Listener) -> None:
        now = self._clock()
        if listener.stalled_at is None:
            listener.stalled_at = now
        elif now - listener.stalled_at >= STALL_S:
            self._cut(listener, "stopped reading")

    def _sweep(self) -> None:
        """Look after everyone: who stalls is cut, who hears nothing gets a comment."""
        self._sweeper = None
        now = self._clock()
        for listener in tuple(self._live):
            sink = listener.sink
            assert sink is not None
            if sink.is_closing():
                self._drop(listener, "gone")
            elif sink.get_write_buffer_size() > BUFFER_BYTES:
                self._stalls(listener)
            elif listener.place < self._end:
                self._write_to(listener)
            elif now - listener.sent_at >= HEARTBEAT_S:
                listener.sent_at = now
                sink.write(listener.framed(HEARTBEAT))
        self._shared.clear()
        if self._live and not self._closed:
            self._sweeper = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)

    def _drop(self, listener: Listener, why: str) -> None:
        self._live.discard(listener)
        listener.end(why)

    def _cut(self, listener: Listener, why: str) -> None:
        log.warning("listener_cut", token=listener.principal.name, why=why)
        assert listener.sink is not None
        listener.sink.abort()
        self._drop(listener, why)


def _too_many(message: str) -> ApiError:
    return ApiError(503, "TOO_MANY_LISTENERS", message, headers={"Retry-After": RETRY_AFTER_S})


def chunk(data: bytes) -> bytes:
    """A chunk of a chunked body (RFC 9112 §7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)
