"""A call core in virtual time, and at its other end a peer that sends exactly what the test says."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import TypeVar

from sip.calls import (
    Answered,
    Authorize,
    Call,
    CallCore,
    CallEvent,
    Confirmed,
    IncomingCall,
    OutgoingCall,
)
from sip.message import Request, Response, parse_message, response_to
from sip.stack import SipStack
from sip.transactions import ServerTransaction

Pairs = Iterable[tuple[str, str]]
E = TypeVar("E")

OFFER = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=offer\r\n"
ANSWER = "v=0\r\no=- 2 2 IN IP4 192.0.2.2\r\ns=answer\r\n"
OFFER_2 = OFFER.replace("s=offer", "s=offer 2")
ANSWER_2 = ANSWER.replace("s=answer", "s=answer 2")
CONTACT = "<sip:us@192.0.2.1:5060>"
PEER_CONTACT = "<sip:peer@192.0.2.2:5062>"


class Wire:
    """A flow that carries nothing by itself: the stack's output is fetched."""

    def __init__(self, name: str = "wire", *, transport: str = "UDP") -> None:
        self.name = name
        self.transport = transport
        self.reliable = transport != "UDP"
        self.remote = ("192.0.2.2", 5062)
        self.local = ("192.0.2.1", 5060)
        self.sent_by = "192.0.2.1:5060"
        self.closed = False

    def send(self, data: bytes) -> None:
        raise AssertionError("the stack hands messages out; it does not send")

    def __repr__(self) -> str:
        return self.name


class Us:
    """The side under test: stack, calls, what they told and what they sent."""

    def __init__(self, *, transport: str = "UDP", deliver: Iterable[str] = ("INFO",)) -> None:
        self.now = 1000.0
        self.flow = Wire(transport=transport)
        self.stack = SipStack(self, random=Random(7), trying_at_once=False)
        self.core = CallCore(self.stack, deliver=deliver, random=Random(7))
        self.events: list[CallEvent] = []
        self.incoming: IncomingCall | None = None
        self.accept_with: str | None = None

    # User of the stack and of the calls.

    def on_request(self, transaction: ServerTransaction, now: float) -> None:
        self.incoming = self.core.incoming(transaction, now, self.listen, contact=CONTACT)

    def listen(self, event: CallEvent) -> None:
        self.events.append(event)

    # What tests do and see.

    def invite(
        self, sdp: str | None = OFFER, *, headers: Pairs = (), authorize: Authorize | None = None
    ) -> OutgoingCall:
        lines = [
            ("Max-Forwards", "70"),
            ("From", '"Us" <sip:us@example.org>;tag=our-tag'),
            ("To", "<sip:peer@example.net>"),
            ("Call-ID", self.stack.new_call_id()),
            ("CSeq", "10 INVITE"),
            ("Contact", CONTACT),
            *headers,
        ]
        if sdp is not None:
            lines.append(("Content-Type", "application/sdp"))
        request = Request("INVITE", "sip:peer@example.net", lines, (sdp or "").encode())
        return self.core.invite(request, self.flow, self.now, self.listen, authorize=authorize)

    def receive(self, message: Request | Response, flow: Wire | None = None) -> None:
        parsed = parse_message(message.to_bytes())
        self.stack.receive(parsed, flow or self.flow, self.now)

    def sent(self) -> list[Request | Response]:
        """Messages that went out since the last look."""
        return [parse_message(data) for data, _ in self.stack.messages_to_send()]

    def seen(self) -> list[str]:
        """The same, as a ladder shows them: "INVITE", "200 BYE"."""
        return [name_of(message) for message in self.sent()]

    def take(self, kind: type[E]) -> E:
        """The next event, which must be of that kind."""
        event = self.events.pop(0)
        assert isinstance(event, kind), event
        return event

    def run_for(self, seconds: float) -> None:
        """Let the time pass, deadline by deadline."""
        end = self.now + seconds
        while True:
            due = [at for at in (self.stack.deadline, self.core.deadline) if at is not None and at <= end]
            if not due:
                break
            self.now = max(self.now, min(due))
            self.stack.handle_timeout(self.now)
            self.core.handle_timeout(self.now)
        self.now = end

    def counts(self) -> dict[str, int]:
        """What is alive, zeros left out."""
        both = self.stack.counts() | self.core.counts()
        return {name: count for name, count in both.items() if count}


