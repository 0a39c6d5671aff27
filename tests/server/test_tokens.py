"""API keys: made, known, revoked, expired, stored."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from server.sections import Database as DatabaseSection
from server.sections import Token
from server.store.access import keep_tokens, restore_tokens
from server.store.store import Store
from server.tokens import ApiKey, TokenBook, digest_of

TENANT = "acme/web"


class Clock:
    """Seconds since the epoch, as told."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def test_a_key_is_told_once_and_kept_as_its_digest() -> None:
    book = TokenBook(clock=Clock())
    key, token = book.create(TENANT, "web", role="member", user="alice", scopes=["sessions:read"], allow=["0."])
    prefix, key_id, secret = token.split("_", 2)
    assert (prefix, key_id) == ("rw", key.id)
    assert len(secret) >= 32
    assert key.digest == hashlib.sha256(token.encode()).digest()
    assert token not in repr(key)
    assert secret not in repr(vars(book))


def test_its_principal_has_what_the_key_says() -> None:
    book = TokenBook(clock=Clock())
    _, token = book.create(
        TENANT, "web", role="viewer", user="alice", scopes=["events"], allow=["0."], channel_roles={"c1": "host"}
    )
    who = book.principal(digest_of(token))
    assert who is not None
    assert (who.kind, who.user, who.tenant) == ("token", "alice", TENANT)
    assert who.scopes == {"events"}
    assert who.roles == {"c1": "host", "*": "viewer"}
    assert who.may_dial("030")
    assert not who.may_dial("1")


def test_two_keys_of_one_name_do_not_own_each_others_sessions() -> None:
    book = TokenBook([Token.model_validate({"name": "crm", "token": "a" * 16})], tenant=TENANT, clock=Clock())
    _, first = book.create(TENANT, "crm")
    _, second = book.create(TENANT, "crm")
    owners = {book.principal(digest_of(token)).owner for token in ("a" * 16, first, second)}  # type: ignore[union-attr]  # all are known
    assert len(owners) == 3


def test_a_revoked_key_opens_nothing_and_stays_in_the_list() -> None:
    clock = Clock()
    book = TokenBook(clock=clock)
    key, token = book.create(TENANT, "web")
    assert book.revoke("other/app", key.id) is None
    assert book.principal(digest_of(token)) is not None
    assert book.revoke(TENANT, key.id) is key
    assert book.principal(digest_of(token)) is None
    assert (key.state(clock.now), key.revoked_at, book.keys(TENANT)) == ("revoked", clock.now, [key])
    assert book.revoke(TENANT, "unknown") is None


def test_a_key_opens_nothing_from_the_instant_it_expires() -> None:
    clock = Clock()
    book = TokenBook(clock=clock)
    key, token = book.create(TENANT, "web", expires_at=clock.now + 10)
    clock.now += 9.999
    assert book.principal(digest_of(token)) is not None
    clock.now += 0.001
    assert book.principal(digest_of(token)) is None
    assert key.state(clock.now) == "expired"


def test_keys_of_the_configuration_have_its_tenant_and_are_not_revoked() -> None:
    sections = [
        Token.model_validate({"name": "ours", "token": "a" * 16, "role": "admin"}),
        Token.model_validate({"name": "theirs", "token_sha256": "0" * 64, "tenant": "other/app", "user": "u"}),
    ]
    book = TokenBook(sections, tenant=TENANT, clock=Clock())
    (ours,) = book.keys(TENANT)
    (theirs,) = book.keys("other/app")
    assert (ours.name, theirs.user) == ("ours", "u")
    assert book.revoke(TENANT, ours.id) is None
    assert book.principal(digest_of("a" * 16)) is not None


def test_whoever_stores_keys_hears_of_those_made_and_revoked() -> None:
    book = TokenBook(clock=Clock())
    heard: list[tuple[str, bool]] = []
    book.on_change = lambda key: heard.append((key.id, key.revoked_at is not None))
    key, _ = book.create(TENANT, "web")
    book.revoke(TENANT, key.id)
    book.revoke(TENANT, key.id)
    assert heard == [(key.id, False), (key.id, True)]


def test_a_key_that_another_process_changed_is_taken_as_it_is() -> None:
    book = TokenBook(clock=Clock())
    key, token = book.create(TENANT, "web")
    book.put(ApiKey(key.id, TENANT, "web", key.digest, "admin", revoked_at=1.0))
    assert book.principal(digest_of(token)) is None
    book.put(ApiKey(key.id, TENANT, "web", key.digest, "admin"))
    assert book.principal(digest_of(token)) is not None
    book.drop(key.id)
    assert book.principal(digest_of(token)) is None
    assert book.keys(TENANT) == []


def test_there_are_not_more_keys_than_there_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.tokens.MAX_KEYS", 2)
    book = TokenBook(clock=Clock())
    book.create(TENANT, "one")
    book.create(TENANT, "two")
    with pytest.raises(ValueError, match="limit"):
        book.create(TENANT, "three")


def everything_in(folder: Path) -> bytes:
    """All that its files hold."""
    return b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())


async def test_8_keys_made_in_one_millisecond_keep_their_order(tmp_path: Path) -> None:
    section = DatabaseSection(data_dir=str(tmp_path))
    names = [f"key {number}" for number in range(20)]
    book = TokenBook(clock=Clock())
    for start in range(3):
        store = await Store.open(section)
        again = TokenBook(clock=Clock())
        async with store.database.connect() as connection:
            await restore_tokens(connection, again)
        assert again.keys(TENANT) == book.keys(TENANT)
        assert [key.name for key in again.keys(TENANT)] == names[: 10 * start]
        keep_tokens(again, store.writer)
        for name in names[10 * start : 10 * (start + 1)]:
            again.create(TENANT, name)
        await store.close()
        book = again


async def test_keys_outlive_the_process(tmp_path: Path) -> None:
    section = DatabaseSection(data_dir=str(tmp_path))
    store = await Store.open(section)
    book = TokenBook()
    keep_tokens(book, store.writer)
    _, token = book.create(TENANT, "web", role="host", user="alice", channel_roles={"c1": "viewer"})
    gone, revoked = book.create(TENANT, "old")
    book.revoke(TENANT, gone.id)
    await store.close()
    assert token.encode() not in everything_in(tmp_path)

    store = await Store.open(section)
    again = TokenBook()
    async with store.database.connect() as connection:
        await restore_tokens(connection, again)
    await store.close()
    before, after = book.principal(digest_of(token)), again.principal(digest_of(token))
    assert after == before
    assert again.principal(digest_of(revoked)) is None
    assert {key.name for key in again.keys(TENANT)} == {"web", "old"}
