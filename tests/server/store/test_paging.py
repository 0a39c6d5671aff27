"""Lists are cut by offset, by page and by cursor; nothing is shown twice or left out while they grow."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import insert, select

from server.store.database import Database
from server.store.queries.paging import Key, Slice, behind, by_offset, by_page, cursor, read_cursor
from server.store.schema import app_sessions

APP = {"tenant": "a/b", "client_id": "c", "url": "https://a.example/", "created_at": 0}


def test_b14_an_offset_and_a_limit_have_defaults_and_bounds() -> None:
    assert by_offset(None, None, default=50, most=500) == Slice(0, 50)
    assert by_offset(7, 500, default=50, most=500) == Slice(7, 500)
    for offset, limit in ((-1, None), (None, 0), (None, 501), (2**31, None)):
        with pytest.raises(ValueError, match="a number from"):
            by_offset(offset, limit, default=50, most=500)


def test_e18_pages_begin_with_one_and_zero_is_the_default() -> None:
    assert by_page(None, None, default=20, most=1000) == Slice(0, 20)
    assert by_page(0, 0, default=20, most=1000) == Slice(0, 20)
    assert by_page(1, 5, default=20, most=1000) == Slice(0, 5)
    assert by_page(3, 5, default=20, most=1000) == Slice(10, 5)
    for page_no, per_page in ((-1, None), (1, -1), (1, 1001), (2**62, 1000)):
        with pytest.raises(ValueError, match="a number from"):
            by_page(page_no, per_page, default=20, most=1000)


def test_c24_a_cursor_is_read_as_it_was_made() -> None:
    text = cursor("sessions", (1_700_000_000_000, "é", 2**63 - 1))
    assert read_cursor("sessions", text, (int, str, int)) == (1_700_000_000_000, "é", 2**63 - 1)


@given(st.text(max_size=600))
def test_c24_a_text_that_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not one that this list gave"):
        read_cursor("sessions", text, (int,))


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_c24_a_changed_cursor_is_refused(place: int, change: int) -> None:
    text = cursor("sessions", (17, 42))
    place %= len(text)
    other = chr((ord(text[place]) + change) % 128)
    changed = text[:place] + other + text[place + 1 :]
    try:
        key = read_cursor("sessions", changed, (int, int))
    except ValueError:
        return
    assert key == (17, 42)  # what changed were the bits that fill up the last character


@pytest.mark.parametrize(
    ("of", "key", "shape"),
    [
        ("others", (1,), (int,)),
        ("sessions", (1, 2), (int,)),
        ("sessions", ("1",), (int,)),
        ("sessions", (True,), (int,)),
        ("sessions", (2**63,), (int,)),
    ],
)
def test_c24_a_cursor_of_another_list_or_shape_is_refused(of: str, key: Key, shape: tuple[type[int], ...]) -> None:
    with pytest.raises(ValueError, match="not one that this list gave"):
        read_cursor("sessions", cursor(of, key), shape)


@pytest.mark.parametrize("descending", [True, False])
async def test_c24_a_list_that_grows_while_it_is_read_shows_each_row_once(database_url: str, descending: bool) -> None:
    database = await Database.open(database_url)
    columns = (app_sessions.c.started_at, app_sessions.c.id)

    async def add(*names: str) -> None:
        rows = [{**APP, "id": name, "started_at": int(name[0])} for name in names]
        async with database.transaction() as connection:
            await connection.execute(insert(app_sessions), rows)

    async def page(after: str | None) -> list[tuple[int, str]]:
        query = select(*columns).order_by(*(c.desc() if descending else c.asc() for c in columns)).limit(3)
        if after is not None:
            query = query.where(behind(columns, read_cursor("apps", after, (int, str)), descending=descending))
        async with database.connect() as connection:
            return [(at, name) for at, name in await connection.execute(query)]

    await add("1a", "1b", "1c", "2a", "3a", "3b", "3c", "3d", "9a")
    seen: list[str] = []
    after = None
    while rows := await page(after):
        seen += [name for _, name in rows]
        after = cursor("apps", rows[-1])
        if len(seen) == 3:
            await add("0z", "9z", "5m")  # before and behind what was shown, and between
    await database.close()

    expected = ["9a", "3d", "3c", "3b", "3a", "2a", "1c", "1b", "1a", "0z"]
    if not descending:
        expected = ["1a", "1b", "1c", "2a", "3a", "3b", "3c", "3d", "5m", "9a", "9z"]
    assert seen == expected
