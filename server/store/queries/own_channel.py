"""Which participants and events are of a channel: rows of a session in a channel of its own do not name it."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Table, or_

from signalling import implicit_channel_of


def of_channel(table: Table, channel_id: str) -> ColumnElement[bool]:
    """The rows of `table`, which has a session and a channel, that are of a channel.

    A session's own one may have become a room, in which others sat later.
    """
    named: ColumnElement[bool] = table.c.channel_id == channel_id
    own = implicit_channel_of(channel_id)
    return named if own is None else or_(named, table.c.session_id == int(own))
