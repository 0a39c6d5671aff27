"""Digest authentication as server and as client (RFC 7616, RFC 8760, RFC 3261 §22)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .message import Request, Response

Ha1Lookup = Callable[[str, str, str], str | None]
"(user, realm, algorithm) -> HA1 in lower-case hex, or None for an unknown user."


def credentials(user: str, realm: str, password: str, algorithm: str = "MD5") -> str:
    """HA1 of a user: H(user:realm:password) in hex. `algorithm` is "MD5" or "SHA-256"."""
    raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Verdict:
    """What `DigestServer.verify` found."""

    ok: bool
    username: str | None
    "The authenticated user; None unless `ok`."
    stale: bool
    "The nonce was at fault, not the password: challenge with stale=true."
    why: str
    "For the log: never for the wire."
    claimed: str | None = None
    "The name that the credentials gave, proven or not."


class DigestServer:
    """Makes challenges and checks answers for one realm."""

    def __init__(
        self,
        realm: str,
        secret: bytes,
        *,
        nonce_lifetime_s: float = 300.0,
        algorithms: Sequence[str] = ("SHA-256", "MD5"),
        max_nonces: int = 16_384,
    ) -> None:
        raise NotImplementedError

    def challenge_headers(
        self, source_ip: str, now: float, *, proxy: bool = False, stale: bool = False
    ) -> list[tuple[str, str]]:
        """The WWW-Authenticate (401) or, for `proxy`, Proxy-Authenticate (407) headers, preferred first."""
        raise NotImplementedError

    def verify(self, request: Request, source_ip: str, now: float, lookup: Ha1Lookup) -> Verdict:
        """Check the Authorization or Proxy-Authorization header of our realm in `request`."""
        raise NotImplementedError


class DigestClient:
    """Answers challenges with one user's credentials."""

    def __init__(self, username: str, password: str) -> None:
        raise NotImplementedError

    def authorize(self, response: Response, request: Request) -> tuple[str, str] | None:
        """The header that answers a 401 or 407, or None to give up."""
        raise NotImplementedError
