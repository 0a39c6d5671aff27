"""The softphone page as files: what is served, how, and what it tells of the server."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import pytest

from server.config import dev_config
from server.pages.phone import FOLDER, KINDS, demo_of, policy
from server.sections import Config
from tests.server.house import House

VENDOR = Path(__file__).parents[3] / "requirements" / "jssip"


async def test_13_the_page_is_served_with_a_strict_policy(house: House) -> None:
    status, body, response = await house.call("GET", "/phone", token=None)
    assert status == 200
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    rules = response.headers["Content-Security-Policy"]
    assert "unsafe" not in rules
    assert rules.startswith("default-src 'self'; connect-src 'self' ws://127.0.0.1:")
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=", body)
    assert not re.search(r"(?:src|href)=\"(?:https?:)?//", body)


async def test_13_every_file_of_the_page_is_served(house: House) -> None:
    _, page, _ = await house.call("GET", "/phone", token=None)
    named = set(re.findall(r"(?:src|href)=\"phone/([^\"]+)\"", page))
    scripts = [path for path in FOLDER.glob("*.js") if path.name != "jssip.js"]
    for path in scripts:
        named |= set(re.findall(r"from \"\./([^\"]+)\"", path.read_text()))
    assert named == {path.name for path in FOLDER.iterdir()} - {"index.html"}
    for name in named:
        status, _, response = await house.call("GET", f"/phone/{name}", token=None)
        assert (status, response.headers["Content-Type"]) == (200, KINDS[Path(name).suffix])


@pytest.mark.parametrize("name", ["nothing.js", "..%2Fjoin.py", "%2Fetc%2Fpasswd", "index.htm"])
async def test_13_nothing_else_is_served(house: House, name: str) -> None:
    assert (await house.call("GET", f"/phone/{name}", token=None))[0] in (400, 404)


async def test_13_a_browser_that_has_a_file_gets_it_no_second_time(house: House) -> None:
    async with house.client.get("/phone/jssip.js", headers={"Accept-Encoding": "gzip"}) as response:
        assert response.headers["Content-Encoding"] == "gzip"
        tag = response.headers["ETag"]
    async with house.client.get("/phone/jssip.js", headers={"If-None-Match": tag}) as response:
        assert response.status == 304
        assert await response.read() == b""
    plain = (FOLDER / "app.js").read_bytes()
    async with house.client.get("/phone/app.js", headers={"Accept-Encoding": "identity"}) as response:
        assert await response.read() == plain
    assert gzip.decompress(gzip.compress(plain)) == plain


@pytest.mark.parametrize("host", ["", "a b", "x;script-src *", "evil.example\r\nX: y", "[::1", "a" * 300])
def test_13_a_host_that_is_none_adds_nothing_to_the_policy(host: str) -> None:
    assert policy(host) == policy("")
    assert "ws:" not in policy(host)


def test_13_the_policy_names_our_socket() -> None:
    assert "connect-src 'self' ws://pbx.example:8080 wss://pbx.example:8080;" in policy("pbx.example:8080")
    assert "ws://[::1]:8080" in policy("[::1]:8080")


def test_13_the_demo_server_tells_its_extensions() -> None:
    config = dev_config(host="127.0.0.1", http_port=0, sip_port=0, rtp_ports="40000-49999", token="demo")
    shown = demo_of(config)
    first = shown.demo[0]
    assert (first.number, first.password) == ("1001", "ringway-1001")
    assert shown.services == {"600": "echo", "601": "tone"}


@pytest.mark.parametrize("account", ["dev", "default"])
def test_13_no_other_password_is_ever_told(account: str) -> None:
    own = {"number": "1001", "password": "a-password-of-mine"}
    known = {"number": "1002", "password": "ringway-1002"}
    config = Config.model_validate({"server": {"account": account, "app": account}, "extensions": [own, known]})
    shown = demo_of(config)
    assert [each.number for each in shown.demo] == (["1002"] if account == "dev" else [])
    assert "a-password-of-mine" not in shown.model_dump_json()


async def test_13_a_usual_server_tells_nothing(house: House) -> None:
    status, body, _ = await house.call("GET", "/phone/settings", token=None)
    assert (status, body) == (200, {"demo": [], "services": {}})


def test_13_jssip_is_the_locked_version_with_its_licences() -> None:
    head = (FOLDER / "jssip.js").read_text(encoding="utf-8").partition("*/")[0]
    locked = json.loads((VENDOR / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    for name in ("jssip", "debug", "events", "ms", "sdp-transform"):
        assert f"\n{name} {locked[f'node_modules/{name}']['version']} (MIT)\n" in head
    assert head.lower().count("permission is hereby granted") == 5
    assert not any("resolved" in package for package in locked.values())
