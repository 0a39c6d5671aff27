"""Puts the packets of one RTP stream in order, and says which are missing, without delaying those that come in order.

Packets that come in order pass at once, so a clean network is not delayed at all and a lost packet leaves no delay
behind. What comes after a gap waits for the missing one: at first for a moment, longer on a network that is seen to
reorder, never longer than 60 ms.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from .rtp import MASK16

MIN_HOLD_S: Final = 0.01
MAX_HOLD_S: Final = 0.06
HOLD_MARGIN_S: Final = 0.005
DECAY: Final = 0.998
"Of the hold above its minimum, with each packet: after 10 s of order little is left."
MAX_WAITING: Final = 50
MAX_MISORDER: Final = 100
"Packets behind: older than that is another stream under the same name."
MAX_DROPOUT: Final = 500
"Packets ahead: farther than that likewise."


class Packet(NamedTuple):
    """One packet of audio."""

    seq: int
    timestamp: int
    payload_type: int
    payload: bytes
    missing: int = 0
    "Packets that are missing before it, as told by `pop`."
    restart: bool = False
    "Nothing before it has to do with it."


class JitterBuffer:
    """Packets of one SSRC, from `insert` to `pop`."""

    __slots__ = ("_arrived_at", "_given_up_at", "_next", "_restarted", "_waiting", "deadline", "dropped", "hold_s")

    def __init__(self) -> None:
        self._next: int | None = None
        "The sequence number that is to come."
        self._waiting: dict[int, Packet] = {}
        self._arrived_at: dict[int, float] = {}
        self._given_up_at = -MAX_HOLD_S
        self._restarted = True
        self.deadline: float | None = None
        "When `pop` goes on without what is missing; None while nothing waits."
        self.hold_s = MIN_HOLD_S
        "How long the next gap is waited for."
        self.dropped = 0
        "Packets that came late, or twice."

    def insert(self, packet: Packet, now: float) -> bool:
        """Take a packet; False if it came too late or is there already."""
        if self._next is None:
            self._next = packet.seq
        ahead = (packet.seq - self._next) & MASK16
        if ahead > MASK16 - MAX_MISORDER:
            self.dropped += 1
            late_s = now - self._given_up_at + self.hold_s
            if late_s < MAX_HOLD_S:  # a little more patience would have had it, unless it is a copy
                self.hold_s = min(MAX_HOLD_S, late_s + HOLD_MARGIN_S)
            return False
        if ahead > MAX_DROPOUT:
            self.reset()
            self._next = packet.seq
        elif packet.seq in self._waiting:
            self.dropped += 1
            return False
        self._waiting[packet.seq] = packet
        if packet.seq != self._next:
            self._arrived_at[packet.seq] = now
            if self.deadline is None:
                self.deadline = now + self.hold_s
        return True

    def pop(self, now: float) -> Packet | None:
        """The next packet to be heard, None if there is none yet. To be called until it returns None."""
        waiting = self._waiting
        if not waiting or self._next is None:
            return None
        packet = waiting.pop(self._next, None)
        missing = 0
        if packet is None:
            if now < (self.deadline or 0.0) and len(waiting) < MAX_WAITING:
                return None
            following = self._next
            missing = min((seq - following) & MASK16 for seq in waiting)
            packet = waiting.pop((following + missing) & MASK16)
            self._given_up_at = now
        self._next = (packet.seq + 1) & MASK16
        self.hold_s = MIN_HOLD_S + (self.hold_s - MIN_HOLD_S) * DECAY
        if self.deadline is not None:
            self._arrived_at.pop(packet.seq, None)
            self.deadline = min(self._arrived_at.values()) + self.hold_s if self._arrived_at else None
        if missing or self._restarted:
            restart, self._restarted = self._restarted, False
            return packet._replace(missing=missing, restart=restart)
        return packet

    def reset(self) -> None:
        """Another stream begins with the next packet."""
        self._next = None
        self._waiting.clear()
        self._arrived_at.clear()
        self.deadline = None
        self._restarted = True
