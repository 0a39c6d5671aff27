"""What the configuration file says, changed live. Users and API keys. What the process holds.

Generated from the operations of the server by `make client`: changes here do not last.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field, RootModel

from .transport import Group, Model


class Counts(RootModel[dict[str, int]]):
    """How many there are of each thing that calls are made of; all but what is kept on purpose returns to rest."""


class Extension(Model):
    """A number of ours that phones register."""

    number: str
    password: str
    display_name: str | None = None
    allow: list[str] | None = None
    max_calls: int | None = None
    ring_timeout_s: float = 60.0


class Phone(Model):
    """A registered contact of an extension."""

    contact: str
    expires_in_s: int


class ExtensionEntry(Model):
    """A number of ours that phones register. Passwords are never shown."""

    source: str
    """'file': of the configuration, which alone can change it; 'database': made here."""
    number: str
    display_name: str | None = None
    allow: list[str] | None = None
    max_calls: int | None = None
    ring_timeout_s: float = 60.0
    phones: list[Phone]


class ExtensionEntryList(Model):
    """All extensions."""

    items: list[ExtensionEntry]


class InboundNumber(Model):
    """A number that trunks call us by, and where it leads: an extension, a service number, `echo` or `tone`."""

    number: str
    to: str
    trunk: str | None = None


class MadeToken(Model):
    """A new API key."""

    id: str
    name: str
    role: str
    user: str | None
    scopes: list[str]
    allow: list[str]
    channel_roles: dict[str, str]
    created_at: datetime | None
    """null: it is in the configuration file."""
    expires_at: datetime | None
    revoked_at: datetime | None
    token: str
    """The key itself. It is told this once, and kept nowhere."""


class NewToken(Model):
    """An API key to make."""

    name: str
    role: Literal["admin", "token", "host", "member", "viewer"] = "token"
    user: str | None = None
    """Whom it acts for; an admin's may act for anybody."""
    scopes: list[Literal["sessions:read", "sessions:write", "sessions:join", "events", "admin"]] | None = None
    """Of sessions:read, sessions:write, sessions:join, events, admin; none: all that the role allows."""
    allow: list[str] | None = None
    """What it may dial through trunks."""
    channel_roles: dict[str, Literal["host", "member", "viewer"]] | None = None
    """Channel id -> role there."""
    expires_at: datetime | None = None


class NewUser(Model):
    """A user to add."""

    handle: str | None = None
    """null: the id."""
    display_name: str | None = None
    image_url: str | None = None
    email: str | None = None
    phone: str | None = None
    """E.164."""
    extensions: list[str] | None = None
    """Whose phones are this user's."""
    id: str
    """Opaque; unique in the tenant."""


class NumberEntry(Model):
    """A number that trunks call us by, and where it leads: an extension, a service number, `echo` or `tone`.
    Passwords are never shown.
    """

    source: str
    """'file': of the configuration, which alone can change it; 'database': made here."""
    number: str
    to: str
    trunk: str | None = None
    place: int


class NumberEntryList(Model):
    """All numbers."""

    items: list[NumberEntry]


class Page(Model):
    """Which part of a list."""

    skip: int = 0
    top: int = 100


class Place(Model):
    """Where a new route or number stands."""

    place: int = 0
    """Among those made here, the lowest is tried first; all of them come before the file's."""


class Removed(Model):
    """The thing is gone."""

    removed: str


class RouteTrunk(Model):
    """One trunk of a route: lower priority first, among equals by weight."""

    trunk: str
    priority: int = 1
    weight: int = 1


class Route(Model):
    """Dialled numbers and the trunks that carry them; the first route that matches is taken."""

    pattern: str
    trunks: list[RouteTrunk]
    media: Literal["anchor", "bypass"] | None = None


class RouteEntry(Model):
    """Dialled numbers and the trunks that carry them; the first route that matches is taken. Passwords are never
    shown.
    """

    source: str
    """'file': of the configuration, which alone can change it; 'database': made here."""
    pattern: str
    trunks: list[RouteTrunk]
    media: Literal["anchor", "bypass"] | None = None
    place: int


class RouteEntryList(Model):
    """All routes."""

    items: list[RouteEntry]


class TokenEntry(Model):
    """An API key, without its secret."""

    id: str
    name: str
    role: str
    user: str | None
    scopes: list[str]
    allow: list[str]
    channel_roles: dict[str, str]
    created_at: datetime | None
    """null: it is in the configuration file."""
    expires_at: datetime | None
    revoked_at: datetime | None


class TokenList(Model):
    """All API keys, also those that no longer open anything."""

    items: list[TokenEntry]


