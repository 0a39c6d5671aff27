"""[io] The users of the server, kept in memory: an id that any dialect names leads to the same person."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from time import time

from .errors import LimitReached, UnknownUser
from .ids import user_number

MAX_USERS = 1_000_000  # each takes about half a kilobyte
DEFAULT_TENANT = "default/default"


@dataclass(frozen=True, slots=True)
class User:
    """A person or program that takes part in sessions; a changed one is put in its place."""

    tenant: str
    "account/app."
    id: str
    "Opaque, unique within its tenant."
    number: int
    "Below 2**53, unique within its tenant, the same for ever."
    handle: str
    display_name: str | None = None
    image_url: str | None = None
    email: str | None = None
    phone: str | None = None
    extensions: tuple[str, ...] = ()
    created_at: float = 0.0
    "Seconds since the epoch."


class People:
    """The directory. `on_change` hears of each user that is made, changed (False) or removed (True)."""

    def __init__(self, *, strict: bool = False, limit: int = MAX_USERS, clock: Callable[[], float] = time) -> None:
        self.strict = strict
        self.on_change: Callable[[User, bool], None] | None = None
        self._limit = limit
        self._clock = clock
        self._users: dict[tuple[str, str], User] = {}
        self._known_by: dict[Key, User] = {}
        self._handles: dict[tuple[str, str], list[str]] = {}
        "Tenant and handle -> ids of those who have it, where it is not the id itself."

    def __len__(self) -> int:
        return len(self._users)

    def get(self, tenant: str, user_id: str) -> User | None:
        """The user of that id."""
        return self._users.get((tenant, user_id))

    def by_number(self, tenant: str, number: int) -> User | None:
        """The user of that number."""
        return self._known_by.get(("number", tenant, number))

    def by_extension(self, extension: str) -> User | None:
        """The user whose phones register as `extension`."""
        return self._known_by.get(("extension", extension))

    def by_email(self, tenant: str, email: str) -> User | None:
        """The user of that address, whatever the case of its letters."""
        return self._known_by.get(("email", tenant, email.casefold()))

    def by_handle(self, tenant: str, handle: str) -> list[User]:
        """The users of that handle, which need not be one."""
        ids = self._handles.get((tenant, handle), [])
        found = [self._users[tenant, user_id] for user_id in ids]
        user = self._users.get((tenant, handle))
        return [user, *found] if user is not None and user.handle == handle else found

    def by_phone(self, tenant: str, phone: str) -> User | None:
        """The user of that number, written in the same way (E.164)."""
        return self._known_by.get(("phone", tenant, phone))

    def users(self, tenant: str) -> list[User]:
        """All of a tenant, oldest first."""
        return [user for user in self._users.values() if user.tenant == tenant]

    def see(self, tenant: str, user_id: str, *, display_name: str | None = None) -> User:
        """The user of that id, made now if it is new. UnknownUser when the directory is strict."""
        user = self._users.get((tenant, user_id))
        if user is not None:
            return user
        if self.strict:
            raise UnknownUser(f"there is no user {user_id!r}")
        return self.put(replace(self.draft(tenant, user_id), display_name=display_name))

    def draft(self, tenant: str, user_id: str) -> User:
        """A new user of that id, to be put once the rest is known. LimitReached."""
        if len(self._users) >= self._limit:
            raise LimitReached(f"{self._limit} users are the limit")
        return User(tenant, user_id, 0, user_id, created_at=self._clock())

    def put(self, user: User) -> User:
        """Add `user`, or replace the one of its id; returns what is kept, for a number of 0 becomes a free one.

        ValueError when its number, e-mail address, phone or an extension belongs to somebody else.
        """
        if not user.number:
            user = replace(user, number=self._free_number(user.tenant, user.id))
        self._index(user)
        if self.on_change is not None:
            self.on_change(user, False)
        return user

    def remove(self, tenant: str, user_id: str) -> User:
        """Forget a user; what it took part in stays. UnknownUser when there is none."""
        user = self._users.get((tenant, user_id))
        if user is None:
            raise UnknownUser(f"there is no user {user_id!r}")
        self._unindex(user)
        del self._users[tenant, user_id]
        if self.on_change is not None:
            self.on_change(user, True)
        return user

    def restore(self, users: Iterable[User]) -> None:
        """Take users that are stored already: nobody is told."""
        for user in users:
            self._index(user)

    def number_of(self, tenant: str, user_id: str) -> int:
        """The number of a user, also of one that is not in the directory, such as a telephone number."""
        user = self._users.get((tenant, user_id))
        return user_number(tenant, user_id) if user is None else user.number

    def party(self, tenant: str, number: str) -> str:
        """The id of who calls or is called as `number`: the user of that extension, else the number itself."""
        user = self._known_by.get(("extension", number))
        return number if user is None or user.tenant != tenant else user.id

    def _free_number(self, tenant: str, user_id: str) -> int:
        number = user_number(tenant, user_id)
        while ("number", tenant, number) in self._known_by:
            number = number % (2**53 - 1) + 1
        return number

    def _index(self, user: User) -> None:
        keys = _keys(user)
        before = self._users.get((user.tenant, user.id))
        for key in keys:
            owner = self._known_by.get(key)
            if owner is not None and owner is not before:
                raise ValueError(f"{key[0]} {key[-1]} belongs to {owner.id!r}")
        if before is not None:
            self._unindex(before)
        self._users[user.tenant, user.id] = user  # in its old place, if it had one
        self._known_by.update(dict.fromkeys(keys, user))
        if user.handle != user.id:
            self._handles.setdefault((user.tenant, user.handle), []).append(user.id)

    def _unindex(self, user: User) -> None:
        for key in _keys(user):
            del self._known_by[key]
        if user.handle != user.id:
            ids = self._handles[user.tenant, user.handle]
            ids.remove(user.id)
            if not ids:
                del self._handles[user.tenant, user.handle]


Key = tuple[str, str] | tuple[str, str, str | int]


def _keys(user: User) -> list[Key]:
    """All by which a user is found, but the id."""
    keys: list[Key] = [("number", user.tenant, user.number)]
    keys += [("extension", extension) for extension in dict.fromkeys(user.extensions)]
    if user.email:
        keys.append(("email", user.tenant, user.email.casefold()))
    if user.phone:
        keys.append(("phone", user.tenant, user.phone))
    return keys
