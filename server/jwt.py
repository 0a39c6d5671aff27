"""[io] JSON Web Tokens of another issuer (RFC 7519): verified by the configured key, mapped to a principal."""

from __future__ import annotations

import asyncio
import json
import time
import warnings
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, get_args

import aiohttp
import structlog
from joserfc import jws, jwt
from joserfc.errors import ExpiredTokenError, JoseError, SecurityWarning
from joserfc.jwk import ECKey, KeySet, OctKey, OKPKey, RSAKey

from signalling import DEFAULT_TENANT, Principal, Role

from .errors import ApiError, InvalidToken
from .sections import ChannelRole, Jwt, TokenRole

log = structlog.get_logger("server.jwt")

MAX_CACHED = 10_000  # JWTs whose signature was verified, until they expire; about a kilobyte each
MAX_ROLES = 1000  # in one JWT
JWKS_MAX_AGE_S = 3600.0  # after that, keys are fetched again
JWKS_RETRY_S = 30.0  # between two fetches, so that unknown key ids and a dead issuer cost no more than that
JWKS_TIMEOUT_S = 5.0
MAX_JWKS = 256 * 1024  # bytes
NO_SCOPE = frozenset({"(none)"})  # a JWT that says "no scopes" is good for nothing; an empty set would be for all

Key = OctKey | OKPKey | ECKey | RSAKey
Fetch = Callable[[str], Awaitable[bytes]]

ALGORITHMS: Mapping[type[Key], tuple[str, ...]] = {
    OctKey: ("HS256",),
    OKPKey: ("EdDSA", "Ed25519", "Ed448"),
    ECKey: ("ES256",),
    RSAKey: ("RS256",),
}
"What each kind of key verifies; so a public key is never taken for the secret of an HMAC."


class JwtVerifier:
    """Turns JWTs into principals. Verified ones are remembered by their digest until they expire."""

    def __init__(
        self,
        settings: Jwt,
        *,
        tenant: str = DEFAULT_TENANT,
        clock: Callable[[], float] = time.time,
        fetch: Fetch | None = None,
    ) -> None:
        """`clock`: seconds since the epoch; `fetch` gets the JWK set. ValueError for a key that is none."""
        self._settings = settings
        self._tenant = tenant
        self._clock = clock
        self._cached: OrderedDict[bytes, tuple[Principal, float]] = OrderedDict()
        self._ring = _ring(settings)
        self._jwks = None if settings.jwks_url is None else KeyFetcher(settings.jwks_url, clock, fetch or fetch_url)
        self._registry = jws.JWSRegistry(algorithms=[name for names in ALGORITHMS.values() for name in names])
        demands: dict[str, Any] = {"exp": {"essential": True}}
        for claim, value in (("iss", settings.issuer), ("aud", settings.audience)):
            if value is not None:
                demands[claim] = {"essential": True, "value": value}
        self._claims = jwt.JWTClaimsRegistry(now=lambda: int(clock()), leeway=settings.leeway_s, **demands)

    def known(self, digest: bytes) -> Principal | None:
        """Who sends the JWT with this SHA-256, when it was verified before and has not expired."""
        found = self._cached.get(digest)
        if found is None:
            return None
        principal, until = found
        if self._clock() >= until:
            del self._cached[digest]
            return None
        return principal

    async def verify(self, token: str, digest: bytes) -> Principal:
        """Who sends `token`; InvalidToken, or ApiError 503 when the issuer's keys cannot be had."""
        claims = await self._verified(token)
        principal = self._principal(claims)
        self._cached[digest] = principal, float(claims["exp"]) + self._settings.leeway_s
        if len(self._cached) > MAX_CACHED:
            self._cached.popitem(last=False)
        return principal

    async def _verified(self, token: str) -> dict[str, Any]:
        try:
            header = jws.extract_compact(token.encode()).headers()
            keys = self._ring if self._jwks is None else await self._jwks.keys(header.get("kid"))
            for key in _candidates(keys, header):
                try:
                    decoded = _decoded(token, key, self._registry)
                except JoseError:
                    continue
                self._claims.validate(decoded.claims)
                return decoded.claims
        except ExpiredTokenError as error:
            raise InvalidToken("the token has expired") from error
        except (JoseError, ValueError, TypeError, RecursionError) as error:
            raise InvalidToken("the token is not valid") from error
        raise InvalidToken("the token is not signed by a known key")

    def _principal(self, claims: Mapping[str, Any]) -> Principal:
        names = self._settings.claims
        user = claims.get(names.user)
        if user is not None and not (isinstance(user, str) and 1 <= len(user) <= 256 and user.isprintable()):
            raise InvalidToken(f"the claim {names.user} is no user's id")
        tenant = claims.get(names.tenant, self._tenant) if names.tenant else self._tenant
        if not isinstance(tenant, str) or tenant.count("/") != 1:
            raise InvalidToken(f"the claim {names.tenant} is no account/app")
        role: Any = claims.get(names.role, "token") if names.role else "token"
        if role not in get_args(TokenRole):
            raise InvalidToken(f"the claim {names.role} is no role")
        roles = _roles(claims.get(names.roles, {}) if names.roles else {}, names.roles)
        if role in ("host", "member", "viewer"):
            roles["*"] = role
        return Principal(
            f"jwt:{user}",
            "admin" if role == "admin" else "token",
            user=user,
            tenant=tenant,
            scopes=_scopes(claims.get(names.scopes) if names.scopes else None, names.scopes),
            roles=roles,
        )


