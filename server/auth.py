"""Bearer tokens of the REST API: from an Authorization header to the principal that may make calls."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable

from signalling import Pattern, Principal

from .config import Token
from .errors import ApiError

MAX_TOKEN = 1024  # characters; longer than any token of ours, short enough to hash at every request


class TokenBook:
    """The tokens that are valid, kept as SHA-256 only."""

    def __init__(self, tokens: Iterable[Token]) -> None:
        self._entries = [(_digest(token), _principal(token)) for token in tokens]

    def authenticate(self, authorization: str | None) -> Principal:
        """Who sends this header (RFC 6750 §2.1); ApiError 401 with a challenge when nobody known does.

        Every entry is compared, each in constant time, so that the time says nothing about any token.
        """
        if authorization is None:
            raise _unauthorized("a bearer token is needed", 'Bearer realm="ringway"')
        scheme, _, token = authorization.partition(" ")
        token = token.strip(" ")
        if scheme.lower() != "bearer" or not token or len(token) > MAX_TOKEN:
            raise _unauthorized("a bearer token is needed", 'Bearer realm="ringway", error="invalid_request"')
        given = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        found: Principal | None = None
        for digest, principal in self._entries:
            if hmac.compare_digest(digest, given):
                found = principal
        if found is None:
            raise _unauthorized("the token is not valid", 'Bearer realm="ringway", error="invalid_token"')
        return found


def _digest(token: Token) -> bytes:
    if token.token_sha256 is not None:
        return bytes.fromhex(token.token_sha256)
    assert token.token is not None, "the model demands one of the two"
    return hashlib.sha256(token.token.get_secret_value().encode()).digest()


def _principal(token: Token) -> Principal:
    return Principal(token.name, token.role, tuple(map(Pattern.parse, token.allow)))


def _unauthorized(message: str, challenge: str) -> ApiError:
    return ApiError(401, "UNAUTHORIZED", message, headers={"WWW-Authenticate": challenge})
