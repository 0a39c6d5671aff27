"""Dialogs (RFC 3261 section 12): who talks to whom, by which route, in which order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from .headers import Address, Headers
from .message import Request

if TYPE_CHECKING:
    from .message import Message, Response
    from .uri import Uri

__all__ = ["Dialog"]

MAX_ROUTES: Final = 32
"Record-Routes taken from a peer; each is sent back in every request of the dialog."

_FIRST: Final = ["max-forwards", "from", "to", "call-id", "cseq"]


class Dialog:
    """The state of one dialog, about 600 bytes: strings as they go on the wire, and two counters."""

    __slots__ = (
        "_request_uri",
        "call_id",
        "caller",
        "contact",
        "local",
        "local_cseq",
        "local_tag",
        "remote",
        "remote_cseq",
        "remote_tag",
        "remote_target",
        "routes",
    )

    def __init__(
        self,
        *,
        caller: bool,
        call_id: str,
        local: str,
        local_tag: str,
        remote: str,
        remote_tag: str,
        remote_target: str,
        routes: Iterable[str],
        contact: str,
        local_cseq: int,
        remote_cseq: int,
    ) -> None:
        self.caller = caller
        "True if we sent the INVITE: we own the Call-ID (section 14.1)."
        self.call_id = call_id
        self.local = local
        "Our From of requests, with its tag."
        self.local_tag = local_tag
        self.remote = remote
        "Our To of requests, with its tag if the peer has one."
        self.remote_tag = remote_tag
        self.remote_target = remote_target
        "URI of the peer's last Contact."
        self.routes = tuple(routes)
        "Values of our Route headers, nearest first; fixed for the life of the dialog."
        self.contact = contact
        "Value of our Contact header."
        self.local_cseq = local_cseq
        "Of our last request."
        self.remote_cseq = remote_cseq
        "Of the peer's last request; -1 before the first."
        self._request_uri = _strict_router(self.routes)

    @classmethod
    def of_caller(cls, request: Request, response: Response) -> Dialog:
        """The dialog at the side that sent `request`, by a response with a To tag (section 12.1.2).

        The route set is the Record-Route of the response, reversed.
        """
        return cls(
            caller=True,
            call_id=request.call_id,
            local=request.headers.get("From") or "",
            local_tag=request.from_.tag or "",
            remote=response.headers.get("To") or "",
            remote_tag=response.to.tag or "",
            remote_target=_target_of(response) or request.uri,
            routes=_record_routes(response)[::-1],
            contact=request.headers.get("Contact") or "",
            local_cseq=request.cseq.number,
            remote_cseq=-1,
        )

    @classmethod
    def of_callee(cls, request: Request, local_tag: str, contact: str) -> Dialog:
        """The dialog at the side that answers `request` (section 12.1.1): the route set is its Record-Route."""
        to = request.headers.get("To") or ""
        return cls(
            caller=False,
            call_id=request.call_id,
            local=f"{to};tag={local_tag}",
            local_tag=local_tag,
            remote=request.headers.get("From") or "",
            remote_tag=request.from_.tag or "",
            remote_target=_target_of(request) or str(request.from_.uri),
            routes=_record_routes(request),
            contact=contact,
            local_cseq=0,
            remote_cseq=request.cseq.number,
        )

    def fork(self, response: Response, cseq: int) -> Dialog:
        """Another dialog of the same INVITE, number `cseq`, by a response of another callee (section 13.2.2.4)."""
        return Dialog(
            caller=True,
            call_id=self.call_id,
            local=self.local,
            local_tag=self.local_tag,
            remote=response.headers.get("To") or "",
            remote_tag=response.to.tag or "",
            remote_target=_target_of(response) or self.remote_target,
            routes=_record_routes(response)[::-1],
            contact=self.contact,
            local_cseq=cseq,
            remote_cseq=-1,
        )

    @property
    def id(self) -> tuple[str, str, str]:
        """The key of the dialog in the stack: Call-ID, our tag, the peer's tag (empty if it sent none)."""
        return (self.call_id, self.local_tag, self.remote_tag)

    @property
    def next_hop(self) -> str:
        """URI of the element that the next request goes to: the first route, or else the remote target."""
        if not self.routes:
            return self.remote_target
        return self._request_uri or str(Address.parse(self.routes[0]).uri)

    def next_cseq(self) -> int:
        """Count one request of ours."""
        self.local_cseq += 1
        return self.local_cseq

    def request(
        self,
        method: str,
        headers: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
        *,
        content_type: str | None = None,
    ) -> Request:
        """Our next request (section 12.2.1.1), complete but for Via. Not for ACK and CANCEL."""
        return self._build(method, self.next_cseq(), headers, body, content_type)

    def ack(self, cseq: int, credentials: Iterable[tuple[str, str]] = (), sdp: str | None = None) -> Request:
        """The ACK of a 2xx to our INVITE number `cseq` (section 13.2.2.4), with the credentials of that INVITE."""
        if sdp is None:
            return self._build("ACK", cseq, credentials, b"", None)
        return self._build("ACK", cseq, credentials, sdp.encode("utf-8"), "application/sdp")

    def in_order(self, cseq: int) -> bool:
        """Take the CSeq number of a request of the peer; False if it is lower than one before (answer 500).

        Equal passes: RFC 3261 12.2.2 rejects only what is lower, and a repetition never reaches the dialog.
        """
        if cseq < self.remote_cseq:
            return False
        self.remote_cseq = cseq
        return True

    def refresh(self, message: Message) -> bool:
        """Take the remote target of a re-INVITE or of its 2xx; True if it changed (section 12.2)."""
        target = _target_of(message)
        if target is None or target == self.remote_target:
            return False
        self.remote_target = target
        return True

    def _build(
        self,
        method: str,
        cseq: int,
        headers: Iterable[tuple[str, str]],
        body: bytes,
        content_type: str | None,
    ) -> Request:
        # These five are whole as they stand: names and tags as a parser let them through, and numbers of ours.
        fields = Headers.from_lines(
            _FIRST.copy(),
            [
                "Max-Forwards: 70",
                f"From: {self.local}",
                f"To: {self.remote}",
                f"Call-ID: {self.call_id}",
                f"CSeq: {cseq} {method}",
            ],
        )
        uri = self.remote_target
        if self.routes:
            if self._request_uri is None:
                fields.add("Route", ", ".join(self.routes))
            else:  # A strict router as RFC 2543 had them: it takes the next route from the end of the list.
                uri = self._request_uri
                fields.add("Route", ", ".join((*self.routes[1:], f"<{self.remote_target}>")))
        if method == "INVITE":
            fields.add("Contact", self.contact)
        for name, value in headers:
            fields.add(name, value)
        if content_type is not None:
            fields.add("Content-Type", content_type)
        return Request(method, uri, fields, body)


def _target_of(message: Message) -> str | None:
    contacts = message.contacts
    return _as_request_uri(contacts[0].uri) if contacts else None


def _record_routes(message: Message) -> tuple[str, ...]:
    if "Record-Route" not in message.headers:
        return ()
    return tuple(message.headers.values("Record-Route")[:MAX_ROUTES])


def _strict_router(routes: tuple[str, ...]) -> str | None:
    """The Request-URI that the first route wants, or None for the remote target: the router is loose."""
    if not routes:
        return None
    uri = Address.parse(routes[0]).uri
    return None if uri.has("lr") else _as_request_uri(uri)


def _as_request_uri(uri: Uri) -> str:
    """Without what a Request-URI may not have (section 19.1.1): headers and `method`."""
    if uri.headers or uri.has("method"):
        kept = tuple(pair for pair in uri.parameters if pair[0].lower() != "method")
        uri = replace(uri, headers="", parameters=kept)
    return str(uri)
