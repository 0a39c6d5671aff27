"""How messages find their transactions (RFC 3261 §17.1.3, §17.2.3; the rules of RFC 2543 for older branches)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ..headers import Via
    from ..message import Request

__all__ = ["MAGIC_COOKIE", "ClientKey", "MergeKey", "ServerKey", "ack_key", "merge_key", "server_key"]

MAGIC_COOKIE: Final = "z9hG4bK"
"What begins every branch that RFC 3261 made. Some send it bare, for every request: that is as good as no branch."

ClientKey = tuple[str, str]
"Branch of our Via, and method of CSeq."
ServerKey = tuple[str, ...]
"Branch, sent-by and method; eight parts where the branch is none of RFC 3261."
MergeKey = tuple[str, str, int, str]
"From tag, Call-ID and CSeq of a request outside any dialog."


def server_key(request: Request, method: str) -> ServerKey:
    """The key of `request` as if its method were `method`: an ACK or CANCEL looks for its INVITE.

    Take it before `received` and `rport` are recorded.
    """
    via = request.via
    branch = via.branch
    if branch is None or branch[:7] != MAGIC_COOKIE or branch == MAGIC_COOKIE:
        return _old_key(request, via, method, request.to.tag or "")
    return (branch, via.sent_by.lower(), method)


def ack_key(request: Request) -> ServerKey | None:
    """The other key under which the INVITE of an RFC 2543 ACK may be found, None if it has the branch of RFC 3261.

    The ACK has the To tag of our response, the INVITE had none (§17.2.3); compare it with the one we gave.
    """
    via = request.via
    branch = via.branch
    if branch is None or branch[:7] != MAGIC_COOKIE or branch == MAGIC_COOKIE:
        return _old_key(request, via, "INVITE", "")
    return None


def merge_key(request: Request, from_tag: str) -> MergeKey:
    """What two copies of one request have in common if it reached us on two ways (RFC 3261 §8.2.2.2)."""
    return (from_tag, request.call_id, request.cseq.number, request.method)


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