def _decoded(token: str, key: Key, registry: jws.JWSRegistry) -> jwt.Token:
    """The JWT, when `key` signed it; JoseError when not."""
    with warnings.catch_warnings():
        # RFC 9864 prefers the name Ed25519 to EdDSA, which most issuers still write.
        warnings.simplefilter("ignore", SecurityWarning)
        return jwt.decode(token, key, algorithms=list(_algorithms(key)), registry=registry)


def _ring(settings: Jwt) -> list[Key]:
    """The configured key, if it is no URL."""
    try:
        if settings.secret is not None:
            return [OctKey.import_key(settings.secret.get_secret_value())]
        if settings.public_key is not None:
            return [OKPKey.import_key(settings.public_key)]
    except (JoseError, TypeError, KeyError) as error:
        raise ValueError(str(error)) from error
    return []


def _candidates(keys: list[Key], header: Mapping[str, Any]) -> list[Key]:
    """Those that may have signed: of the header's algorithm, and of its key id where both have one."""
    algorithm, kid = header.get("alg"), header.get("kid")
    fitting = [key for key in keys if algorithm in _algorithms(key)]
    named = [key for key in fitting if kid is not None and key.kid == kid]
    return named or [key for key in fitting if kid is None or key.kid is None]


def _algorithms(key: Key) -> tuple[str, ...]:
    return ALGORITHMS[type(key)]


def _scopes(given: Any, name: str) -> frozenset[str]:
    if given is None:
        return frozenset()
    words = given.split() if isinstance(given, str) else given
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise InvalidToken(f"the claim {name} holds no scopes")
    return frozenset(words) or NO_SCOPE


def _roles(given: Any, name: str) -> dict[str, Role]:
    allowed = get_args(ChannelRole)
    if not isinstance(given, dict) or len(given) > MAX_ROLES or any(role not in allowed for role in given.values()):
        raise InvalidToken(f"the claim {name} is no object of channels and roles")
    return dict(given)


class KeyFetcher:
    """The keys behind a JWKS URL (RFC 7517): fetched when first needed, again after an hour or for an unknown key id.

    One fetch at a time, and never more than one in JWKS_RETRY_S. The old keys stay when the URL does not answer.
    """

    def __init__(self, url: str, clock: Callable[[], float], fetch: Fetch) -> None:
        self._url = url
        self._clock = clock
        self._fetch = fetch
        self._keys: list[Key] = []
        self._fetched_at = float("-inf")
        self._tried_at = float("-inf")
        self._lock = asyncio.Lock()

    async def keys(self, kid: Any) -> list[Key]:
        """All keys; ApiError 503 while none could be had."""
        if self._stale(kid):
            async with self._lock:
                if self._stale(kid):
                    await self._refresh()
        if not self._keys:
            raise ApiError(
                503,
                "KEYS_UNAVAILABLE",
                "the issuer's keys cannot be had",
                headers={"Retry-After": str(int(JWKS_RETRY_S))},
            )
        return self._keys

    def _stale(self, kid: Any) -> bool:
        now = self._clock()
        if now - self._tried_at < JWKS_RETRY_S:
            return False
        old = now - self._fetched_at > JWKS_MAX_AGE_S
        return old or (kid is not None and all(key.kid != kid for key in self._keys))

    async def _refresh(self) -> None:
        self._tried_at = self._clock()
        try:
            self._keys = _public_keys(await self._fetch(self._url))
        except (OSError, TimeoutError, aiohttp.ClientError, ValueError, TypeError, KeyError, RecursionError) as error:
            log.warning("jwks_not_fetched", url=self._url, why=repr(error))
            return
        self._fetched_at = self._tried_at


def _public_keys(data: bytes) -> list[Key]:
    """The keys of a JWK set that verify by an algorithm of ours; a symmetric one has no place there."""
    keys: list[Key] = []
    for entry in json.loads(data)["keys"]:
        try:
            (key,) = KeySet.import_key_set({"keys": [entry]}).keys
        except (JoseError, ValueError, TypeError, KeyError):
            continue  # of a kind that we do not know: the set may have others
        if isinstance(key, (OKPKey, ECKey, RSAKey)) and entry.get("use", "sig") == "sig":
            keys.append(key)
    return keys


async def fetch_url(url: str) -> bytes:
    """What `url` answers: 200, without redirect, at most MAX_JWKS bytes."""
    timeout = aiohttp.ClientTimeout(total=JWKS_TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url, allow_redirects=False) as response:
        if response.status != 200:
            raise ValueError(f"status {response.status}")
        data = await response.content.read(MAX_JWKS + 1)
        while len(data) <= MAX_JWKS and (more := await response.content.read(MAX_JWKS)):
            data += more
    if len(data) > MAX_JWKS:
        raise ValueError("too large")
    return data
