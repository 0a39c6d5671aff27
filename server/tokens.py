"""[io] API keys: made, known by their digest, listed and revoked."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from signalling import Pattern, Principal, Role

from .sections import Token

TokenRole = Literal["admin", "token", "host", "member", "viewer"]
"""admin: anything in its tenant, for any of its users. host, member, viewer: that role in every channel of the tenant.
token: only where its user takes part or it made the session itself."""

DEFAULT_TENANT = "default/default"
PREFIX = "rw"


@dataclass(slots=True)
class ApiKey:
    """One API key as it is kept: its secret's digest, never the secret."""

    id: str
    tenant: str
    name: str
    digest: bytes
    "SHA-256 of the whole token."
    role: TokenRole = "token"
    user: str | None = None
    scopes: tuple[str, ...] = ()
    "Empty: all that its role allows."
    allow: tuple[str, ...] = ()
    "Dial patterns."
    channel_roles: Mapping[str, Role] = field(default_factory=dict)
    created_at: float = 0.0
    expires_at: float | None = None
    revoked_at: float | None = None
    "All three: seconds since the epoch."


class TokenBook:
    """All API keys, in memory: those of the configuration, and those made while it runs."""

    def __init__(
        self,
        tokens: Iterable[Token] = (),
        *,
        tenant: str = DEFAULT_TENANT,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        self._keys: dict[str, ApiKey] = {}
        self._known: dict[bytes, tuple[Principal, float | None]] = {}
        self.on_change: Callable[[ApiKey], None] | None = None
        for token in tokens:
            self._put(_configured(token, tenant), f"{token.name}")

    def principal(self, digest: bytes) -> Principal | None:
        """Whose token has this SHA-256; None when nobody's, or when it has expired or was revoked."""
        found = self._known.get(digest)
        if found is None:
            return None
        principal, expires_at = found
        if expires_at is not None and self._clock() >= expires_at:
            return None
        return principal

    def create(
        self,
        tenant: str,
        name: str,
        *,
        role: TokenRole = "token",
        user: str | None = None,
        scopes: Iterable[str] = (),
        allow: Iterable[str] = (),
        channel_roles: Mapping[str, Role] | None = None,
        expires_at: float | None = None,
    ) -> tuple[ApiKey, str]:
        """A new key and its token, which is told this once and kept nowhere."""
        key_id = secrets.token_hex(6)
        token = f"{PREFIX}_{key_id}_{secrets.token_urlsafe(24)}"
        key = ApiKey(
            key_id,
            tenant,
            name,
            hashlib.sha256(token.encode()).digest(),
            role,
            user,
            tuple(scopes),
            tuple(allow),
            dict(channel_roles or {}),
            self._clock(),
            expires_at,
        )
        self._put(key, f"key:{key_id}")
        if self.on_change is not None:
            self.on_change(key)
        return key, token

    def revoke(self, tenant: str, key_id: str) -> ApiKey | None:
        """From now on the key opens nothing; None when the tenant has none of that id."""
        key = self._keys.get(key_id)
        if key is None or key.tenant != tenant:
            return None
        if key.revoked_at is None:
            key.revoked_at = self._clock()
            self._known.pop(key.digest, None)
            if self.on_change is not None:
                self.on_change(key)
        return key

    def keys(self, tenant: str) -> list[ApiKey]:
        """All of a tenant, also those that no longer open anything."""
        return [key for key in self._keys.values() if key.tenant == tenant]

    def _put(self, key: ApiKey, name: str) -> None:
        self._keys[key.id] = key
        if key.revoked_at is None:
            self._known[key.digest] = (_principal(key, name), key.expires_at)


def _configured(token: Token, tenant: str) -> ApiKey:
    if token.token_sha256 is not None:
        digest = bytes.fromhex(token.token_sha256)
    else:
        assert token.token is not None, "the model demands one of the two"
        digest = hashlib.sha256(token.token.get_secret_value().encode()).digest()
    return ApiKey(f"config:{token.name}", tenant, token.name, digest, token.role, allow=tuple(token.allow))


def _principal(key: ApiKey, name: str) -> Principal:
    roles: dict[str, Role] = dict(key.channel_roles)
    if key.role in ("host", "member", "viewer"):
        roles["*"] = key.role
    return Principal(
        name,
        "admin" if key.role == "admin" else "token",
        tuple(map(Pattern.parse, key.allow)),
        user=key.user,
        tenant=key.tenant,
        scopes=frozenset(key.scopes),
        roles=roles,
    )
