"""Links to files that need no token: signed, so that nobody makes one up, and good for a while only (E23)."""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

from ..errors import ApiError

LIFETIME_S = 3600.0  # long enough to fetch a file; whoever comes later asks for a new link
KEY_BYTES = 32
_PURPOSE = b"ringway download\n"  # the key signs nothing else, even if another part came to use it


@dataclass(frozen=True, slots=True)
class Link:
    """A link to one file."""

    target: str
    "Path and query, to stand behind the server's own address."
    expires_at: int
    "ms since the epoch."


class Links:
    """Makes links and checks them. Whoever knows the key can make them, so it stays in the database."""

    def __init__(self, key: bytes, *, clock: Callable[[], float], lifetime_s: float = LIFETIME_S) -> None:
        """`clock`: seconds since the epoch."""
        assert len(key) >= KEY_BYTES, "a short key can be guessed"
        self._key = key
        self._clock = clock
        self._lifetime_s = lifetime_s

    def make(self, path: str) -> Link:
        """A link to `path`, which is as a request has it: percent-encoded if need be."""
        expires = int(self._clock() + self._lifetime_s)
        return Link(f"{path}?expires={expires}&signature={self._sign(path, str(expires))}", expires * 1000)

    def check(self, path: str, expires: str, signature: str) -> None:
        """ApiError 403 unless we made this link, 410 when it has expired."""
        given = signature.encode("utf-8", "surrogatepass")
        if not hmac.compare_digest(given, self._sign(path, expires).encode()):
            raise ApiError(403, "BAD_SIGNATURE", "the link was not made by this server, or not for this file")
        if self._clock() >= int(expires):
            raise ApiError(410, "LINK_EXPIRED", "the link has expired; ask for a new one")

    def _sign(self, path: str, expires: str) -> str:
        text = f"{path}\n{expires}".encode("utf-8", "surrogatepass")
        return urlsafe_b64encode(hmac.digest(self._key, _PURPOSE + text, sha256)).rstrip(b"=").decode()
