"""The admin API: all that the configuration file can do, done while the server runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from server.app import trunks_of
from server.errors import ApiError, ConfigError, Fault
from server.sections import Config, Extension, Route, Trunk
from server.settings import Settings
from server.vault import Vault
from tests.server.house import House

ALICE = {"number": "2001", "password": "very secret", "display_name": "Alice"}
CARRIER = {"name": "carrier", "hosts": ["sip:192.0.2.1"], "username": "u", "password": "also secret"}


async def admin(house: House, method: str, path: str, body: object = None) -> tuple[int, Any]:
    status, answer, _ = await house.call(method, f"/admin/v1{path}", token="admin", json=body)
    return status, answer


async def test_8_an_extension_is_made_changed_and_removed_live(house: House) -> None:
    status, made = await admin(house, "POST", "/extensions", ALICE)
    assert (status, made["number"], made["source"], made["phones"]) == (201, "2001", "database", [])
    assert "password" not in made
    assert (await admin(house, "POST", "/extensions", ALICE))[0] == 409
    status, changed = await admin(house, "PUT", "/extensions/2001", {**ALICE, "display_name": "Al"})
    assert (status, changed["display_name"]) == (200, "Al")
    assert (await admin(house, "PUT", "/extensions/2002", {**ALICE, "number": "2002"}))[0] == 404
    assert (await admin(house, "PUT", "/extensions/2001", {**ALICE, "number": "2002"}))[0] == 400
    assert [e["number"] for e in (await admin(house, "GET", "/extensions"))[1]["items"]] == ["2001"]
    assert await admin(house, "DELETE", "/extensions/2001") == (200, {"removed": "2001"})
    assert (await admin(house, "GET", "/extensions/2001"))[0] == 404


def test_8_what_only_sip_can_judge_is_refused_with_its_field() -> None:
    made = Settings(Config(), vault=Vault(None))

    def apply(config: Config) -> None:
        trunks_of(config)

    made.apply = apply
    with pytest.raises(ApiError, match=r"trunks\[0\]\.hosts\[0\] \(carrier\): Malformed URI"):
        made.create("trunk", Trunk.model_validate({**CARRIER, "hosts": ["192.0.2.1:5060"]}))


@pytest.mark.parametrize("user", ["{x}", "a{b", "a/b", "100%", "%7B", "ü?#&;+ "])
async def test_8_users_of_any_id_are_found_and_removed(house: House, user: str) -> None:
    assert (await admin(house, "POST", "/users", {"id": user}))[0] == 201
    path = f"/users/{quote(user, safe='')}"
    for method, wanted in (("GET", user), ("DELETE", user)):
        status, answer = await admin(house, method, path)
        assert (status, answer.get("id", answer.get("removed"))) == (200, wanted)


async def test_b4_a_picture_is_on_the_web(house: House) -> None:
    """Pages put it into `src`: a script is no address of a picture."""
    for url, status in (("https://a.example/b.png", 201), ("javascript:alert(1)", 400), ("/b.png", 400)):
        assert (await admin(house, "POST", "/users", {"id": url, "image_url": url}))[0] == status


async def test_8_what_others_need_cannot_be_removed(house: House) -> None:
    assert (await admin(house, "POST", "/trunks", CARRIER))[0] == 201
    route = {"pattern": "0.", "trunks": [{"trunk": "carrier"}]}
    assert (await admin(house, "POST", "/routes?place=3", route))[1]["place"] == 3
    status, why = await admin(house, "DELETE", "/trunks/carrier")
    assert (status, why["error_code"]) == (409, "CONFLICT")
    assert "no trunk named carrier" in why["message"]
    assert (await admin(house, "DELETE", "/routes/0."))[0] == 200
    assert (await admin(house, "DELETE", "/trunks/carrier"))[0] == 200


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/extensions", {"number": "2001"}),
        ("/extensions", {**ALICE, "pasword": "x"}),
        ("/extensions", {**ALICE, "number": "60 1"}),
        ("/extensions", {**ALICE, "number": "600"}),
        ("/trunks", {"name": "a", "hosts": []}),
        ("/routes", {"pattern": "0.", "trunks": [{"trunk": "nobody"}]}),
        ("/numbers", {"number": "+49", "to": "nobody"}),
        ("/users", {"id": ""}),
        ("/users", {"id": "a", "phone": "0123"}),
        ("/tokens", {"name": "a", "scopes": ["everything"]}),
        ("/tokens", {"name": "a", "role": "god"}),
    ],
)
async def test_8_what_makes_no_sense_is_refused_with_its_reason(house: House, path: str, body: object) -> None:
    status, answer = await admin(house, "POST", path, body)
    assert status == 400, answer
    assert answer["message"]


async def test_8_users_are_administered(house: House) -> None:
    status, made = await admin(house, "POST", "/users", {"id": "zoe", "email": "z@example.org", "extensions": ["1001"]})
    assert (status, made["handle"], made["extensions"]) == (201, "zoe", ["1001"])
    assert 0 < made["number"] < 2**53
    assert (await admin(house, "POST", "/users", {"id": "zoe"}))[0] == 409
    assert (await admin(house, "POST", "/users", {"id": "yan", "extensions": ["1001"]}))[0] == 409
    status, changed = await admin(house, "PUT", "/users/zoe", {"display_name": "Zoe"})
    assert (status, changed["display_name"], changed["email"], changed["number"]) == (200, "Zoe", None, made["number"])
    assert (await admin(house, "GET", "/users?top=1"))[1]["total"] >= 1
    assert (await admin(house, "DELETE", "/users/zoe"))[0] == 200
    assert (await admin(house, "GET", "/users/zoe"))[0] == 404


async def test_8_an_api_key_works_from_its_making_to_its_revocation(house: House) -> None:
    status, made = await admin(house, "POST", "/tokens", {"name": "crm", "user": "zoe", "role": "member"})
    assert status == 201
    token = made["token"]
    assert (await house.get("/api/sessions", token=token))[0] == 200
    listed = (await admin(house, "GET", "/tokens"))[1]["items"]
    assert token not in json.dumps(listed)
    assert (await admin(house, "DELETE", f"/tokens/{made['id']}"))[0] == 200
    assert (await house.get("/api/sessions", token=token))[0] == 401


async def test_9_only_admins_of_the_tenant_of_the_phones_see_them(house: House) -> None:
    assert (await house.get("/admin/v1/extensions", token="alice"))[0] == 403
    assert (await house.get("/admin/v1/extensions", token="other-admin"))[0] == 403
    assert (await house.get("/admin/v1/users", token="other-admin"))[1]["items"] == []
    assert (await house.get("/admin/v1/extensions", token=None))[0] == 401


# Settings.


def settings(vault: Vault | None = None) -> Settings:
    config = Config.model_validate({"extensions": [{"number": "1001", "password": "x"}]})
    return Settings(config, vault=vault or Vault(None))


def test_8_what_the_file_says_is_changed_there_alone() -> None:
    made = settings()
    with pytest.raises(ApiError) as caught:
        made.remove("extension", "1001")
    assert (caught.value.status, caught.value.code) == (409, "IN_FILE")


def test_8_routes_made_live_come_before_those_of_the_file() -> None:
    file = Config.model_validate(
        {
            "trunks": [{"name": "a", "hosts": ["sip:192.0.2.1"]}],
            "routes": [{"pattern": "0.", "trunks": [{"trunk": "a"}]}],
        }
    )
    made = Settings(file, vault=Vault(None))
    for pattern, place in (("03.", 5), ("02.", 1)):
        made.create("route", Route.model_validate({"pattern": pattern, "trunks": [{"trunk": "a"}]}), place=place)
    assert [route.pattern for route in made.config.routes] == ["02.", "03.", "0."]


def test_8_what_cannot_be_put_in_force_changes_nothing() -> None:
    made = settings()

    def refuse(_config: Config) -> None:
        raise ConfigError([Fault("x", "trunks[0]", "no such host")])

    made.apply = refuse
    stored: list[object] = []
    made.stored = lambda *change: stored.append(change)
    with pytest.raises(ApiError, match="no such host"):
        made.create("trunk", Trunk.model_validate(CARRIER))
    assert made.entries("trunk") == []
    assert stored == []


def test_8_secrets_are_sealed_where_they_are_stored(tmp_path: Path) -> None:
    vault = Vault(tmp_path / "secret.key")
    made = settings(vault)
    stored: list[tuple[str, str, int, str]] = []
    made.stored = lambda kind, name, place, body: stored.append((kind, name, place, body or ""))
    made.create("trunk", Trunk.model_validate(CARRIER))
    made.create("extension", Extension.model_validate(ALICE))
    assert "secret" not in "".join(row[3] for row in stored)
    assert (tmp_path / "secret.key").stat().st_mode & 0o777 == 0o600
    again = settings(Vault(tmp_path / "secret.key"))
    again.restore(stored)
    assert again.config == made.config
    (trunk,) = again.config.trunks
    assert trunk.password is not None
    assert trunk.password.get_secret_value() == "also secret"


def test_8_a_lost_key_is_told_with_the_name_of_what_cannot_be_read() -> None:
    made = settings()
    stored: list[tuple[str, str, int, str]] = []
    made.stored = lambda kind, name, place, body: stored.append((kind, name, place, body or ""))
    made.create("extension", Extension.model_validate(ALICE))
    with pytest.raises(ConfigError, match="extension 2001: sealed with another key"):
        settings().restore(stored)
