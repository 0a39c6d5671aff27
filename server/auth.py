"""Who may do what: the matrix of permissions, and the one place that applies it.

Every operation of every dialect, each download and each command of the channel names a key of PERMISSIONS. Its scope
and the levels "user" and "admin" are checked before the operation runs; the levels "viewer", "member" and "host" need
the session or channel, so the operation calls `require` once it has it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from signalling import Principal, Role

from .errors import ApiError, ConfigError, Fault, InvalidToken
from .sections import Auth
from .tickets import Tickets
from .tokens import TokenBook, digest_of

if TYPE_CHECKING:
    from .jwt import JwtVerifier

MAX_TOKEN = 4096  # characters; longer than any API key or JWT in order, short enough to hash at every request
Level = Literal["open", "user", "viewer", "member", "host", "admin"]
Scope = Literal["", "sessions:read", "sessions:write", "sessions:join", "events", "admin"]

SCOPES: tuple[Scope, ...] = ("sessions:read", "sessions:write", "sessions:join", "events", "admin")
RANKS: Mapping[Level, int] = {"open": 0, "user": 0, "viewer": 1, "member": 2, "host": 3, "admin": 4}


@dataclass(frozen=True, slots=True)
class Permission:
    """What an operation demands of a token."""

    level: Level
    """open: no token. user: any token. viewer, member, host: at least that role in the session or channel that the
    operation is about, in the token's own tenant. admin: an admin's token."""
    scope: Scope = ""
    "What the token must be good for; empty: nothing in particular."
    home: bool = False
    "Whether it is of the whole server: only tokens of the tenant that runs it, whose phones and trunks there are."


READ: Scope = "sessions:read"
WRITE: Scope = "sessions:write"
JOIN: Scope = "sessions:join"
"To take part over the channel; part of sessions:write. A token with this alone has only sessions it has a role in."

PERMISSIONS: Mapping[str, Permission] = {
    "health": Permission("open"),
    "debug.counts": Permission("admin", "admin", home=True),
    # A: /api/CallSession. Whoever acts is named in the body: see Call.act_for.
    "callsession.create": Permission("user", WRITE),
    "callsession.join": Permission("user", WRITE),
    "callsession.leave": Permission("user", WRITE),
    "callsession.end": Permission("host", WRITE),
    "callsession.participants": Permission("viewer", READ),
    # B: /channels, /sessions, /app_sessions.
    "channels.session.end": Permission("host", WRITE),
    "channels.session.get": Permission("viewer", READ),
    "channels.session.list": Permission("user", READ),
    "channels.session.participants": Permission("viewer", READ),
    "channels.session.recordings": Permission("viewer", READ),
    "channels.participants": Permission("viewer", READ),
    "channels.list": Permission("user", READ),
    "channels.create": Permission("user", WRITE),
    "channels.get": Permission("viewer", READ),
    "channels.join": Permission("member", WRITE),
    "channels.leave": Permission("user", WRITE),
    "channels.roles": Permission("host", WRITE),
    "channels.recording.download": Permission("open"),
    "channels.app-session.create": Permission("user", WRITE),
    "channels.app-session.link": Permission("user", WRITE),
    "channels.app-session.log": Permission("user", WRITE),
    "channels.app-session.get": Permission("user", READ),
    "channels.app-session.list": Permission("user", READ),
    "channels.app-session.logs": Permission("user", READ),
    # C: /api/v1/sessions and /api/v1/invitations.
    "invitations.session.create": Permission("user", WRITE),
    "invitations.session.list": Permission("user", READ),
    "invitations.session.get": Permission("viewer", READ),
    "invitations.session.pause": Permission("member", WRITE),
    "invitations.session.resume": Permission("member", WRITE),
    "invitations.session.resolve": Permission("host", WRITE),
    "invitations.session.join": Permission("user", WRITE),
    "invitations.session.leave": Permission("user", WRITE),
    "invitations.session.messages": Permission("viewer", READ),
    "invitations.session.say": Permission("member", WRITE),
    "invitations.session.dtmf": Permission("member", WRITE),
    "invitations.preview": Permission("open"),
    "invitations.accept": Permission("user", WRITE),
    "invitations.decline": Permission("user", WRITE),
    "invitations.resend": Permission("user", WRITE),
    # The pages behind an invitation's link: the unguessable link is the credential.
    "join.page": Permission("open"),
    "join.answer": Permission("open"),
    # STUN and TURN servers, with credentials for whoever has a token.
    "ice-servers": Permission("user"),
    # The softphone's files: whoever uses them logs in by SIP.
    "phone.page": Permission("open"),
    # D: /api/sessions.
    "pbx.session.list": Permission("user", READ),
    "pbx.session.create": Permission("user", WRITE),
    "pbx.session.directly": Permission("user", WRITE),
    "pbx.session.get": Permission("viewer", READ),
    "pbx.session.destroy": Permission("host", WRITE),
    "pbx.session.call": Permission("member", WRITE),
    "pbx.session.hold": Permission("member", WRITE),
    "pbx.session.unhold": Permission("member", WRITE),
    "pbx.session.refer": Permission("host", WRITE),
    # E: /accounts/{account_id}/realtime/kit/{app_id}/sessions. A download's signed URL is its credential (E23).
    "realtimekit.session.list": Permission("user", READ),
    "realtimekit.session.get": Permission("viewer", READ),
    "realtimekit.session.participants": Permission("viewer", READ),
    "realtimekit.session.participant": Permission("viewer", READ),
    "realtimekit.session.chat": Permission("viewer", READ),
    "realtimekit.session.transcript": Permission("viewer", READ),
    "realtimekit.session.summary": Permission("viewer", READ),
    "realtimekit.session.summarise": Permission("member", WRITE),
    "realtimekit.session.transcribe": Permission("host", WRITE),
    "realtimekit.peer-report": Permission("viewer", READ),
    "realtimekit.download": Permission("open"),
    "realtimekit.meeting.create": Permission("user", WRITE),
    "realtimekit.meeting.list": Permission("user", READ),
    "realtimekit.meeting.get": Permission("viewer", READ),
    "realtimekit.meeting.active-session": Permission("viewer", READ),
    "realtimekit.meeting.join": Permission("member", WRITE),
    "realtimekit.meeting.leave": Permission("viewer", WRITE),
    "realtimekit.meeting.kick": Permission("host", WRITE),
    # Events.
    "events.stream": Permission("user", "events"),
    "events.ticket": Permission("user", "events"),
    "events.history": Permission("viewer", "events"),
    "webhooks.list": Permission("admin", "admin"),
    "webhooks.get": Permission("admin", "admin"),
    "webhooks.create": Permission("admin", "admin"),
    "webhooks.change": Permission("admin", "admin"),
    "webhooks.remove": Permission("admin", "admin"),
    "webhooks.dead": Permission("admin", "admin"),
    "webhooks.redeliver": Permission("admin", "admin"),
    # The signalling channel, by its commands: the token comes in the first message.
    "ws.connect": Permission("open"),
    "ws.describe": Permission("open"),
    "ws.hello": Permission("user"),
    "ws.ping": Permission("user"),
    "ws.pong": Permission("user"),
    "ws.join": Permission("user", JOIN),
    "ws.resume": Permission("viewer", JOIN),
    "ws.leave": Permission("user", JOIN),
    "ws.end": Permission("host", WRITE),
    "ws.chat": Permission("member", JOIN),
    "ws.hold": Permission("member", WRITE),
    "ws.dtmf": Permission("member", JOIN),
    "ws.hangup": Permission("member", WRITE),
    "ws.mute": Permission("member", JOIN),
    "ws.offer": Permission("member", JOIN),
    "ws.answer": Permission("member", JOIN),
    "ws.candidate": Permission("member", JOIN),
    "ws.call": Permission("member", WRITE),
    "ws.accept": Permission("user", WRITE),
    "ws.reject": Permission("user", WRITE),
    # SIP over WebSocket: phones prove who they are by digest.
    "sip.connect": Permission("open"),
    # /admin/v1: whatever the configuration file can do. Users and tokens are a tenant's, the rest is the server's.
    "admin.read": Permission("admin", "admin"),
    "admin.write": Permission("admin", "admin"),
    "admin.settings.read": Permission("admin", "admin", home=True),
    "admin.settings.write": Permission("admin", "admin", home=True),
}
"What each operation demands; the only place that says so."


class Subject(Protocol):
    """A session, live or recorded, or a channel. It may also have `role_of(user)` and `owner`."""

    @property
    def tenant(self) -> str:
        """account/app."""

    @property
    def channel_id(self) -> str:
        """The channel it is, or is a sitting of."""

    @property
    def host(self) -> str | None:
        """User id."""


ANYBODY = Principal("(anybody)", "token")
"Stands for a client that needs no token; it may dial nothing and sees no session."


def may_begin(principal: Principal, permission: Permission, home: str) -> None:
    """What can be said before the subject is known; ApiError 403. `home`: the tenant that runs the server."""
    if permission.home and principal.tenant != home:
        raise forbidden("only the account that runs the server may do this")
    if principal.kind != "admin" and permission.level == "admin":
        raise forbidden("only an admin's token may do this")
    if (
        permission.scope
        and principal.scopes
        and permission.scope not in principal.scopes
        and not (permission.scope == JOIN and WRITE in principal.scopes)
    ):
        raise forbidden(f"the token lacks the scope {permission.scope}")


def joins_only(principal: Principal) -> bool:
    """Whether a token is good for no more than to take part."""
    return JOIN in principal.scopes and WRITE not in principal.scopes and principal.kind != "admin"


def role_in(principal: Principal, subject: Subject, role: Role | None = None) -> Role | None:
    """The highest of the roles that a principal has in `subject`, in its own tenant; None when it has none.

    A token's own roles, its user's as `subject.role_of` says, that of who made the session, and `role`, which the
    caller knows of, as from stored participants.
    """
    if subject.tenant != principal.tenant:
        return None
    if principal.kind == "admin":
        return "host"
    if getattr(subject, "owner", None) == principal.owner:
        return "host"
    roles: list[Role | None] = [role, principal.roles.get("*"), principal.roles.get(subject.channel_id)]
    if principal.user is not None:
        if subject.host == principal.user:
            return "host"
        role_of: Any = getattr(subject, "role_of", None)
        if role_of is not None:
            roles.append(role_of(principal.user))
    return max((known for known in roles if known is not None), key=RANKS.__getitem__, default=None)


def require(principal: Principal, permission: Permission, subject: Subject | None, role: Role | None = None) -> Role:
    """The principal's role in `subject`, when it is enough for `permission`.

    ApiError 404 when `subject` is None or of another tenant, worded alike; 403 when the role is not enough. At the
    levels open and user no role is needed, and one without any is told "viewer".
    """
    if subject is None or subject.tenant != principal.tenant:
        raise not_found()
    has = role_in(principal, subject, role)
    needed = RANKS[permission.level]
    if needed > (0 if has is None else RANKS[has]) and principal.kind != "admin":
        raise forbidden(f"this needs the role {permission.level}")
    return has or "viewer"


def forbidden(message: str) -> ApiError:
    """403."""
    return ApiError(403, "FORBIDDEN", message)


def not_found(code: str = "NOT_FOUND", message: str = "there is no such thing") -> ApiError:
    """404, the same for what does not exist and what belongs to another tenant."""
    return ApiError(404, code, message)


# From an Authorization header to a principal.


class Authenticator:
    """Finds out who sends a request: by an API key, or by a JWT where the configuration takes them."""

    def __init__(self, book: TokenBook, jwt: JwtVerifier | None = None) -> None:
        self.book = book
        self.tickets = Tickets()
        self._jwt = jwt

    def known(self, authorization: str | None) -> Principal | None:
        """Who sends this header, when that can be said at once: the way of nearly every request."""
        if authorization is None or not authorization.startswith("Bearer ") or len(authorization) > MAX_TOKEN:
            return None
        digest = digest_of(authorization[7:])
        principal = self.book.principal(digest)
        if principal is None and self._jwt is not None:
            principal = self._jwt.known(digest)
        return principal

    async def authenticate(self, authorization: str | None) -> Principal:
        """Who sends this header (RFC 6750 §2.1); ApiError 401 with a challenge when nobody known does."""
        if authorization is None:
            raise _unauthorized("a bearer token is needed", 'Bearer realm="ringway"')
        scheme, _, token = authorization.partition(" ")
        token = token.strip(" ")
        if scheme.lower() != "bearer" or not token or len(authorization) > MAX_TOKEN:
            raise _unauthorized("a bearer token is needed", 'Bearer realm="ringway", error="invalid_request"')
        principal = self.known(f"Bearer {token}")
        if principal is not None:
            return principal
        reason = "the token is not valid"
        if self._jwt is not None and token.count(".") == 2 and token.isascii():
            try:
                return await self._jwt.verify(token, digest_of(token))
            except InvalidToken as error:
                reason = str(error)
        raise _unauthorized(reason, 'Bearer realm="ringway", error="invalid_token"')


def _unauthorized(message: str, challenge: str) -> ApiError:
    return ApiError(401, "UNAUTHORIZED", message, headers={"WWW-Authenticate": challenge})


def authenticator(config: Auth, book: TokenBook, *, tenant: str) -> Authenticator:
    """As the configuration says. ConfigError for a key that is none."""
    if config.jwt is None:
        return Authenticator(book)
    from .jwt import JwtVerifier  # a fifth of a second, for those who use it

    try:
        return Authenticator(book, JwtVerifier(config.jwt, tenant=tenant))
    except ValueError as error:
        raise ConfigError([Fault("configuration", "auth.jwt", f"the key cannot be read: {error}")]) from error