def name_of(message: Request | Response) -> str:
    return message.method if isinstance(message, Request) else f"{message.status} {message.cseq.method}"


class Peer:
    """The scripted other end of one dialog. It keeps just what it needs to write its next message."""

    def __init__(self, us: Us, *, tag: str = "peer-tag", contact: str = PEER_CONTACT) -> None:
        self.us = us
        self.tag = tag
        self.contact = contact
        self.cseq = 100
        self.call_id = "peer-call"
        self.local = f"<sip:peer@example.net>;tag={tag}"
        self.remote = "<sip:us@example.org>"
        self._branch = 0
        self.last: dict[str, Request] = {}
        "What it sent last, by method."

    # As callee.

    def get(self, name: str) -> Request | Response:
        """The message of that name among those that we sent since the last look, which must hold no other request."""
        found = self.us.sent()
        names = [name_of(message) for message in found]
        assert names == [name], names
        return found[0]

    def get_request(self, name: str) -> Request:
        message = self.get(name)
        assert isinstance(message, Request)
        self.call_id = message.call_id
        self.remote = message.get("From") or ""
        return message

    def respond(
        self,
        request: Request,
        status: int,
        sdp: str | None = None,
        headers: Pairs = (),
        *,
        contact: bool = True,
    ) -> Response:
        """Answer a request of ours; returns the response, to send it again."""
        lines = [*headers]
        if contact and request.method == "INVITE" and 100 < status < 300:
            lines.append(("Contact", self.contact))
        response = response_to(
            request,
            status,
            to_tag=self.tag if status > 100 else None,
            headers=lines,
            body=(sdp or "").encode(),
            content_type="application/sdp" if sdp is not None else None,
        )
        self.us.receive(response)
        return response

    # As caller, and inside the dialog.

    def send(
        self,
        method: str,
        sdp: str | None = None,
        headers: Pairs = (),
        *,
        cseq: int | None = None,
        uri: str = "sip:us@192.0.2.1:5060",
        flow: Wire | None = None,
    ) -> Request:
        """A request to us: in the dialog once `remote` has a tag."""
        if cseq is None:
            self.cseq += 1
            cseq = self.cseq
        self._branch += 1
        lines = [
            ("Via", f"SIP/2.0/UDP 192.0.2.2:5062;branch=z9hG4bK-{self.tag}-{self._branch};rport"),
            ("Max-Forwards", "70"),
            ("From", self.local),
            ("To", self.remote),
            ("Call-ID", self.call_id),
            ("CSeq", f"{cseq} {method}"),
        ]
        if method == "INVITE":
            lines.append(("Contact", self.contact))
        lines.extend(headers)
        if sdp is not None:
            lines.append(("Content-Type", "application/sdp"))
        request = Request(method, uri, lines, (sdp or "").encode())
        self.last[method] = request
        self.us.receive(request, flow)
        return request

    def learn(self, response: Request | Response) -> None:
        """Take our tag from a response of ours."""
        self.remote = response.get("To") or ""

    def ack(self, sdp: str | None = None) -> Request:
        """The ACK to our 2xx."""
        return self.send("ACK", sdp, cseq=self.last["INVITE"].cseq.number)

    def cancel(self, headers: Pairs = ()) -> None:
        """The CANCEL of its INVITE."""
        invite = self.last["INVITE"]
        lines = [(name, value) for name, value in invite.headers.items() if name in ("Via", "From", "To", "Call-ID")]
        lines += [("CSeq", f"{invite.cseq.number} CANCEL"), ("Max-Forwards", "70"), *headers]
        self.us.receive(Request("CANCEL", invite.uri, lines))


def is_free(call: Call) -> bool:
    """`can_reinvite`, asked by a function: the type checker believes that properties stay."""
    return call.can_reinvite


def answered_call(us: Us, peer: Peer) -> Call:
    """A call that we made and the peer took."""
    us.invite()
    peer.respond(peer.get_request("INVITE"), 200, ANSWER)
    assert us.seen() == ["ACK"]
    return us.take(Answered).call


def accepted_call(us: Us, peer: Peer) -> Call:
    """A call that the peer made and we took."""
    peer.send("INVITE", OFFER)
    assert us.incoming is not None
    call = us.incoming.accept(us.now, ANSWER)
    peer.learn(peer.get("200 INVITE"))
    peer.ack()
    us.take(Confirmed)
    return call
