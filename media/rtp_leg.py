"""[io] A leg of plain RTP: its sockets, whom it hears, and where it sends to."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol

from .codecs import Codec
from .errors import MediaError
from .learning import SourceLearning
from .negotiation import Agreement, Negotiation, Remote, admit_all
from .poller import Poller
from .ports import CAN_DISCONNECT, PortPair, disconnect
from .relay import NOTHING
from .relay_leg import CLOCKS_HZ, Address
from .rtp import BUFFER, HEADER_SIZE, MAX_PACKET, VERSION_2, VERSION_MASK, VIEWS
from .voice_leg import VoiceHost, VoiceLeg

_monotonic = time.monotonic


class LegHost(VoiceHost, Protocol):
    """What a leg needs of the engine."""

    poller: Poller

    def is_own(self, address: Address) -> bool:
        """True for an address of this engine: relaying to it could make a loop."""

    def has(self, *, ipv6: bool) -> bool:
        """Whether there are ports of this IP version."""

    def take_pair(self, ipv6: bool) -> PortPair:
        """A port pair of this IP version. Raises NoPortsLeft."""

    def give_back(self, pair: PortPair) -> None:
        """Close a pair; its ports are free."""

    def closed(self, leg: VoiceLeg, pair: PortPair) -> None:
        """The leg is gone; its ports are free."""


class RtpLeg(VoiceLeg):
    """One RTP stream over two UDP sockets of its own, of one IP version: that of the last offer or of our own."""

    __slots__ = (
        "_connected",
        "_host",
        "_learning",
        "_other_pair",
        "_pair",
        "_peer_host",
        "_rtcp_destination",
        "_rtp_socket",
        "_signalled",
    )

    def __init__(
        self,
        leg_id: str,
        host: LegHost,
        pair: PortPair,
        policy: Sequence[Codec],
        session_id: int,
        peer_host: str | None,
    ) -> None:
        super().__init__(leg_id, host, Negotiation(policy, pair.host, pair.port, session_id, self._admit))
        self._host = host
        self._pair: PortPair | None = pair
        self._other_pair: PortPair | None = None
        "Of the other IP version, as a later offer that is not answered yet wants it."
        self._rtp_socket = pair.rtp
        self._peer_host = peer_host
        self._rtcp_destination: Address | None = None
        self._signalled: Address | None = None
        self._learning = SourceLearning(None, None, 0.0)
        self._connected = False
        self._source = self._sink = self

    # Where we are.

    def _admit(self, remote: Remote, is_offer: bool) -> None:
        """Refuse an address that we cannot or must not send to; announce one of the IP version of an offer."""
        if remote.rtp is not None and self._host.is_own(remote.rtp):
            raise MediaError("media address is one of our own")
        pair = self._pair
        if pair is None or remote.ipv6 == pair.ipv6 or (remote.rtp is None and self.agreed):
            return
        if is_offer and self._host.has(ipv6=remote.ipv6):
            other = self._host.take_pair(remote.ipv6)
            self._announce(other)
            if self._agreement is None:
                self._move(pair, other)
            else:
                self._other_pair = other
        elif remote.rtp is not None:
            raise MediaError("media address of another IP version than ours")

    def _announce(self, pair: PortPair) -> None:
        self._negotiation.host, self._negotiation.port = pair.host, pair.port

    def rollback(self) -> None:
        """Forget a half-made exchange and go on with the last agreed one."""
        super().rollback()
        other, self._other_pair = self._other_pair, None
        if other is not None:
            self._host.give_back(other)
            if self._pair is not None:
                self._announce(self._pair)

    def _move(self, old: PortPair, new: PortPair) -> None:
        """Go on at another pair."""
        if self._agreement is not None:
            self._ignore(old)
            self._listen(new)
        self._pair, self._other_pair = new, None
        self._rtp_socket = new.rtp
        self._connected = False
        self._host.give_back(old)

    def _listen(self, pair: PortPair) -> None:
        self._host.poller.add(pair.rtp.fileno(), self.on_packet)
        self._host.poller.add(pair.rtcp.fileno(), self._on_rtcp)

    def _ignore(self, pair: PortPair) -> None:
        self._host.poller.remove(pair.rtp.fileno())
        self._host.poller.remove(pair.rtcp.fileno())

    # Whom we hear.

    def recv_into(self, buffer: bytearray, /) -> int:
        """Receive while the source is not settled, in place of the socket; 0 for a packet of somebody else."""
        size, sender = self._rtp_socket.recvfrom_into(buffer)
        address: Address = sender[:2]
        now = _monotonic()
        learning = self._learning
        before = learning.source
        if size < HEADER_SIZE or buffer[0] & VERSION_MASK != VERSION_2:
            return 0
        if address != before and self._host.is_own(address):
            return 0
        if not learning.hear(address, now):
            return 0
        if learning.source != before:
            self._on_source(address)
        if learning.settled(now):
            self._settle(address)
        return int(size)

    def _on_source(self, address: Address) -> None:
        """Packets come from here now: send there too."""
        self._ssrc = None
        if address != self._destination:
            known = self._destination is not None
            self._destination = address
            self._rtcp_destination = (address[0], min(address[1] + 1, 65535))
            if not known and self._peer is not None:
                self._peer.rewire()

    def _settle(self, address: Address) -> None:
        """Hear nobody else from now on; the kernel sees to it, and its calls without addresses are cheaper."""
        if not CAN_DISCONNECT or self._connected:
            return
        try:
            self._rtp_socket.connect(address)
        except OSError:  # no route just now: `SourceLearning` goes on keeping others out
            return
        self._connected = True
        self._source = self._rtp_socket
        self._send_by(self._rtp_socket)

    def _open_to_all(self) -> None:
        if self._connected:
            disconnect(self._rtp_socket)
            self._connected = False
        self._source = self
        self._send_by(self)

    def send(self, packet: memoryview | bytes, /) -> int:
        """Send while the socket is not connected, in its place."""
        assert self._destination is not None
        return self._rtp_socket.sendto(packet, self._destination)

    def _apply(self, agreement: Agreement) -> None:
        pair = self._pair
        if pair is None:
            return
        self._depart()
        if self._other_pair is not None:
            self._move(pair, self._other_pair)
        elif self._agreement is None:
            self._listen(pair)
        self._agreement = agreement
        clock_hz = agreement.codecs[0].clock_hz
        self._clock_hz = CLOCKS_HZ.get(clock_hz, clock_hz)
        remote = agreement.remote
        if remote.rtp is not None and remote.rtp != self._signalled:
            self._signalled = self._destination = remote.rtp
            self._rtcp_destination = remote.rtcp
        self._learning = SourceLearning(self._signalled, self._peer_host, _monotonic())
        self._ssrc = None
        self._open_to_all()
        self.rewire()
        if self._peer is not None and self._peer is not self:
            self._peer.rewire()

    # Reports.

    @property
    def _port(self) -> int:
        return self._negotiation.port if self._pair is not None else 0

    def _send_report(self, packet: bytes) -> None:
        pair, destination = self._pair, self._rtcp_destination
        if pair is None or destination is None or self._host.is_own(destination):
            return
        try:
            pair.rtcp.sendto(packet, destination)
        except OSError:  # a lost report; the next one says the same
            return

    def _on_rtcp(self) -> bool:
        """RTCP may be waiting on its socket; False if there was none."""
        if self._pair is None:
            return False
        try:
            size, sender = self._pair.rtcp.recvfrom_into(BUFFER)
        except OSError:  # nothing there after all
            return False
        host = self._destination[0] if self._destination is not None else None
        if sender[0] != host or self._host.is_own(sender[:2]):
            return True
        self._rtcp_destination = sender[:2]
        self._rtcp.receive(VIEWS[min(size, MAX_PACKET - 1)], self._out.ssrc, _monotonic(), time.time())
        return True

    def close(self) -> None:
        """Say goodbye by RTCP, free the ports and whatever is attached."""
        pair = self._pair
        if pair is None:
            return
        if self._sent_in_all[0] or self._received:
            self._report(_monotonic(), goodbye=True)
        self._depart()
        agreed, self._agreement = self._agreement is not None, None
        if self.attachment is not None:
            self.attachment.close()
        if agreed:
            self._ignore(pair)
        if self._other_pair is not None:
            self._host.give_back(self._other_pair)
        self._pair = self._other_pair = self._writer = None
        self._route = NOTHING
        self._source = self._sink = CLOSED  # ourselves in there would keep us until the next garbage collection, ...
        self._negotiation.admit = admit_all  # ... and so would this
        self._host.closed(self, pair)


class _Closed:
    """In place of the socket of a leg that is closed."""

    def recv_into(self, buffer: bytearray, /) -> int:
        raise OSError("the leg is closed")

    def send(self, packet: memoryview | bytes, /) -> int:
        raise OSError("the leg is closed")


CLOSED = _Closed()
