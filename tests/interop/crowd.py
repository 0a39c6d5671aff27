"""Callers and a phone of their own making, over real UDP: what each saw of its calls, and when."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

from sip import DigestClient, Request, Response, parse_message

from .network import Network

SDP = "\r\n".join(
    [
        "v=0",
        "o=- 1 1 IN IP4 127.0.0.1",
        "s=-",
        "c=IN IP4 127.0.0.1",
        "t=0 0",
        "m=audio 9 RTP/AVP 0",
        "a=rtpmap:0 PCMU/8000",
        "",
    ]
)


class Endpoint(asyncio.DatagramProtocol):
    """One UDP socket that speaks SIP with one server."""

    def __init__(self, server: tuple[str, int]) -> None:
        self.server = server
        self.place = ""
        self._transport: Any = None

    async def open(self, network: Network, host: str, port: int = 0) -> None:
        """Bind; `place` is host:port then."""
        sock = network.socket(2, 2)
        sock.bind((host, port))
        host, port = sock.getsockname()
        self.place = f"{host}:{port}"
        await asyncio.get_running_loop().create_datagram_endpoint(lambda: self, sock=sock)

    def connection_made(self, transport: Any) -> None:
        """The socket is ready."""
        self._transport = transport

    def error_received(self, exc: Exception) -> None:
        """The server is not there: it was killed."""

    def close(self) -> None:
        """No more."""
        self._transport.close()

    def send(self, *lines: str, body: str = "") -> None:
        """One message."""
        length = f"Content-Length: {len(body)}"
        self._transport.sendto("\r\n".join([*lines, length, "", body]).encode(), self.server)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """Anything that comes in."""
        message = parse_message(data)
        if isinstance(message, Request):
            self.on_request(message)
        else:
            self.on_response(message)

    def on_request(self, request: Request) -> None:
        """Nothing is asked of most."""

    def on_response(self, response: Response) -> None:
        """Nothing is asked by most."""

    def answer(self, request: Request, status: str, *extra: str, body: str = "") -> None:
        """A response; its To tag follows from the Call-ID, so that one sent again is the same."""
        to = request.headers.get_all("To")[0]
        if "tag=" not in to:
            to += f";tag=t{request.call_id[:12]}"
        self.send(
            f"SIP/2.0 {status}",
            *(f"Via: {via}" for via in request.headers.get_all("Via")),
            f"From: {request.headers.get_all('From')[0]}",
            f"To: {to}",
            f"Call-ID: {request.call_id}",
            f"CSeq: {request.cseq}",
            *extra,
            body=body,
        )


class Phone(Endpoint):
    """A phone that registers once and answers every call."""

    def __init__(self, server: tuple[str, int], user: str, password: str) -> None:
        super().__init__(server)
        self.user = user
        self.registers_sent = 0
        self.registered = asyncio.Event()
        self.answered = 0
        self._digest = DigestClient(user, password)

    def register(self, authorization: str = "") -> None:
        """For an hour."""
        self.registers_sent += 1
        host, port = self.server
        self.send(
            f"REGISTER sip:{host}:{port} SIP/2.0",
            f"Via: SIP/2.0/UDP {self.place};branch=z9hG4bKr{self.registers_sent}",
            f"From: <sip:{self.user}@{host}>;tag=r",
            f"To: <sip:{self.user}@{host}>",
            f"Call-ID: register-{self.user}",
            f"CSeq: {self.registers_sent} REGISTER",
            "Max-Forwards: 70",
            f"Contact: <sip:{self.user}@{self.place}>",
            "Expires: 3600",
            *([f"Authorization: {authorization}"] if authorization else []),
        )

    def on_response(self, response: Response) -> None:
        """Of our REGISTER."""
        if response.status == 401:
            host, port = self.server
            sent = Request("REGISTER", f"sip:{host}:{port}", [("Call-ID", f"register-{self.user}")])
            header = self._digest.authorize(response, sent)
            assert header is not None
            self.register(header[1])
        elif response.status == 200:
            self.registered.set()

    def on_request(self, request: Request) -> None:
        """INVITE is answered, and so is the rest."""
        if request.method == "INVITE":
            self.answered += 1
            contact = f"Contact: <sip:{self.user}@{self.place}>"
            self.answer(request, "200 OK", contact, "Content-Type: application/sdp", body=SDP)
        elif request.method != "ACK":
            self.answer(request, "200 OK")


@dataclass
class Call:
    """What the caller saw. Instants by time.monotonic()."""

    number: str
    started_at: float
    answered_at: float | None = None
    ended_at: float | None = None
    "When the server confirmed our BYE."
    failed: int | None = None


@dataclass
class Record:
    """All calls, by the caller's number."""

    calls: dict[str, Call] = field(default_factory=dict)


class Callers(Endpoint):
    """Calls through a trunk: each from a number of its own, hung up by us after a while."""

    def __init__(self, server: tuple[str, int], record: Record, *, prefix: str, to: str, hold_s: float) -> None:
        super().__init__(server)
        self._record = record
        self._prefix = prefix
        self._to = to
        self._hold_s = hold_s

    def call(self) -> None:
        """One more."""
        number = f"{self._prefix}{len(self._record.calls):05d}"
        self._record.calls[number] = Call(number, time.monotonic())
        host, port = self.server
        self.send(
            *self._head("INVITE", f"sip:{self._to}@{host}:{port}", number, 1, f"<sip:{self._to}@{host}>"),
            f"Contact: <sip:{number}@{self.place}>",
            "Content-Type: application/sdp",
            body=SDP,
        )

    def _head(self, method: str, target: str, number: str, cseq: int, to: str) -> list[str]:
        return [
            f"{method} {target} SIP/2.0",
            f"Via: SIP/2.0/UDP {self.place};branch=z9hG4bK{method}{number}",
            f"From: <sip:{number}@{self.place}>;tag=f{number}",
            f"To: {to}",
            f"Call-ID: {number}@crowd",
            f"CSeq: {cseq} {method}",
            "Max-Forwards: 70",
        ]

    def on_response(self, response: Response) -> None:
        """Answered: ACK, and BYE when the time has come. BYE answered: the call has ended."""
        number = response.call_id.partition("@")[0]
        call = self._record.calls[number]
        if response.cseq.method == "BYE":
            call.ended_at = time.monotonic()
        elif response.status >= 300:
            call.failed = response.status
        elif response.status >= 200:
            target = str(response.contacts[0].uri)
            to = response.headers.get_all("To")[0]
            self.send(*self._head("ACK", target, number, 1, to))
            if call.answered_at is None:
                call.answered_at = time.monotonic()
                asyncio.get_running_loop().call_later(self._hold_s, self._hang_up, number, target, to)

    def _hang_up(self, number: str, target: str, to: str) -> None:
        if not self._transport.is_closing():
            self.send(*self._head("BYE", target, number, 2, to))
