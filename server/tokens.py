"""[io] API keys: made, known by their digest, listed and revoked."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from hmac import compare_digest
from typing import Literal

from signalling import DEFAULT_TENANT, Pattern, Principal, Role

from .sections import Token, TokenRole

PREFIX = "rw"
ID_BYTES = 6
SECRET_BYTES = 24  # 192 bits: a digest without salt and stretching is enough for what nobody can guess
MAX_KEYS = 100_000  # each takes about a kilobyte

State = Literal["active", "expired", "revoked"]


@dataclass(slots=True)
class ApiKey:
    """One API key as it is kept: its token's digest, never the token."""

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
    "Seconds since the epoch, as the other two; a whole millisecond, so that it is stored as it is."
    expires_at: float | None = None
    revoked_at: float | None = None
    configured: bool = False
    "Whether it stands in the configuration: then it is neither stored nor revoked."

    def state(self, now: float) -> State:
        """What it is good for at `now`, seconds since the epoch."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and now >= self.expires_at else "active"

    def principal(self) -> Principal:
        """Whoever shows it. Names of keys that were made while running cannot be those of the configuration."""
        roles: dict[str, Role] = dict(self.channel_roles)
        if self.role in ("host", "member", "viewer"):
            roles["*"] = self.role
        return Principal(
            self.name if self.configured else f"key:{self.id}",
            "admin" if self.role == "admin" else "token",
            tuple(map(Pattern.parse, self.allow)),
            user=self.user,
            tenant=self.tenant,
            scopes=frozenset(self.scopes),
            roles=roles,
        )


@dataclass(frozen=True, slots=True)
class _Known:
    digest: bytes
    principal: Principal
    expires_at: float | None


class TokenBook:
    """All API keys, in memory: those of the configuration, and those made while it runs.

    `on_change` hears of each key that is made or revoked, to store it.
    """

    def __init__(
        self,
        tokens: Iterable[Token] = (),
        *,
        tenant: str = DEFAULT_TENANT,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`tenant`: that of tokens which name none. `clock`: seconds since the epoch."""
        self.on_change: Callable[[ApiKey], None] | None = None
        self._clock = clock
        self._keys: dict[str, ApiKey] = {}
        self._known: dict[bytes, _Known] = {}
        self._newest_ms = 0
        "When the newest key was made."
        for token in tokens:
            self.put(_configured(token, tenant))

    def principal(self, digest: bytes) -> Principal | None:
        """Whose token has this SHA-256; None when nobody's, or when it has expired or was revoked.

        Found by the digest: what the time of a look-up tells is of a digest, which leads to no token.
        """
        known = self._known.get(digest)
        if known is None or not compare_digest(known.digest, digest):
            return None
        if known.expires_at is not None and self._clock() >= known.expires_at:
            return None
        return known.principal

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
        """A new key and its token, which is told this once and kept nowhere.

        ValueError for a dial pattern that is none, or when there are MAX_KEYS already.
        """
        key, token = self._make(
            tenant, name, role, user, tuple(scopes), tuple(allow), dict(channel_roles or {}), expires_at
        )
        if self.on_change is not None:
            self.on_change(key)
        return key, token

    def lend(
        self,
        tenant: str,
        name: str,
        *,
        user: str,
        scopes: Iterable[str],
        channel_roles: Mapping[str, Role],
        lasts_s: float,
    ) -> tuple[ApiKey, str]:
        """A key of this process alone, which is not stored, and its token. ValueError as `create`."""
        return self._make(tenant, name, "token", user, tuple(scopes), (), dict(channel_roles), self._clock() + lasts_s)

    def _make(
        self,
        tenant: str,
        name: str,
        role: TokenRole,
        user: str | None,
        scopes: tuple[str, ...],
        allow: tuple[str, ...],
        channel_roles: Mapping[str, Role],
        expires_at: float | None,
    ) -> tuple[ApiKey, str]:
        if len(self._keys) >= MAX_KEYS:
            raise ValueError(f"{MAX_KEYS} keys are the limit")
        key_id, token = new_token()
        # No two of one millisecond: their order is that of these instants, also once they are read back.
        made_at = max(round(self._clock() * 1000), self._newest_ms + 1) / 1000
        key = ApiKey(
            key_id, tenant, name, digest_of(token), role, user, scopes, allow, channel_roles, made_at, expires_at
        )
        self.put(key)
        return key, token

    def revoke(self, tenant: str, key_id: str) -> ApiKey | None:
        """From now on the key opens nothing. None when the tenant has none of that id, or it is a configured one."""
        key = self._keys.get(key_id)
        if key is None or key.tenant != tenant or key.configured:
            return None
        if key.revoked_at is None:
            key.revoked_at = self._clock()
            self.put(key)
            if self.on_change is not None:
                self.on_change(key)
        return key

    def get(self, tenant: str, key_id: str) -> ApiKey | None:
        """The key of that id."""
        key = self._keys.get(key_id)
        return key if key is not None and key.tenant == tenant else None

    def keys(self, tenant: str) -> list[ApiKey]:
        """All of a tenant, oldest first, also those that no longer open anything."""
        return [key for key in self._keys.values() if key.tenant == tenant]

    def tenants(self) -> set[str]:
        """Those that have keys."""
        return {key.tenant for key in self._keys.values()}

    def put(self, key: ApiKey) -> None:
        """Take a key as it is stored: a new one, or what another process changed. Nobody is told."""
        principal = key.principal()
        before = self._keys.get(key.id)
        if before is not None:
            self._known.pop(before.digest, None)
        self._keys[key.id] = key
        self._newest_ms = max(self._newest_ms, round(key.created_at * 1000))
        if key.revoked_at is None:
            self._known[key.digest] = _Known(key.digest, principal, key.expires_at)

    def drop(self, key_id: str) -> None:
        """Forget a key that is no longer stored."""
        key = self._keys.pop(key_id, None)
        if key is not None:
            self._known.pop(key.digest, None)


def new_token() -> tuple[str, str]:
    """Id and token of a new key: `rw_<id>_<secret>`."""
    key_id = secrets.token_hex(ID_BYTES)
    return key_id, f"{PREFIX}_{key_id}_{secrets.token_urlsafe(SECRET_BYTES)}"


def digest_of(token: str) -> bytes:
    """SHA-256."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def _configured(token: Token, tenant: str) -> ApiKey:
    if token.token_sha256 is not None:
        digest = bytes.fromhex(token.token_sha256)
    else:
        assert token.token is not None, "the model demands one of the two"
        digest = digest_of(token.token.get_secret_value())
    return ApiKey(
        f"config:{token.name}",
        token.tenant or tenant,
        token.name,
        digest,
        token.role,
        token.user,
        tuple(token.scopes),
        tuple(token.allow),
        dict(token.channel_roles),
        configured=True,
    )
