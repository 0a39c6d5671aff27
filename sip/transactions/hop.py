"""What a hop adds or makes by itself: our Via, the ACK to a refusal (RFC 3261 §17.1.1.3), the CANCEL (§9.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..grammar import split_list
from ..headers import Headers
from ..message import Request

if TYPE_CHECKING:
    from ..message import Response
    from ..transport.base import Flow

__all__ = ["ack_bytes", "cancel_request", "record_source", "via_text", "with_via"]

MAX_FORWARDS: Final = "70"  # RFC 3261 §8.1.1.6


def via_text(flow: Flow, branch: str) -> str:
    """Our Via for a request on `flow`; over UDP it asks for the response where the request came from (RFC 3581)."""
    transport = flow.transport
    if transport == "UDP":
        return f"SIP/2.0/UDP {flow.sent_by};branch={branch};rport"
    return f"SIP/2.0/{transport} {flow.sent_by};branch={branch}"


def with_via(request: Request, via: str) -> bytes:
    """The request as sent: with our Via on top. The request itself stays as it is."""
    data = request.to_bytes()
    after = data.index(b"\r\n") + 2
    return b"%bVia: %b\r\n%b" % (data[:after], via.encode("latin-1"), data[after:])


def ack_bytes(request: Request, via: str, response: Response) -> bytes:
    """The ACK to a final response other than 2xx: To of the response, all else of the INVITE and its very Via."""
    get = request.get
    lines = [
        f"ACK {request.uri} SIP/2.0",
        f"Via: {via}",
        f"Max-Forwards: {MAX_FORWARDS}",
        *[f"Route: {value}" for value in request.headers.get_all("Route")],
        f"From: {get('From')}",
        f"To: {response.get('To')}",
        f"Call-ID: {request.call_id}",
        f"CSeq: {request.cseq.number} ACK",
        "Content-Length: 0\r\n\r\n",
    ]
    return "\r\n".join(lines).encode("latin-1")


def cancel_request(request: Request, reason: str | None) -> Request:
    """The CANCEL of an INVITE, complete but for the Via they share; `reason` is the value of a Reason header."""
    headers = Headers([("Max-Forwards", MAX_FORWARDS)])
    for value in request.headers.get_all("Route"):
        headers.add("Route", value)
    for name in ("From", "To", "Call-ID"):
        headers.add(name, request.get(name) or "")
    headers.add("CSeq", f"{request.cseq.number} CANCEL")
    if reason is not None:
        headers.add("Reason", reason)
    return Request("CANCEL", request.uri, headers)


def record_source(request: Request, flow: Flow) -> None:
    """Write into the top Via where the request really came from (RFC 3261 §18.2.1, RFC 3581 §4)."""
    via = request.via
    host, port = flow.remote
    pieces = [f"SIP/2.0/{via.transport} {via.sent_by}"]
    recorded = via.host != host and via.host.strip("[]").lower() != host
    changed = recorded
    for name, value in via.parameters:
        lower = name.lower()
        if lower == "rport":
            changed = recorded = True
            pieces.append(f"rport={port}")
        elif lower == "received":
            changed = True  # only we can know; what a client says of itself is dropped
        else:
            pieces.append(name if value is None else f"{name}={value}")
    if not changed:
        return
    if recorded:
        pieces.append(f"received={host}")
    text = ";".join(pieces)
    line = request.get("Via") or ""
    if "," in line:
        text = ", ".join([text, *split_list(line)[1:]])
    request.headers.replace_first("Via", text)
