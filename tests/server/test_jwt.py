"""JWTs: which are taken, and whom they stand for."""

from __future__ import annotations

import base64
import json
import warnings
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from joserfc import jwt
from joserfc.errors import SecurityWarning
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from server.auth import Authenticator, authenticator
from server.errors import ApiError, ConfigError
from server.jwt import JWKS_MAX_AGE_S, JWKS_RETRY_S, MAX_CACHED, JwtVerifier
from server.sections import Auth, Jwt
from server.tokens import TokenBook
from signalling import Principal

NOW = 1_800_000_000.0
SECRET = "a secret of at least 32 characters, of the tests"
ED = OKPKey.generate_key("Ed25519", {"kid": "ed-1"})
RSA = RSAKey.generate_key(2048, {"kid": "rsa-1"})
EC = ECKey.generate_key("P-256", {"kid": "ec-1"})
URL = "https://issuer.example/jwks.json"


class Clock:
    """Seconds since the epoch, as told."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


class Issuer:
    """A JWKS URL."""

    def __init__(self, *keys: OKPKey | RSAKey | ECKey | OctKey) -> None:
        self.keys = list(keys)
        self.asked = 0
        self.down = False

    async def fetch(self, url: str) -> bytes:
        assert url == URL
        self.asked += 1
        if self.down:
            raise OSError("no route")
        return json.dumps({"keys": [key.as_dict(private=isinstance(key, OctKey)) for key in self.keys]}).encode()


def signed(key: Any, algorithm: str, **claims: Any) -> str:
    claims = {"sub": "alice", "exp": NOW + 600, **claims}
    header: dict[str, Any] = {"alg": algorithm}
    if getattr(key, "kid", None):
        header["kid"] = key.kid
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SecurityWarning)  # of the name EdDSA
        return jwt.encode(header, {k: v for k, v in claims.items() if v is not None}, key, algorithms=[algorithm])


def hs256(secret: str = SECRET, **claims: Any) -> str:
    return signed(OctKey.import_key(secret), "HS256", **claims)


def gate(
    clock: Clock | None = None, fetch: Callable[[str], Awaitable[bytes]] | None = None, **settings: Any
) -> Authenticator:
    if not settings.keys() & {"public_key", "jwks_url"}:
        settings = {"secret": SECRET, **settings}
    verifier = JwtVerifier(Jwt.model_validate(settings), clock=clock or Clock(), fetch=fetch)
    return Authenticator(TokenBook(), verifier)


async def principal(door: Authenticator, token: str) -> Principal:
    return await door.authenticate(f"Bearer {token}")


async def refusal(door: Authenticator, token: str) -> str:
    with pytest.raises(ApiError) as refused:
        await door.authenticate(f"Bearer {token}")
    assert refused.value.status == 401
    assert 'error="invalid_token"' in refused.value.headers["WWW-Authenticate"]
    return refused.value.message


async def test_claims_become_the_principal() -> None:
    token = hs256(tenant="acme/web", scope="sessions:read events", roles={"c1": "host"}, role="viewer")
    who = await principal(gate(), token)
    assert (who.user, who.tenant, who.kind) == ("alice", "acme/web", "token")
    assert who.scopes == {"sessions:read", "events"}
    assert who.roles == {"c1": "host", "*": "viewer"}
    assert who.name == "jwt:alice"


async def test_without_claims_it_has_its_users_place_and_the_servers_tenant() -> None:
    who = await principal(gate(), hs256())
    assert (who.tenant, who.scopes, who.roles) == ("default/default", frozenset(), {})


async def test_other_names_of_claims() -> None:
    claims = {"user": "uid", "tenant": "", "scopes": "permissions", "role": "", "roles": ""}
    token = hs256(uid="bob", tenant="acme/web", permissions=["sessions:read"], role="admin", roles={"c": "host"})
    who = await principal(gate(claims=claims), token)
    assert (who.user, who.tenant, who.kind, who.roles) == ("bob", "default/default", "token", {})
    assert who.scopes == {"sessions:read"}


async def test_an_admins_jwt() -> None:
    assert (await principal(gate(), hs256(role="admin"))).kind == "admin"


@pytest.mark.parametrize("scope", ["", [], "openid profile"])
async def test_scopes_that_are_none_of_ours_allow_nothing(scope: Any) -> None:
    who = await principal(gate(), hs256(scope=scope))
    assert who.scopes
    assert not who.scopes & {"sessions:read", "sessions:write", "events", "admin"}


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": None},
        {"exp": NOW - 31},
        {"exp": "tomorrow"},
        {"nbf": NOW + 31},
        {"sub": 7},
        {"sub": ""},
        {"sub": "a\nb"},
        {"tenant": "acme"},
        {"tenant": ["a/b"]},
        {"role": "root"},
        {"role": {"a": 1}},
        {"roles": ["host"]},
        {"roles": {"c1": "owner"}},
        {"roles": {"c1": ["host"]}},
        {"scope": 7},
        {"scope": [7]},
        {"iss": "somebody else"},
        {"iss": None},
        {"aud": "others"},
        {"aud": None},
    ],
)
async def test_what_is_not_as_it_must_be_is_401(claims: dict[str, Any]) -> None:
    door = gate(issuer="us", audience="ringway")
    await principal(door, hs256(iss="us", aud=["ringway", "other"]))
    await refusal(door, hs256(**{"iss": "us", "aud": "ringway", **claims}))


async def test_clocks_may_differ_by_the_leeway() -> None:
    door = gate(leeway_s=30)
    await principal(door, hs256(exp=NOW - 29, nbf=NOW + 29))


async def test_another_key_is_401() -> None:
    assert "known key" in await refusal(gate(), hs256("another secret of at least 32 characters, as well"))


async def test_eddsa_with_a_public_key() -> None:
    pem = ED.as_pem(private=False).decode()
    door = gate(public_key=pem)
    assert (await principal(door, signed(ED, "EdDSA"))).user == "alice"
    await refusal(door, signed(OKPKey.generate_key("Ed25519"), "EdDSA"))


async def test_a_public_key_is_never_the_secret_of_an_hmac() -> None:
    pem = ED.as_pem(private=False).decode()
    forged = OctKey.import_key(base64.urlsafe_b64encode(pem.encode()).decode())
    for key in (OctKey.import_key(pem.replace("-", "").encode()), forged):
        await refusal(gate(public_key=pem), signed(key, "HS256"))
    header, payload, _ = hs256().split(".")
    for algorithm in ("none", "None", "HS512", "RS256", "", None, 7, ["HS256"]):
        head = base64.urlsafe_b64encode(json.dumps({"alg": algorithm}).encode()).decode().rstrip("=")
        await refusal(gate(), f"{head}.{payload}.")
    assert header


@pytest.mark.parametrize(
    "token",
    [
        "a.b.c",
        "..",
        "e30.e30.",
        "!.!.!",
        base64.urlsafe_b64encode(b"[" * 2000).decode() + ".e30.e30",
        base64.urlsafe_b64encode(b'{"alg":"HS256","crit":["x"],"x":1}').decode().rstrip("=") + ".e30.e30",
        base64.urlsafe_b64encode(b'"text"').decode().rstrip("=") + ".e30.e30",
    ],
)
async def test_nonsense_is_401(token: str) -> None:
    await refusal(gate(), token)


async def test_a_verified_one_is_remembered_until_it_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    door = gate(clock)
    token = hs256()
    assert door.known(f"Bearer {token}") is None
    who = await principal(door, token)
    assert door.known(f"Bearer {token}") is who
    clock.now += 600 + 31
    assert door.known(f"Bearer {token}") is None
    assert "expired" in await refusal(door, token)


async def test_no_more_are_remembered_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.jwt.MAX_CACHED", 3)
    assert MAX_CACHED >= 1000
    door = gate()
    tokens = [hs256(sub=f"user{at}") for at in range(5)]
    for token in tokens:
        await principal(door, token)
    assert [door.known(f"Bearer {token}") is not None for token in tokens] == [False, False, True, True, True]


# The issuer's own list of keys.


async def test_keys_of_a_url_are_fetched_once_and_by_key_id() -> None:
    issuer = Issuer(RSA, EC, ED)
    door = gate(fetch=issuer.fetch, jwks_url=URL)
    for key, algorithm in ((ED, "EdDSA"), (RSA, "RS256"), (EC, "ES256")):
        assert (await principal(door, signed(key, algorithm))).user == "alice"
    assert issuer.asked == 1


async def test_a_symmetric_key_in_a_public_list_is_left_out() -> None:
    shared = OctKey.import_key(SECRET, {"kid": "oct-1"})
    door = gate(fetch=Issuer(shared, ED).fetch, jwks_url=URL)
    await refusal(door, signed(shared, "HS256"))


async def test_an_unknown_key_id_asks_again_but_not_often() -> None:
    clock = Clock()
    issuer = Issuer(ED)
    door = gate(clock, issuer.fetch, jwks_url=URL)
    await principal(door, signed(ED, "EdDSA"))
    fresh = OKPKey.generate_key("Ed25519", {"kid": "ed-2"})
    issuer.keys.append(fresh)
    for _ in range(5):
        await refusal(door, signed(fresh, "EdDSA"))
    assert issuer.asked == 1
    clock.now += JWKS_RETRY_S + 1
    assert (await principal(door, signed(fresh, "EdDSA"))).user == "alice"
    assert issuer.asked == 2


async def test_old_keys_are_fetched_again_and_kept_while_the_issuer_is_away() -> None:
    clock = Clock()
    issuer = Issuer(ED)
    door = gate(clock, issuer.fetch, jwks_url=URL)
    await principal(door, signed(ED, "EdDSA"))
    clock.now += JWKS_MAX_AGE_S + 1
    issuer.down = True
    assert (await principal(door, signed(ED, "EdDSA", exp=clock.now + 60))).user == "alice"
    assert issuer.asked == 2


async def test_without_any_key_it_is_503_and_one_attempt() -> None:
    clock = Clock()
    issuer = Issuer(ED)
    issuer.down = True
    door = gate(clock, issuer.fetch, jwks_url=URL)
    for _ in range(3):
        with pytest.raises(ApiError) as refused:
            await door.authenticate(f"Bearer {signed(ED, 'EdDSA')}")
        assert (refused.value.status, refused.value.headers["Retry-After"]) == (503, "30")
    assert issuer.asked == 1


# The configuration.


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"secret": "short"},
        {"secret": SECRET, "jwks_url": URL},
        {"public_key": "not PEM"},
        {"jwks_url": "http://issuer.example/jwks.json"},
        {"jwks_url": "file:///etc/passwd"},
    ],
)
def test_keys_that_cannot_be_used_are_faults(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        Jwt.model_validate(settings)


def test_a_broken_public_key_is_a_fault_of_the_configuration() -> None:
    broken = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"
    for settings in ({"public_key": broken}, {"public_key": RSA.as_pem(private=False).decode()}):
        with pytest.raises(ConfigError, match=r"auth\.jwt"):
            authenticator(Auth.model_validate({"jwt": settings}), TokenBook(), tenant="default/default")
