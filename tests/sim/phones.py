"""A scripted SIP phone on the simulated network, made of message templates and nothing of `sip`.

    phone = SimPhone(network, "alice", user="1001", password="ringway-1001")
    phone.register()
    call = phone.invite("1002")
    sim.run_for(1)
    assert call.state == "ringing"

What it gets is checked as it comes; whatever a careful peer would object to is in `phone.faults`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from .network import End, Network
from .wire import Wire, address_uri, digest, parameter, uri_address

T1 = 0.5
SDP = (
    "v=0\r\no={user} 1 {version} IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\n"
    "m=audio {port} RTP/AVP {formats}\r\na=rtpmap:101 telephone-event/8000\r\na={direction}\r\n"
)
REASONS = {
    100: "Trying",
    180: "Ringing",
    183: "Session Progress",
    200: "OK",
    486: "Busy Here",
    487: "Request Terminated",
}


@dataclass
class Script:
    """What a phone does with an INVITE. Times are seconds from its arrival; None: never."""

    ring_after_s: float | None = 0.0
    answer_after_s: float | None = None
    refuse: int = 0
    "A status to refuse with, at once."
    ring_status: int = 180
    early_sdp: bool = False
    answer_reinvites: int = 200
    ack: bool = True
    "Whether a 2xx is acknowledged."
    answer_bye: bool = True
    formats: str = "0 8 101"
    "Payload types of its descriptions; 101 is telephone-event."
    headers: tuple[tuple[str, str], ...] = ()
    "Added to what answers an INVITE."


@dataclass
class PhoneCall:
    """One call as a phone sees it."""

    phone: SimPhone
    call_id: str
    outgoing: bool
    local: str
    "Our From or To, with its tag."
    remote: str
    target: str
    "Where requests of the dialog go: the remote Contact."
    state: str = "calling"
    "calling, ringing, talking, ended."
    status: int = 0
    "Of the last final response to an INVITE, either way."
    remote_sdp: str = ""
    routes: list[str] = field(default_factory=list)
    cseq: int = 1
    remote_cseq: int = 0
    invite: Wire | None = None
    "The INVITE that opened it, last attempt."
    received: list[str] = field(default_factory=list)
    "Labels of what came, in order."
    infos: list[tuple[str, str]] = field(default_factory=list)
    "Content-Type and body of each INFO that came."
    end_reason: str = ""
    "The Reason header of what ended it."
    version: int = 1
    direction: str = "sendrecv"
    cancelled: bool = False
    attempts: int = 0

    def ring(self) -> None:
        """Say that it rings."""
        script, invite = self.phone.script, self.invite
        if self.state == "ended" or invite is None:
            return
        self.state = "ringing"
        self.phone.answer(invite, script.ring_status, call=self, body=self.sdp() if script.early_sdp else "")

    def accept(self) -> None:
        """Answer the call."""
        if self.state == "ended" or self.invite is None:
            return
        self.state, self.status = "talking", 200
        self.phone.answer(self.invite, 200, call=self, body=self.sdp())

    def refuse(self, status: int) -> None:
        """Refuse the call."""
        assert self.invite is not None
        if self.state != "ended":
            self.state, self.status = "ended", status
            self.phone.answer(self.invite, status, call=self)

    def cancel(self) -> None:
        """Give up before an answer."""
        assert self.invite is not None
        self.cancelled = True
        cancel = Wire(self.invite.start.replace("INVITE", "CANCEL", 1))
        for name, value in self.invite.headers:
            if name in ("Via", "From", "To", "Call-ID", "Max-Forwards", "Route"):
                cancel.headers.append((name, value))
        cancel.headers.append(("CSeq", f"{self.invite.cseq} CANCEL"))
        self.phone.send_request(cancel, self)

    def bye(self) -> None:
        """Hang up."""
        self.state = "ended"
        self.phone.send_request(self.request("BYE"), self)

    def reinvite(self, direction: str = "sendrecv", *, sdp: bool = True) -> None:
        """Offer anew; `sendonly` is hold. Without `sdp` the other side has to offer."""
        self.direction = direction
        self.version += 1
        request = self.request("INVITE", self.sdp() if sdp else "")
        self.phone.send_request(request, self)

    def send(self, method: str, body: str = "", content_type: str = "") -> None:
        """Send any request in the dialog."""
        self.phone.send_request(self.request(method, body, content_type), self)

    def sdp(self) -> str:
        """Our session description."""
        phone = self.phone
        return SDP.format(
            user=phone.user,
            host=phone.address[0],
            port=phone.rtp_port,
            formats=phone.script.formats,
            version=self.version,
            direction=self.direction,
        )

    def request(self, method: str, body: str = "", content_type: str = "application/sdp") -> Wire:
        """A request of the dialog, with a new Via."""
        if method != "ACK":
            self.cseq += 1
        wire = Wire(f"{method} {self.target} SIP/2.0")
        wire.headers = [
            ("Via", self.phone.via()),
            *(("Route", route) for route in self.routes),
            ("Max-Forwards", "70"),
            ("From", self.local),
            ("To", self.remote),
            ("Call-ID", self.call_id),
            ("CSeq", f"{self.cseq} {method}"),
        ]
        if method in ("INVITE", "SUBSCRIBE"):
            wire.headers.append(("Contact", self.phone.contact))
        if body:
            wire.headers.append(("Content-Type", content_type))
            wire.body = body
        return wire


@dataclass
class Pending:
    """A request that waits for its final response, and is sent again meanwhile."""

    wire: Wire
    data: bytes
    call: PhoneCall | None
    timer: asyncio.TimerHandle | None = None
    on_response: Callable[[Wire], None] | None = None


class SimPhone:
    """A phone, or the far end of a trunk: it answers whoever calls it, by its `script`."""

    def __init__(
        self,
        network: Network,
        name: str,
        *,
        user: str = "",
        password: str = "",
        server: str = "ringway",
        port: int = 5060,
        transport: str = "UDP",
    ) -> None:
        self.network = network
        self.name = name
        self.user = user or name
        self.password = password
        self.server = server
        self.transport = transport
        self.address = (network.host(name), port)
        self.contact_host: tuple[str, int] | None = None
        "Another place for the requests of a dialog: a gateway behind this proxy."
        self.rtp_port = 40000
        self.script = Script()
        self.on_call: Callable[[PhoneCall], None] | None = None
        "Takes an incoming call instead of the script."
        self.calls: list[PhoneCall] = []
        self.registered_for_s = 0
        "What the last 200 to REGISTER granted; 0: not registered."
        self.responses: list[Wire] = []
        "Final responses to requests outside calls."
        self.faults: list[str] = []
        "What was wrong with what came."
        self.credentials_used = 0
        self._count = 0
        self._pending: dict[tuple[str, str], Pending] = {}
        self._answers: dict[tuple[str, str], bytes] = {}
        self._unacked: dict[str, asyncio.TimerHandle] = {}
        self._acks: dict[tuple[str, int, str], bytes] = {}
        self._end: End | None = None
        self._buffer = b""
        self._register_call_id = self._new("reg")
        self._register_cseq = 0
        if transport == "UDP":
            network.bind(self.address, self)
        else:
            network.listen(self.address, self._adopt)

    # What a test asks for.

    @property
    def call(self) -> PhoneCall:
        """The latest call."""
        return self.calls[-1]

    @property
    def contact(self) -> str:
        """Our Contact."""
        suffix = ";transport=tcp" if self.transport == "TCP" else ""
        host, port = self.contact_host or self.address
        return f"<sip:{self.user}@{host}:{port}{suffix}>"

    @property
    def domain(self) -> str:
        """The server's address."""
        return self.network.host(self.server)

    def register(self, expires_s: int = 3600, *, contact: str | None = None) -> None:
        """Register, or with 0 take it back; a challenge is answered."""
        aor = f"<sip:{self.user}@{self.domain}>"
        self._register_cseq += 1
        wire = Wire(f"REGISTER sip:{self.domain} SIP/2.0")
        wire.headers = [
            ("Via", self.via()),
            ("Max-Forwards", "70"),
            ("From", f"{aor};tag={self._new('t')}"),
            ("To", aor),
            ("Call-ID", self._register_call_id),
            ("CSeq", f"{self._register_cseq} REGISTER"),
            ("Contact", contact or self.contact),
            ("Expires", str(expires_s)),
        ]
        self.send_request(wire, None)

    def invite(
        self, to: str, *, sdp: bool = True, headers: Sequence[tuple[str, str]] = (), to_header: str = ""
    ) -> PhoneCall:
        """Call a number or a whole URI through the server; `to_header` is what To says, if it is not that."""
        uri = to if ":" in to else f"sip:{to}@{self.domain}"
        local = f"<sip:{self.user}@{self.domain}>;tag={self._new('t')}"
        call = PhoneCall(self, self._new("call"), True, local, to_header or f"<{uri}>", uri, cseq=0)
        self.calls.append(call)
        wire = call.request("INVITE", call.sdp() if sdp else "")
        wire.headers.extend(headers)
        self.send_request(wire, call)
        return call

    def options(self, to: str = "") -> None:
        """Ask the server what it can."""
        local = f"<sip:{self.user}@{self.domain}>;tag={self._new('t')}"
        uri = to or f"sip:{self.domain}"
        self.send_request(PhoneCall(self, self._new("opt"), True, local, f"<{uri}>", uri).request("OPTIONS"), None)

    def send_raw(self, data: bytes) -> None:
        """Send anything to the server."""
        self._send(data, (self.domain, 5060))

    def via(self) -> str:
        """A Via with a new branch."""
        host, port = self.address
        return f"SIP/2.0/{self.transport} {host}:{port};branch=z9hG4bK{self._new('b')};rport"

    # Sending.

    def send_request(self, wire: Wire, call: PhoneCall | None) -> None:
        """Send a request, and again until it is answered."""
        if call is not None and wire.method == "INVITE":
            call.invite = wire
        pending = Pending(wire, wire.to_bytes(), call)
        self._pending[wire.branch, wire.method] = pending
        self._repeat(pending, T1)

    def _repeat(self, pending: Pending, interval_s: float) -> None:
        key = (pending.wire.branch, pending.wire.method)
        if key not in self._pending or interval_s > 64 * T1:
            return
        self._send(pending.data, self._next_hop(pending.wire))
        if self.transport == "UDP":
            pending.timer = self.network.clock.loop.call_later(
                interval_s, lambda: self._repeat(pending, interval_s * 2)
            )

    def _next_hop(self, wire: Wire) -> tuple[str, int]:
        route = wire.get("Route")
        if route:
            return uri_address(address_uri(route), self.network.hosts)
        if parameter(wire.get("To"), "tag"):
            return uri_address(wire.uri, self.network.hosts)
        return self.domain, 5060

    def answer(self, request: Wire, status: int, *, call: PhoneCall | None = None, body: str = "") -> None:
        """Respond to a request; a 200 to an INVITE is sent again until its ACK."""
        to = request.get("To")
        if not parameter(to, "tag") and status > 100:
            to = call.local if call is not None else f"{to};tag={self._new('t')}"
        wire = Wire(f"SIP/2.0 {status} {REASONS.get(status, 'Whatever')}")
        wire.headers = [("Via", via) for via in request.all("Via")]
        wire.headers += [("Record-Route", route) for route in request.all("Record-Route")]
        wire.headers += [
            ("From", request.get("From")),
            ("To", to),
            ("Call-ID", request.call_id),
            ("CSeq", request.get("CSeq")),
        ]
        if request.method == "INVITE":
            wire.headers += [("Contact", self.contact), *self.script.headers]
        if body:
            wire.headers.append(("Content-Type", "application/sdp"))
            wire.body = body
        data = wire.to_bytes()
        self._answers[request.branch, request.method] = data
        target = _return_address(request)
        self._send(data, target)
        if request.method == "INVITE" and 200 <= status < 300:
            self._repeat_2xx(request.call_id, data, target, T1)

    def _repeat_2xx(self, call_id: str, data: bytes, target: tuple[str, int], interval_s: float) -> None:
        def again() -> None:
            self._send(data, target)
            self._repeat_2xx(call_id, data, target, min(interval_s * 2, 4.0))

        self._unacked[call_id] = self.network.clock.loop.call_later(interval_s, again)

    def _send(self, data: bytes, target: tuple[str, int]) -> None:
        if self.transport == "UDP":
            self.network.send_datagram(self.address, target, data)
            return
        if self._end is None or self._end.closed:
            self._adopt(self.network.connect(self.name, target))
        assert self._end is not None
        self._end.send(data)

    def _adopt(self, end: End) -> None:
        self._end = end
        end.on_data = self._on_data

    def _new(self, kind: str) -> str:
        self._count += 1
        return f"{kind}-{self.name}-{self._count}"

    # Receiving.

    def receive(self, data: bytes, source: tuple[str, int]) -> None:
        """A datagram came."""
        if not data.strip():
            return
        try:
            wire = Wire.parse(data)
        except ValueError as error:
            self.faults.append(f"{error}: {data[:80]!r}")
            return
        if not wire.status and not parameter(wire.get("Via"), "received"):
            received = f"{wire.get('Via').replace(';rport', f';rport={source[1]}', 1)};received={source[0]}"
            top = next(i for i, (name, _) in enumerate(wire.headers) if name.lower() in ("via", "v"))
            wire.headers[top] = ("Via", received)
        if wire.status:
            self._on_response(wire)
        else:
            self._on_request(wire)

    def unreachable(self, remote: tuple[str, int]) -> None:
        """A datagram came back; a phone waits for its timers."""

    def _on_data(self, data: bytes) -> None:
        self._buffer += data
        while b"\r\n\r\n" in self._buffer:
            head, _, rest = self._buffer.partition(b"\r\n\r\n")
            length = int(Wire("", _headers(head)).get("Content-Length") or 0)
            if len(rest) < length:
                return
            message, self._buffer = head + b"\r\n\r\n" + rest[:length], rest[length:]
            assert self._end is not None
            self.receive(message.lstrip(b"\r\n"), self._end.remote)

    def _on_response(self, wire: Wire) -> None:
        pending = self._pending.get((wire.branch, wire.method))
        ack = self._acks.get((wire.call_id, wire.cseq, parameter(wire.get("To"), "tag")))
        if pending is None:
            if ack is not None and wire.method == "INVITE":
                self._send(ack, self._next_hop(Wire.parse(ack)))
            return
        self._check_response(wire, pending.wire)
        if pending.timer is not None and (wire.status >= 200 or wire.method == "INVITE"):
            pending.timer.cancel()
        if pending.call is not None:
            pending.call.received.append(wire.label)
        if wire.status < 200:
            if pending.call is not None and wire.method == "INVITE" and wire.status > 100:
                self._on_ringing(pending.call, wire)
            return
        del self._pending[wire.branch, wire.method]
        if wire.method == "INVITE" and pending.call is not None:
            self._on_invite_answer(pending.call, pending.wire, wire)
        elif wire.status in (401, 407) and self._try_again(pending, wire):
            return
        elif pending.call is None:
            self.responses.append(wire)
            if wire.method == "REGISTER" and wire.status == 200:
                mine = [c for c in wire.all("Contact") if address_uri(c).startswith(address_uri(self.contact))]
                self.registered_for_s = int(parameter(mine[0], "expires") or 0) if mine else 0

    def _on_ringing(self, call: PhoneCall, wire: Wire) -> None:
        if call.state == "calling":
            call.state = "ringing"
        call.remote_sdp = wire.body or call.remote_sdp

    def _on_invite_answer(self, call: PhoneCall, request: Wire, wire: Wire) -> None:
        opening = call.state in ("calling", "ringing")
        if wire.status >= 300:
            ack = Wire(request.start.replace("INVITE", "ACK", 1))
            kept = ("Via", "From", "Call-ID", "Max-Forwards", "Route")
            ack.headers = [(name, value) for name, value in request.headers if name in kept]
            ack.headers += [("To", wire.get("To")), ("CSeq", f"{request.cseq} ACK")]
            self._send(ack.to_bytes(), self._next_hop(request))
            if wire.status in (401, 407) and self._try_again(Pending(request, b"", call), wire):
                return
            call.status = wire.status
            if opening:
                call.state, call.end_reason = "ended", wire.get("Reason")
            return
        call.status = wire.status
        call.remote_sdp = wire.body or call.remote_sdp
        call.remote = wire.get("To")
        call.target = address_uri(wire.get("Contact"))
        call.routes = list(reversed(wire.all("Record-Route")))
        if opening:
            call.state = "talking"
        if not self.script.ack:
            return
        ack = call.request("ACK", "" if request.body else call.sdp())
        ack.headers = [(n, f"{request.cseq} ACK" if n == "CSeq" else v) for n, v in ack.headers]
        data = ack.to_bytes()
        self._acks[call.call_id, request.cseq, parameter(call.remote, "tag")] = data
        self._send(data, self._next_hop(ack))
        if call.cancelled:
            call.bye()

    def _try_again(self, pending: Pending, wire: Wire) -> bool:
        """Answer a challenge once."""
        asked, answer = ("WWW-Authenticate", "Authorization")
        if wire.status == 407:
            asked, answer = ("Proxy-Authenticate", "Proxy-Authorization")
        old = pending.wire
        if not self.password or old.get(answer):
            return False
        challenge = wire.get(asked)
        value = digest(challenge, old.method, old.uri, self.user, self.password)
        self.credentials_used += 1
        cseq = old.cseq + 1
        if pending.call is not None:
            pending.call.cseq = cseq
        elif old.method == "REGISTER":
            self._register_cseq = cseq
        again = Wire(old.start, [], old.body)
        changed = {"Via": self.via(), "CSeq": f"{cseq} {old.method}"}
        again.headers = [(n, changed.get(n, v)) for n, v in old.headers] + [(answer, value)]
        self.send_request(again, pending.call)
        return True

    def _on_request(self, wire: Wire) -> None:
        self._check_request(wire)
        call = next((c for c in self.calls if c.call_id == wire.call_id), None)
        if call is not None:
            call.received.append(wire.label)
        if wire.method == "ACK":
            timer = self._unacked.pop(wire.call_id, None)
            if timer is not None:
                timer.cancel()
            if call is not None and wire.body:
                call.remote_sdp = wire.body
            return
        known = self._answers.get((wire.branch, wire.method))
        if known is not None:
            self._send(known, _return_address(wire))
        elif wire.method == "INVITE" and (call is None or (wire.branch, "trying") in self._answers):
            self._on_invite(wire)
        elif call is None:
            self.answer(wire, 200 if wire.method in ("OPTIONS", "NOTIFY", "MESSAGE") else 481)
        else:
            self._on_call_request(call, wire)

    def _on_invite(self, wire: Wire) -> None:
        if (wire.branch, "trying") in self._answers:
            return  # a retransmission that has its 100, or a script that is silent
        self._answers[wire.branch, "trying"] = b""
        local = f"{wire.get('To')};tag={self._new('t')}"
        target = address_uri(wire.get("Contact"))
        call = PhoneCall(self, wire.call_id, False, local, wire.get("From"), target, cseq=100, invite=wire)
        call.routes = wire.all("Record-Route")
        call.remote_cseq = wire.cseq
        call.remote_sdp = wire.body
        call.received.append(wire.label)
        self.calls.append(call)
        if self.on_call is not None:
            self.on_call(call)
            return
        script, loop = self.script, self.network.clock.loop
        if script.refuse:
            call.refuse(script.refuse)
            return
        for after_s, act in ((script.ring_after_s, call.ring), (script.answer_after_s, call.accept)):
            if after_s:
                loop.call_later(after_s, act)
            elif after_s is not None:
                act()

    def _on_call_request(self, call: PhoneCall, wire: Wire) -> None:
        if wire.method == "CANCEL":
            self.answer(wire, 200, call=call)
            if call.state in ("calling", "ringing") and call.invite is not None:
                call.end_reason = wire.get("Reason")
                call.refuse(487)
            return
        if wire.cseq <= call.remote_cseq:
            self.faults.append(f"CSeq {wire.cseq} of {wire.method} after {call.remote_cseq}")
        call.remote_cseq = wire.cseq
        if wire.method == "BYE":
            call.state, call.end_reason = "ended", wire.get("Reason")
            if self.script.answer_bye:
                self.answer(wire, 200, call=call)
        elif wire.method == "INVITE":
            status = self.script.answer_reinvites
            if status == 200:
                call.remote_sdp = wire.body or call.remote_sdp
                call.target = address_uri(wire.get("Contact"))
                call.version += 1
            self.answer(wire, status, call=call, body=call.sdp() if status == 200 else "")
        else:
            if wire.method == "INFO":
                call.infos.append((wire.get("Content-Type"), wire.body))
            self.answer(wire, 200, call=call)

    # What a careful peer looks at.

    def _check_request(self, wire: Wire) -> None:
        wanted = ("Via", "From", "To", "Call-ID", "CSeq", "Max-Forwards")
        wrong = [f"{wire.method} without {name}" for name in wanted if not wire.get(name)]
        if not wire.branch.startswith("z9hG4bK"):
            wrong.append(f"branch {wire.branch!r}")
        if not parameter(wire.get("From"), "tag"):
            wrong.append(f"{wire.method} without From tag")
        if wire.start.split(" ")[0] != wire.method:
            wrong.append(f"CSeq {wire.get('CSeq')} in {wire.start}")
        if wire.method == "INVITE" and len(wire.all("Contact")) != 1:
            wrong.append("INVITE without one Contact")
        if wire.body and not wire.get("Content-Type"):
            wrong.append("a body of no type")
        self.faults += wrong

    def _check_response(self, wire: Wire, request: Wire) -> None:
        if len(wire.all("Via")) != 1:
            self.faults.append(f"{wire.label} with {len(wire.all('Via'))} Vias")
        for name in ("From", "Call-ID", "CSeq"):
            if wire.get(name) != request.get(name):
                self.faults.append(f"{wire.label} with another {name}: {wire.get(name)}")
        if wire.status > 100 and not parameter(wire.get("To"), "tag"):
            self.faults.append(f"{wire.label} without To tag")
        if wire.method == "INVITE" and 100 < wire.status < 300 and not wire.get("Contact"):
            self.faults.append(f"{wire.label} without Contact")
        if wire.body and not wire.get("Content-Type"):
            self.faults.append("a body of no type")


def _return_address(request: Wire) -> tuple[str, int]:
    """Where a response goes (RFC 3581); `receive` noted it in the top Via."""
    via = request.get("Via")
    return parameter(via, "received"), int(parameter(via, "rport") or 5060)


def _headers(head: bytes) -> list[tuple[str, str]]:
    pairs = [line.partition(":") for line in head.decode("latin-1").split("\r\n") if ":" in line]
    return [(name.strip(), value.strip()) for name, _, value in pairs]