class Trunk(Model):
    """A carrier or another PBX; each key as sip.TrunkConfig describes it."""

    name: str
    hosts: list[str]
    username: str | None = None
    password: str | None = None
    register_: bool = Field(default=False, validation_alias="register", serialization_alias="register")
    registrar: str | None = None
    register_expires_s: int = 3600
    inbound_sources: list[str] | None = None
    from_user: str = "caller"
    from_host: str = ""
    from_display: str = "caller"
    pai: str = ""
    rpi: str = ""
    privacy: Literal["never", "caller", "always"] = "caller"
    number_format: Literal["as_is", "e164", "e164_plus"] = "as_is"
    country_code: str = ""
    national_prefix: str = "0"
    international_prefix: str = "00"
    strip_prefix: str = ""
    add_prefix: str = ""
    codecs: list[Literal["PCMU", "PCMA", "G722", "opus"]] | None = None
    max_calls: int | None = None
    max_calls_per_s: float | None = None
    options_interval_s: float = 30.0
    options_misses: int = 3
    answer_timeout_s: float = 10.0
    ring_timeout_s: float = 60.0
    media: Literal["anchor", "bypass"] = "anchor"
    allow: list[str] | None = None


class TrunkState(Model):
    """What a trunk can do at this moment."""

    usable: bool
    why_not: str | None
    calls: int


class TrunkEntry(Model):
    """A carrier or another PBX; each key as sip.TrunkConfig describes it. Passwords are never shown."""

    source: str
    """'file': of the configuration, which alone can change it; 'database': made here."""
    name: str
    hosts: list[str]
    username: str | None = None
    register_: bool = Field(default=False, validation_alias="register", serialization_alias="register")
    registrar: str | None = None
    register_expires_s: int = 3600
    inbound_sources: list[str] | None = None
    from_user: str = "caller"
    from_host: str = ""
    from_display: str = "caller"
    pai: str = ""
    rpi: str = ""
    privacy: Literal["never", "caller", "always"] = "caller"
    number_format: Literal["as_is", "e164", "e164_plus"] = "as_is"
    country_code: str = ""
    national_prefix: str = "0"
    international_prefix: str = "00"
    strip_prefix: str = ""
    add_prefix: str = ""
    codecs: list[Literal["PCMU", "PCMA", "G722", "opus"]] | None = None
    max_calls: int | None = None
    max_calls_per_s: float | None = None
    options_interval_s: float = 30.0
    options_misses: int = 3
    answer_timeout_s: float = 10.0
    ring_timeout_s: float = 60.0
    media: Literal["anchor", "bypass"] = "anchor"
    allow: list[str] | None = None
    state: TrunkState


class TrunkEntryList(Model):
    """All trunks."""

    items: list[TrunkEntry]


class UserBody(Model):
    """A user, but for the id."""

    handle: str | None = None
    """null: the id."""
    display_name: str | None = None
    image_url: str | None = None
    email: str | None = None
    phone: str | None = None
    """E.164."""
    extensions: list[str] | None = None
    """Whose phones are this user's."""


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


