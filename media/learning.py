"""From which address a leg takes RTP: symmetric RTP without opening the door to everybody.

After an offer/answer, the first packets decide, and then the source is settled until the next offer/answer.
Candidates by rank: the signalled address and port (settles at once); the signalled host from another port (a NAT
or an asymmetric sender); the host that signalling comes from, if the signalled address is one behind NAT; and in
the first seconds, for such an address only, any public host.
"""

from __future__ import annotations

from ipaddress import ip_address

WINDOW_S = 5.0  # from the offer/answer; while it lasts, a better candidate replaces a worse one
YIELD_S = 0.1  # an equal candidate takes over from one silent for this long: the old port of a moved sender

EXACT, HOST, SIGNALLING, PUBLIC, NOBODY = 4, 3, 2, 1, 0

Address = tuple[str, int]


class SourceLearning:
    """One round of learning."""

    __slots__ = ("_heard_at", "_peer_host", "_rank", "_signalled", "_until", "source")

    def __init__(self, signalled: Address | None, peer_host: str | None, now: float) -> None:
        self._signalled = signalled
        self._peer_host = peer_host
        self._until = now + WINDOW_S
        self._heard_at = now
        self._rank = NOBODY
        self.source: Address | None = None
        "The candidate in force."

    def hear(self, address: Address, now: float) -> bool:
        """Whether to take a packet from this address; `source` may change to it."""
        if address == self.source:
            self._heard_at = now
            return True
        if self.settled(now):
            return False
        rank = self._rank_of(address, now)
        if rank < self._rank or rank == NOBODY:
            return False
        if rank == self._rank and now - self._heard_at < YIELD_S:
            return False
        self.source = address
        self._rank = rank
        self._heard_at = now
        return True

    def settled(self, now: float) -> bool:
        """True once the source will not change any more."""
        return self._rank == EXACT or (self.source is not None and now >= self._until)

    def _rank_of(self, address: Address, now: float) -> int:
        signalled = self._signalled
        if signalled is not None:
            if address == signalled:
                return EXACT
            if address[0] == signalled[0]:
                return HOST
            if ip_address(signalled[0]).is_global:
                return NOBODY
        if address[0] == self._peer_host:
            return SIGNALLING
        return PUBLIC if now < self._until and ip_address(address[0]).is_global else NOBODY
