"""The admin API of who may use the server: users and API keys of the administrator's own tenant."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AwareDatetime, ConfigDict, Field

from signalling import People, Role, User

from ..auth import SCOPES
from ..errors import ApiError
from ..fields import Printable
from ..sections import DialPattern, Id, Number, TokenRole
from ..tokens import ApiKey, TokenBook
from .admin_settings import BASE, TAG, Removed
from .health import PlainError, plain_error
from .model import Model
from .openapi import Body, Call, Dialect, operation, operations_of

Text = Annotated[str, Field(max_length=128), Printable]
ADDRESS = r"^[^@\s\x00-\x1f\x7f-\x9f]+@[^@\s\x00-\x1f\x7f-\x9f]+$"
Email = Annotated[str, Field(max_length=254, pattern=ADDRESS), Printable]
E164 = Annotated[str, Field(pattern=r"^\+[1-9][0-9]{1,14}$")]
ScopeName = Annotated[str, Field(json_schema_extra={"enum": [*SCOPES]})]
MAX_PAGE = 1000


class UserBody(Body):
    """A user, but for the id."""

    handle: Text | None = Field(None, description="null: the id.")
    display_name: Text | None = None
    image_url: Annotated[str, Field(max_length=2048, pattern=r"^[Hh][Tt][Tt][Pp][Ss]?://"), Printable] | None = None
    email: Email | None = None
    phone: E164 | None = Field(None, description="E.164.")
    extensions: list[Number] = Field([], max_length=100, description="Whose phones are this user's.")


class NewUser(UserBody):
    """A user to add."""

    id: Annotated[Id, Field(description="Opaque; unique in the tenant.")]


class UserEntry(Model):
    """A user."""

    id: str
    number: int
    handle: str
    display_name: str | None
    image_url: str | None
    email: str | None
    phone: str | None
    extensions: list[str]
    created_at: datetime


class UserList(Model):
    """A page of users, oldest first."""

    total: int
    items: list[UserEntry]


class Page(Model):
    """Which part of a list."""

    model_config = ConfigDict(extra="ignore")

    skip: int = Field(0, ge=0, le=10_000_000)
    top: int = Field(100, ge=1, le=MAX_PAGE)


class NewToken(Body):
    """An API key to make."""

    name: Text
    role: TokenRole = "token"
    user: Id | None = Field(None, description="Whom it acts for; an admin's may act for anybody.")
    scopes: list[ScopeName] = Field(
        [], max_length=16, description=f"Of {', '.join(SCOPES)}; none: all that the role allows."
    )
    allow: list[DialPattern] = Field([], max_length=100, description="What it may dial through trunks.")
    channel_roles: dict[str, Role] = Field({}, max_length=1000, description="Channel id -> role there.")
    expires_at: AwareDatetime | None = None


class TokenEntry(Model):
    """An API key, without its secret."""

    id: str
    name: str
    role: str
    user: str | None
    scopes: list[str]
    allow: list[str]
    channel_roles: dict[str, str]
    created_at: datetime | None = Field(description="null: it is in the configuration file.")
    expires_at: datetime | None
    revoked_at: datetime | None


class MadeToken(TokenEntry):
    """A new API key."""

    token: str = Field(description="The key itself. It is told this once, and kept nowhere.")


class TokenList(Model):
    """All API keys, also those that no longer open anything."""

    items: list[TokenEntry]


class AdminPeople:
    """Users and API keys."""

    def __init__(self, people: People, tokens: TokenBook) -> None:
        self._people = people
        self._tokens = tokens

    def dialect(self) -> Dialect:
        """The routes of this API."""
        return Dialect(TAG, "Users and API keys.", operations_of(self), plain_error, PlainError)

    @operation("GET", f"{BASE}/users", summary="List the users", tag=TAG, permission="admin.read")
    async def users(self, call: Call, query: Page) -> UserList:
        """Those of the token's tenant, oldest first."""
        users = self._people.users(call.tenant)
        return UserList(total=len(users), items=[_user(user) for user in users[query.skip : query.skip + query.top]])

    @operation(
        "POST",
        f"{BASE}/users",
        summary="Add a user",
        tag=TAG,
        permission="admin.write",
        errors=(409, 503),
        status=201,
    )
    async def add_user(self, call: Call, body: NewUser) -> UserEntry:
        """409 when the id, an extension, the e-mail address or the phone belongs to somebody."""
        if self._people.get(call.tenant, body.id) is not None:
            raise ApiError(409, "CONFLICT", f"there is a user {body.id} already")
        fresh = self._people.draft(call.tenant, body.id)
        return _user(self._put(fresh, body))

    @operation("GET", f"{BASE}/users/{{id}}", summary="Look at a user", tag=TAG, permission="admin.read", errors=(404,))
    async def user(self, call: Call) -> UserEntry:
        """One of the token's tenant."""
        return _user(self._known(call))

    @operation(
        "PUT",
        f"{BASE}/users/{{id}}",
        summary="Change a user",
        tag=TAG,
        permission="admin.write",
        errors=(404, 409),
    )
    async def change_user(self, call: Call, body: UserBody) -> UserEntry:
        """Everything but the id and the number; what is not given is taken away."""
        return _user(self._put(self._known(call), body))

    @operation(
        "DELETE",
        f"{BASE}/users/{{id}}",
        summary="Remove a user",
        tag=TAG,
        permission="admin.write",
        errors=(404,),
    )
    async def remove_user(self, call: Call) -> Removed:
        """What the user took part in stays in the history."""
        return Removed(removed=self._people.remove(call.tenant, self._known(call).id).id)

    @operation("GET", f"{BASE}/tokens", summary="List the API keys", tag=TAG, permission="admin.read")
    async def tokens(self, call: Call) -> TokenList:
        """Those of the token's tenant; their secrets are not known to the server."""
        return TokenList(items=[_token(key) for key in self._tokens.keys(call.tenant)])

    @operation("POST", f"{BASE}/tokens", summary="Make an API key", tag=TAG, permission="admin.write", status=201)
    async def make_token(self, call: Call, body: NewToken) -> MadeToken:
        """The answer alone holds the key."""
        unknown = sorted(set(body.scopes) - set(SCOPES))
        if unknown:
            raise ApiError(400, "BAD_REQUEST", f"scopes: there is no {unknown[0]}")
        key, token = self._tokens.create(
            call.tenant,
            body.name,
            role=body.role,
            user=body.user,
            scopes=body.scopes,
            allow=body.allow,
            channel_roles=body.channel_roles,
            expires_at=None if body.expires_at is None else body.expires_at.timestamp(),
        )
        return MadeToken(**_token(key).model_dump(), token=token)

    @operation(
        "DELETE",
        f"{BASE}/tokens/{{id}}",
        summary="Revoke an API key",
        tag=TAG,
        permission="admin.write",
        errors=(404, 409),
    )
    async def revoke_token(self, call: Call) -> Removed:
        """It opens nothing from now on; 409 for one of the configuration file."""
        key_id = call.path["id"]
        if key_id.startswith("config:"):
            raise ApiError(409, "IN_FILE", "the key is in the configuration file; change it there")
        if self._tokens.revoke(call.tenant, key_id) is None:
            raise ApiError(404, "NOT_FOUND", f"there is no API key {key_id}")
        return Removed(removed=key_id)

    def _known(self, call: Call) -> User:
        user = self._people.get(call.tenant, call.path["id"])
        if user is None:
            raise ApiError(404, "NOT_FOUND", f"there is no user {call.path['id']}")
        return user

    def _put(self, user: User, body: UserBody) -> User:
        try:
            return self._people.put(
                replace(
                    user,
                    handle=body.handle or user.id,
                    display_name=body.display_name,
                    image_url=body.image_url,
                    email=body.email,
                    phone=body.phone,
                    extensions=tuple(body.extensions),
                )
            )
        except ValueError as error:
            raise ApiError(409, "CONFLICT", str(error)) from error


def _user(user: User) -> UserEntry:
    return UserEntry(
        id=user.id,
        number=user.number,
        handle=user.handle,
        display_name=user.display_name,
        image_url=user.image_url,
        email=user.email,
        phone=user.phone,
        extensions=list(user.extensions),
        created_at=_instant(user.created_at),
    )


def _token(key: ApiKey) -> TokenEntry:
    return TokenEntry(
        id=key.id,
        name=key.name,
        role=key.role,
        user=key.user,
        scopes=list(key.scopes),
        allow=list(key.allow),
        channel_roles=dict(key.channel_roles),
        created_at=None if key.configured else _instant(key.created_at),
        expires_at=None if key.expires_at is None else _instant(key.expires_at),
        revoked_at=None if key.revoked_at is None else _instant(key.revoked_at),
    )


def _instant(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)