class AdminApi(Group):
    """What the configuration file says, changed live. Users and API keys. What the process holds."""

    async def list_extensions(self) -> ExtensionEntryList:
        """List the extensions; an admin's token of the tenant that the phones belong to is needed."""
        return await self.transport.ask(ExtensionEntryList, "GET", "/admin/v1/extensions", {})

    async def create_extension(self, body: Extension, query: Place | None = None) -> ExtensionEntry:
        """Add one to the extensions; an admin's token of the tenant that the phones belong to is needed."""
        return await self.transport.ask(ExtensionEntry, "POST", "/admin/v1/extensions", {}, body=body, query=query)

    async def get_extension(self, name: str) -> ExtensionEntry:
        """Look at one of the extensions; an admin's token of the tenant that the phones belong to is needed."""
        return await self.transport.ask(ExtensionEntry, "GET", "/admin/v1/extensions/{name}", {"name": name})

    async def replace_extension(self, name: str, body: Extension) -> ExtensionEntry:
        """Change one of the extensions; an admin's token of the tenant that the phones belong to is needed."""
        return await self.transport.ask(ExtensionEntry, "PUT", "/admin/v1/extensions/{name}", {"name": name}, body=body)

    async def remove_extension(self, name: str) -> Removed:
        """Remove one of the extensions; an admin's token of the tenant that the phones belong to is needed."""
        return await self.transport.ask(Removed, "DELETE", "/admin/v1/extensions/{name}", {"name": name})

    async def list_trunks(self) -> TrunkEntryList:
        """List the trunks; an admin's token of the tenant that the phones belong to is needed."""
        return await self.transport.ask(TrunkEntryList, "GET", "/admin/v1/trunks", {})

    async def create_trunk(self, body: Trunk, query: Place | None = None) -> TrunkEntry:
        """Add one to the trunks; an admin's token of the tenant that the phones belong to is needed."""
        return await self.transport.ask(TrunkEntry, "POST", "/admin/v1/trunks", {}, body=body, query=query)

    async def get_trunk(self, name: str) -> TrunkEntry:
        """Look at one of the trunks; an admin's token of the tenant that the phones belong to is needed."""
        return await self.transport.ask(TrunkEntry, "GET", "/admin/v1/trunks/{name}", {"name": name})

    async def replace_trunk(self, name: str, body: Trunk) -> TrunkEntry:
        """Change one of the trunks; an admin's token of the tenant that the phones belong to is needed."""
        return await self.transport.ask(TrunkEntry, "PUT", "/admin/v1/trunks/{name}", {"name": name}, body=body)

    async def remove_trunk(self, name: str) -> Removed:
        """Remove one of the trunks; an admin's token of the tenant that the phones belong to is needed."""
        return await self.transport.ask(Removed, "DELETE", "/admin/v1/trunks/{name}", {"name": name})

    async def list_routes(self) -> RouteEntryList:
        """List the routes; an admin's token of the tenant that the phones belong to is needed."""
        return await self.transport.ask(RouteEntryList, "GET", "/admin/v1/routes", {})

    async def create_route(self, body: Route, query: Place | None = None) -> RouteEntry:
        """Add one to the routes; an admin's token of the tenant that the phones belong to is needed."""
        return await self.transport.ask(RouteEntry, "POST", "/admin/v1/routes", {}, body=body, query=query)

    async def get_route(self, name: str) -> RouteEntry:
        """Look at one of the routes; an admin's token of the tenant that the phones belong to is needed."""
        return await self.transport.ask(RouteEntry, "GET", "/admin/v1/routes/{name}", {"name": name})

    async def replace_route(self, name: str, body: Route) -> RouteEntry:
        """Change one of the routes; an admin's token of the tenant that the phones belong to is needed."""
        return await self.transport.ask(RouteEntry, "PUT", "/admin/v1/routes/{name}", {"name": name}, body=body)

    async def remove_route(self, name: str) -> Removed:
        """Remove one of the routes; an admin's token of the tenant that the phones belong to is needed."""
        return await self.transport.ask(Removed, "DELETE", "/admin/v1/routes/{name}", {"name": name})

    async def list_numbers(self) -> NumberEntryList:
        """List the numbers; an admin's token of the tenant that the phones belong to is needed."""
        return await self.transport.ask(NumberEntryList, "GET", "/admin/v1/numbers", {})

    async def create_number(self, body: InboundNumber, query: Place | None = None) -> NumberEntry:
        """Add one to the numbers; an admin's token of the tenant that the phones belong to is needed."""
        return await self.transport.ask(NumberEntry, "POST", "/admin/v1/numbers", {}, body=body, query=query)

    async def get_number(self, name: str) -> NumberEntry:
        """Look at one of the numbers; an admin's token of the tenant that the phones belong to is needed."""
        return await self.transport.ask(NumberEntry, "GET", "/admin/v1/numbers/{name}", {"name": name})

    async def replace_number(self, name: str, body: InboundNumber) -> NumberEntry:
        """Change one of the numbers; an admin's token of the tenant that the phones belong to is needed."""
        return await self.transport.ask(NumberEntry, "PUT", "/admin/v1/numbers/{name}", {"name": name}, body=body)

    async def remove_number(self, name: str) -> Removed:
        """Remove one of the numbers; an admin's token of the tenant that the phones belong to is needed."""
        return await self.transport.ask(Removed, "DELETE", "/admin/v1/numbers/{name}", {"name": name})

    async def users(self, query: Page | None = None) -> UserList:
        """List the users. Those of the token's tenant, oldest first."""
        return await self.transport.ask(UserList, "GET", "/admin/v1/users", {}, query=query)

    async def add_user(self, body: NewUser) -> UserEntry:
        """Add a user. 409 when the id, an extension, the e-mail address or the phone belongs to somebody."""
        return await self.transport.ask(UserEntry, "POST", "/admin/v1/users", {}, body=body)

    async def user(self, id: str) -> UserEntry:
        """Look at a user. One of the token's tenant."""
        return await self.transport.ask(UserEntry, "GET", "/admin/v1/users/{id}", {"id": id})

    async def change_user(self, id: str, body: UserBody) -> UserEntry:
        """Change a user. Everything but the id and the number; what is not given is taken away."""
        return await self.transport.ask(UserEntry, "PUT", "/admin/v1/users/{id}", {"id": id}, body=body)

    async def remove_user(self, id: str) -> Removed:
        """Remove a user. What the user took part in stays in the history."""
        return await self.transport.ask(Removed, "DELETE", "/admin/v1/users/{id}", {"id": id})

    async def tokens(self) -> TokenList:
        """List the API keys. Those of the token's tenant; their secrets are not known to the server."""
        return await self.transport.ask(TokenList, "GET", "/admin/v1/tokens", {})

    async def make_token(self, body: NewToken) -> MadeToken:
        """Make an API key. The answer alone holds the key."""
        return await self.transport.ask(MadeToken, "POST", "/admin/v1/tokens", {}, body=body)

    async def revoke_token(self, id: str) -> Removed:
        """Revoke an API key. It opens nothing from now on; 409 for one of the configuration file."""
        return await self.transport.ask(Removed, "DELETE", "/admin/v1/tokens/{id}", {"id": id})

    async def counts(self) -> Counts:
        """Count sessions, transactions, ports and tasks. Sessions, transactions, dialogs, calls, media ports and
        tasks; needs an admin's token.
        """
        return await self.transport.ask(Counts, "GET", "/debug/counts", {})
