"""STUN and TURN servers for browsers: from the configuration alone, with credentials that expire."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from server.sections import Config, IceServer

from .house import House, open_house

SECRET = "shared-with-coturn"
TURN = "turn:turn.example.com:3478?transport=udp"
FIXED = {"urls": ["turns:[2001:db8::1]:5349"], "username": "u", "credential": "c"}


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    servers = [{"urls": ["stun:stun.example.com"]}, FIXED, {"urls": [TURN], "secret": SECRET}]
    config = Config.model_validate({"webrtc": {"ice_servers": servers, "credential_lifetime_s": 600}})
    async for each in open_house(tmp_path, config=config):
        yield each


async def test_2_whoever_has_a_token_gets_them(house: House) -> None:
    status, answer = await house.get("/api/ice-servers")
    assert status == 200
    stun, fixed, turn = answer["iceServers"]
    assert stun == {"urls": ["stun:stun.example.com"]}
    assert fixed == FIXED
    expires, user = turn["username"].split(":")
    assert user == "alice"
    assert 590 < int(expires) - time.time() <= 600
    assert answer["expires_at"] == int(expires)
    digest = hmac.new(SECRET.encode(), turn["username"].encode(), hashlib.sha1).digest()
    assert turn["credential"] == base64.b64encode(digest).decode()


async def test_2_nobody_else_does(house: House) -> None:
    status, _ = await house.get("/api/ice-servers", token=None)
    assert status == 401


async def test_2_there_are_none_by_default(tmp_path: Path) -> None:
    async for house in open_house(tmp_path):
        assert await house.get("/api/ice-servers") == (200, {"iceServers": []})


@pytest.mark.parametrize(
    "wrong",
    [
        {"urls": []},
        {"urls": ["http://turn.example.com"]},
        {"urls": ["stun:stun.example.com?transport=udp"]},
        {"urls": [TURN]},
        {"urls": [TURN], "username": "u"},
        {"urls": [TURN], "username": "u", "credential": "c", "secret": SECRET},
    ],
)
def test_2_what_is_no_server_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        IceServer.model_validate(wrong)


async def test_2_the_phone_page_gets_them_by_its_password(tmp_path: Path) -> None:
    extension = {"number": "1001", "password": "right"}
    values = {"extensions": [extension], "webrtc": {"ice_servers": [{"urls": [TURN], "secret": SECRET}]}}
    async for house in open_house(tmp_path, config=Config.model_validate(values)):
        login = {"number": "1001", "password": "right"}
        status, answer = await house.post("/phone/ice-servers", login, token=None)
        assert status == 200
        assert answer["iceServers"][0]["username"].endswith(":1001")
        for number, password in (("1001", "wrong"), ("1002", "right"), ("1001", "")):
            body = {"number": number, "password": password}
            assert (await house.post("/phone/ice-servers", body, token=None))[0] == 401
        assert (await house.post("/phone/ice-servers", login, token=None))[0] == 200, "which forgives what was wrong"
        statuses = [
            (await house.post("/phone/ice-servers", {**login, "password": f"{n}"}, token=None))[0] for n in range(12)
        ]
        assert statuses == [401] * 10 + [429] * 2
        assert (await house.post("/phone/ice-servers", login, token=None))[0] == 429
        assert (await house.post("/phone/ice-servers", {**login, "number": "1002"}, token=None))[0] == 401


async def test_2_without_servers_no_password_is_looked_at(tmp_path: Path) -> None:
    async for house in open_house(tmp_path):
        body = {"number": "1001", "password": "wrong"}
        assert await house.post("/phone/ice-servers", body, token=None) == (200, {"iceServers": []})
