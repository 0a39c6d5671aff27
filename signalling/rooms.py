"""[io] Channels: the rooms that sessions are sittings of, and the roles that users have in them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from time import time
from typing import TYPE_CHECKING, Literal
from uuid import uuid4

from .errors import LimitReached, UnknownChannel
from .ids import implicit_channel_of, uuid_of_channel

if TYPE_CHECKING:
    from .session import Session

Role = Literal["host", "member", "viewer"]
ServiceMode = Literal["conference", "panel"]

RANKS: dict[Role, int] = {"viewer": 1, "member": 2, "host": 3}
"Higher may do all that lower may."

MAX_CHANNELS = 100_000  # each takes about half a kilobyte
MAX_ROLES = 10_000  # of one channel


@dataclass(slots=True)
class Channel:
    """A room. It persists; a session is one sitting of it."""

    id: str
    "A UUID."
    tenant: str
    name: str = ""
    service_mode: ServiceMode = "conference"
    client_id: str = ""
    created_at: float = 0.0
    "Seconds since the epoch."
    owner: str | None = None
    "Id of the user that made it, who is always a host of it."
    image_url: str | None = None
    roles: dict[str, Role] = field(default_factory=dict)
    "User id -> role."

    @property
    def channel_id(self) -> str:
        """Its id, by the name that a session has for it."""
        return self.id

    @property
    def host(self) -> str | None:
        """Its owner, by the name that a session has for its own."""
        return self.owner

    def role_of(self, user: str) -> Role | None:
        """What `user` may do here."""
        return "host" if user == self.owner else self.roles.get(user)


class Rooms:
    """All channels that were made on purpose, and which session each has now.

    A session without a channel has one of its own, found by its id as long as the session is known.
    `on_change` hears of each channel that is made, changed (False) or removed (True).
    """

    def __init__(
        self,
        known: Callable[[str], Session | None],
        *,
        limit: int = MAX_CHANNELS,
        clock: Callable[[], float] = time,
    ) -> None:
        self.on_change: Callable[[Channel, bool], None] | None = None
        self._known = known
        self._limit = limit
        self._clock = clock
        self._channels: dict[str, Channel] = {}
        self._sittings: dict[str, Session] = {}

    def create(
        self,
        tenant: str,
        name: str = "",
        *,
        service_mode: ServiceMode = "conference",
        client_id: str = "",
        owner: str | None = None,
    ) -> Channel:
        """Make a channel. LimitReached when there are too many."""
        if len(self._channels) >= self._limit:
            raise LimitReached(f"{self._limit} channels are the limit")
        channel = Channel(str(uuid4()), tenant, name, service_mode, client_id, self._clock(), owner)
        self.put(channel)
        return channel

    def put(self, channel: Channel) -> None:
        """Keep a channel that was made or changed, also one that was a session's own."""
        self._channels[channel.id] = channel
        if self.on_change is not None:
            self.on_change(channel, False)

    def remove(self, channel: Channel) -> None:
        """Forget a channel; its sessions stay in the history. UnknownChannel when it is not kept."""
        if self._channels.pop(channel.id, None) is None:
            raise UnknownChannel(f"there is no channel {channel.id}")
        if self.on_change is not None:
            self.on_change(channel, True)

    def restore(self, channels: Iterable[Channel]) -> None:
        """Take channels that are stored already: nobody is told."""
        self._channels.update((channel.id, channel) for channel in channels)

    def get(self, tenant: str, channel_id: str) -> Channel | None:
        """The channel of that id, also a known session's own; None in another tenant."""
        channel = self._channels.get(channel_id)
        if channel is None:
            session_id = implicit_channel_of(channel_id)
            session = None if session_id is None else self._known(session_id)
            if session is None or session.channel is not None:
                return None
            channel = own_channel(session)
        return channel if channel.tenant == tenant else None

    def all(self) -> list[Channel]:
        """Those made on purpose, of every tenant."""
        return list(self._channels.values())

    def channels(self, tenant: str) -> list[Channel]:
        """Those made on purpose, oldest first."""
        return [channel for channel in self._channels.values() if channel.tenant == tenant]

    def active_session(self, channel_id: str) -> Session | None:
        """The present sitting of a channel (conformance B25: at most one)."""
        session = self._sittings.get(channel_id)
        if session is None:
            session_id = implicit_channel_of(channel_id)
            session = None if session_id is None else self._known(session_id)
            if session is not None and (session.ended or session.channel is not None):
                return None
        return session

    def set_role(self, channel: Channel, user: str, role: Role | None) -> None:
        """Give `user` a role, or take it away. LimitReached when a channel has too many."""
        if role is None:
            channel.roles.pop(user, None)
        elif len(channel.roles) >= MAX_ROLES and user not in channel.roles:
            raise LimitReached(f"{MAX_ROLES} roles are the limit of a channel")
        else:
            channel.roles[user] = role
        self.put(channel)

    def sit(self, channel: Channel, session: Session) -> None:
        """`session` is the channel's sitting from now on."""
        self._sittings[channel.id] = session

    def rise(self, session: Session) -> None:
        """`session` has ended."""
        if self._sittings.get(session.channel_id) is session:
            del self._sittings[session.channel_id]


def own_channel(session: Session) -> Channel:
    """The channel of a session that has no room of its own; not kept anywhere."""
    return Channel(
        uuid_of_channel(session.id), session.tenant, session.name, created_at=session.created_at, owner=session.host
    )
