"""The directory of users."""

from __future__ import annotations

from dataclasses import replace

import pytest

from signalling import LimitReached, People, UnknownUser, User

T = "acme/main"


def people(**fields: bool | int) -> People:
    return People(clock=lambda: 1000.0, **fields)  # type: ignore[arg-type]  # the test names real fields


def test_8_an_id_first_seen_makes_a_user() -> None:
    book = people()
    heard: list[tuple[str, bool]] = []
    book.on_change = lambda user, removed: heard.append((user.id, removed))
    alice = book.see(T, "alice")
    assert (alice.handle, alice.created_at) == ("alice", 1000.0)
    assert book.see(T, "alice") is alice
    assert book.by_number(T, alice.number) is alice
    assert book.number_of(T, "alice") == alice.number
    assert heard == [("alice", False)]


def test_8_strict_refuses_unknown_ids() -> None:
    book = people(strict=True)
    with pytest.raises(UnknownUser):
        book.see(T, "alice")


def test_8_tenants_do_not_see_each_other() -> None:
    book = people()
    book.see(T, "alice")
    assert book.get("other/main", "alice") is None
    assert book.users("other/main") == []


def test_b21_numbers_stay_unique_when_hashes_collide() -> None:
    book = people()
    first = book.see(T, "alice")
    taken = replace(first, id="bob", number=book.number_of(T, "carol"))
    book.put(taken)
    carol = book.see(T, "carol")
    assert len({first.number, taken.number, carol.number}) == 3


def test_8_a_user_is_found_by_all_that_is_known_of_it() -> None:
    book = people()
    alice = book.put(User(T, "a", 0, "alice", email="Alice@Example.org", phone="+331", extensions=("1001",)))
    assert book.by_email(T, "alice@example.ORG") is alice
    assert book.by_phone(T, "+331") is alice
    assert book.by_extension("1001") is alice
    assert book.party(T, "1001") == "a"
    assert book.party(T, "1002") == "1002"
    assert book.party("other/main", "1001") == "1001"
    moved = book.put(replace(alice, email=None, extensions=("1002",)))
    assert book.by_email(T, "alice@example.org") is None
    assert book.by_extension("1001") is None
    assert book.by_extension("1002") is moved


def test_8_what_belongs_to_somebody_else_is_refused_and_changes_nothing() -> None:
    book = people()
    book.put(User(T, "a", 0, "alice", extensions=("1001",)))
    with pytest.raises(ValueError, match="1001"):
        book.put(User(T, "b", 0, "bob", extensions=("1001",)))
    assert book.get(T, "b") is None
    assert len(book) == 1


def test_8_removed_users_are_forgotten() -> None:
    book = people()
    book.see(T, "alice")
    book.remove(T, "alice")
    assert book.get(T, "alice") is None
    with pytest.raises(UnknownUser):
        book.remove(T, "alice")


def test_8_users_have_a_limit() -> None:
    book = people(limit=1)
    book.see(T, "alice")
    with pytest.raises(LimitReached):
        book.see(T, "bob")
    restored = people()
    restored.restore(book.users(T))
    assert restored.get(T, "alice") is not None


def test_8_a_handle_may_be_of_several_users() -> None:
    book = people()
    alice = book.put(User(T, "a", 0, "alice"))
    assert book.by_handle(T, "alice") == [alice]
    bob = book.put(User(T, "b", 0, "alice"))
    assert book.by_handle(T, "alice") == [alice, bob]
    assert book.by_handle("other/main", "alice") == []
    alice = book.put(replace(alice, handle="al", display_name="Al"))
    assert book.by_handle(T, "alice") == [bob]
    assert book.by_handle(T, "al") == [alice]
    book.remove(T, "b")
    assert book.by_handle(T, "alice") == []


def test_8_a_user_who_is_changed_keeps_its_place() -> None:
    book = people()
    alice, bob = book.see(T, "alice"), book.see(T, "bob")
    alice = book.put(replace(alice, display_name="Al"))
    assert book.users(T) == [alice, bob]
