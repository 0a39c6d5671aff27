"""From an Authorization header to a principal."""

from __future__ import annotations

import hashlib

import pytest

from server.auth import Authenticator
from server.errors import ApiError
from server.sections import Token
from server.tokens import TokenBook

GATE = Authenticator(
    TokenBook(
        [
            Token.model_validate({"name": "crm", "token": "a" * 16, "allow": ["0."]}),
            Token.model_validate(
                {"name": "boss", "token_sha256": hashlib.sha256(b"secret").hexdigest().upper(), "role": "admin"}
            ),
        ]
    )
)


async def test_a_token_in_clear_names_its_principal_and_what_it_may_dial() -> None:
    principal = await GATE.authenticate("Bearer " + "a" * 16)
    assert (principal.name, principal.kind) == ("crm", "token")
    assert principal.may_dial("0301")
    assert not principal.may_dial("112")


async def test_a_token_by_its_digest_in_either_case() -> None:
    principal = await GATE.authenticate("bearer  secret ")
    assert principal.kind == "admin"
    assert principal.may_dial("anything")


@pytest.mark.parametrize(
    ("header", "error"),
    [
        (None, ""),
        ("", 'error="invalid_request"'),
        ("Bearer", 'error="invalid_request"'),
        ("Basic c2VjcmV0", 'error="invalid_request"'),
        ("secret", 'error="invalid_request"'),
        ("Bearer " + "x" * 5000, 'error="invalid_request"'),
        ("Bearer Secret", 'error="invalid_token"'),
        ("Bearer \udcff\udcfe", 'error="invalid_token"'),
        ("Bearer é", 'error="invalid_token"'),
    ],
)
async def test_g6_anything_else_is_401_with_a_challenge(header: str | None, error: str) -> None:
    with pytest.raises(ApiError) as refused:
        await GATE.authenticate(header)
    assert refused.value.status == 401
    challenge = refused.value.headers["WWW-Authenticate"]
    assert challenge.startswith('Bearer realm="ringway"')
    assert error in challenge


async def test_without_tokens_nobody_comes_in() -> None:
    with pytest.raises(ApiError):
        await Authenticator(TokenBook()).authenticate("Bearer x")
