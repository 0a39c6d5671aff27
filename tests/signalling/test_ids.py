"""The forms of a session's id."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalling import (
    implicit_channel_of,
    peer_of,
    session_id_of,
    short_of_session,
    user_number,
    uuid_of_channel,
    uuid_of_peer,
    uuid_of_session,
)

IDS = st.integers(1, 2**63 - 1).map(str)


@given(IDS)
def test_g1_every_form_of_an_id_leads_back_to_it(session: str) -> None:
    assert session_id_of(session) == session
    assert session_id_of(short_of_session(session)) == session
    assert session_id_of(uuid_of_session(session)) == session
    assert session_id_of(uuid_of_session(session).upper()) == session
    assert UUID(uuid_of_session(session)).version == 8


@given(IDS, st.integers(0, 2**24 - 1))
def test_g1_peers_and_channels_are_told_from_sessions(session: str, index: int) -> None:
    assert peer_of(uuid_of_peer(session, index)) == (session, index)
    assert implicit_channel_of(uuid_of_channel(session)) == session
    for other in (uuid_of_peer(session, index), uuid_of_channel(session)):
        assert session_id_of(other) is None
    assert peer_of(uuid_of_session(session)) is None
    assert implicit_channel_of(uuid_of_session(session)) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "007",
        "-1",
        "9" * 20,
        str(2**63),
        "١٢٣",
        "sess_",
        "sess_0abc",
        "sess_ABC",
        "sess_ilou",
        "sess_" + "z" * 13,
        "00000000-0000-8000-8000-000000000000",
        "1a2019c1-9c45-81d9-ac10-000002048dcd",
        "1a2019c19c4581d9ac10000002048dcc",
        "no id at all",
        "\x00",
    ],
)
def test_g1_what_is_no_id_is_none(text: str) -> None:
    assert session_id_of(text) is None


@given(st.text(max_size=40))
def test_g1_any_text_is_read_without_error(text: str) -> None:
    assert session_id_of(text) is None or text
    peer_of(text)
    implicit_channel_of(text)


@given(st.text(), st.text())
def test_b21_the_number_of_a_user_is_exact_in_javascript(tenant: str, user: str) -> None:
    assert 0 < user_number(tenant, user) < 2**53
    assert user_number(tenant, user) == user_number(tenant, user)
