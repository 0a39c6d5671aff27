"""How messages find their transactions (RFC 3261 §17.1.3, §17.2.3; the rules of RFC 2543 for older branches)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ..headers import Via
    from ..message import Request

__all__ = ["MAGIC_COOKIE", "ClientKey", "MergeKey", "ServerKey", "ack_key", "merge_key", "server_key"]

MAGIC_COOKIE: Final = "z9hG4bK"
"What begins every branch that RFC 3261 made; one of nothing else is no better than none."

ClientKey = tuple[str, str]
"Branch of our Via, and method of CSeq."
ServerKey = tuple[str, ...]
"Branch, sent-by and method; eight parts where the branch is none of RFC 3261."
MergeKey = tuple[str, str, str]
"From tag, Call-ID and CSeq of a request outside any dialog."


def server_key(request: Request, method: str) -> ServerKey:
    """The key of `request` as if its method were `method`: an ACK or CANCEL looks for its INVITE.

    Take it before `received` and `rport` are recorded. ParseError if Via, From, To or CSeq are malformed.
    """
    via = request.via
    branch = via.branch
    # Implementations that send the bare cookie as a branch use it for every request (RFC 3261 §8.1.1.7 wants
    # uniqueness), so it says nothing.
    if branch is not None and len(branch) > len(MAGIC_COOKIE) and branch.startswith(MAGIC_COOKIE):
        return (branch, via.sent_by.lower(), method)
    return _old_key(request, via, method, request.to.tag or "")


def ack_key(request: Request) -> ServerKey | None:
    """The other key under which the INVITE of an RFC 2543 ACK may be found, None if it has the branch of RFC 3261.

    The ACK has the To tag of our response, the INVITE had none (§17.2.3); compare it with the one we gave.
    """
    via = request.via
    branch = via.branch
    if branch is not None and len(branch) > len(MAGIC_COOKIE) and branch.startswith(MAGIC_COOKIE):
        return None
    return _old_key(request, via, "INVITE", "")


def merge_key(request: Request, from_tag: str) -> MergeKey:
    """What two copies of one request have in common if it reached us on two ways (RFC 3261 §8.2.2.2)."""
    return (from_tag, request.call_id, request.get("CSeq") or "")


def _old_key(request: Request, via: Via, method: str, to_tag: str) -> ServerKey:
    # The CSeq number without its method, so that ACK and CANCEL find their INVITE; the top Via as its parts.
    return (
        request.uri,
        to_tag,
        request.from_.tag or "",
        request.call_id,
        str(request.cseq.number),
        via.sent_by.lower(),
        via.branch or "",
        method,
    )
