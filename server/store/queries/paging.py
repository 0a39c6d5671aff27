"""Parts of a long list: by offset, by page, or by a cursor that stays true while the list grows.

ValueError says what a client asked wrongly; a dialect makes it its 400.
"""

from __future__ import annotations

import json
from base64 import b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, and_, or_

MAX_OFFSET = 2**31 - 1
MAX_CURSOR = 512  # characters; ours have about 60
CHECK = 6  # bytes of a cursor that prove it whole
MAX_NUMBER = 2**63 - 1  # what a database compares with

Key = tuple[int | str, ...]


class Slice(NamedTuple):
    """`limit` rows from behind the first `offset` ones."""

    offset: int
    limit: int


def by_offset(offset: int | None, limit: int | None, *, default: int, most: int) -> Slice:
    """As `?offset=&limit=`. ValueError for a negative one, or a limit of 0 or above `most`."""
    offset = 0 if offset is None else offset
    limit = default if limit is None else limit
    if not 0 <= offset <= MAX_OFFSET:
        raise ValueError(f"offset: a number from 0 to {MAX_OFFSET}")
    if not 1 <= limit <= most:
        raise ValueError(f"limit: a number from 1 to {most}")
    return Slice(offset, limit)


def by_page(page_no: int | None, per_page: int | None, *, default: int, most: int) -> Slice:
    """As `?page_no=&per_page=`, the first page being 1, or 0; a `per_page` of 0 is the default. ValueError as above."""
    page_no = page_no or 1
    per_page = per_page or default
    if page_no < 0 or (page_no - 1) * per_page > MAX_OFFSET:
        raise ValueError("page_no: a number from 0, of a page that can be")
    if not 1 <= per_page <= most:
        raise ValueError(f"per_page: a number from 0 to {most}")
    return Slice((page_no - 1) * per_page, per_page)


def cursor(of: str, key: Key) -> str:
    """What a client sends back to go on behind the row with this `key`, in the list called `of`.

    `of` should say the list's filters too, so that a cursor of one list is not taken for another's.
    """
    data = json.dumps(key, separators=(",", ":")).encode()
    return urlsafe_b64encode(_check(of, data) + data).rstrip(b"=").decode()


def read_cursor(of: str, text: str, shape: Sequence[type[int] | type[str]]) -> Key:
    """The key in a cursor of the list `of`; `shape`: the types that it has. ValueError when it is none of ours.

    It proves that the text is whole, not who made it: a key opens nothing that the filters of a query do not allow.
    """
    unknown = ValueError("cursor: not one that this list gave")
    if not (text.isascii() and len(text) <= MAX_CURSOR):
        raise unknown
    try:
        raw = b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        check, data = raw[:CHECK], raw[CHECK:]
        if check != _check(of, data):
            raise unknown
        values: list[Any] = json.loads(data)
    except (NotBase64, ValueError) as error:
        raise unknown from error
    if [type(value) for value in values] != list(shape):
        raise unknown
    if any(isinstance(value, int) and abs(value) > MAX_NUMBER for value in values):
        raise unknown
    return tuple(values)


def behind(columns: Sequence[ColumnElement[Any]], key: Key, *, descending: bool) -> ColumnElement[bool]:
    """The rows that come after `key` when ordered by `columns`, none of which may be NULL."""
    (first, *rest), (value, *values) = columns, key
    beyond = first < value if descending else first > value
    if not rest:
        return beyond
    # Said twice, so that an index finds the beginning by its first column.
    within = first <= value if descending else first >= value
    return and_(within, or_(beyond, behind(rest, tuple(values), descending=descending)))


def _check(of: str, data: bytes) -> bytes:
    return blake2b(data, digest_size=CHECK, key=blake2b(of.encode(), digest_size=32).digest()).digest()
