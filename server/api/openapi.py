"""Operations of the REST API declared once: a decorator on a handler makes its route, its permission and its page.

A handler is an async method. Its parameters say what it wants of a request: `call` (always), `body` and `query`
(pydantic models; `body: Model | None` when it may be left out). Its return annotation says what it answers: models,
`Raw` for text and files, aiohttp's `StreamResponse` for what it writes itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import NoneType
from typing import Any, TypeVar, get_args, get_type_hints

from aiohttp import web
from pydantic import BaseModel, ConfigDict

from signalling import Principal, Role

from ..auth import PERMISSIONS, Permission, Subject, forbidden, not_found, require, role_in
from ..errors import bad_request
from .model import Model

JSON_TYPE = "application/json"
FORM_TYPE = "application/x-www-form-urlencoded"
MAX_USER = 256  # characters of a user's id


class Body(Model):
    """Base of request bodies: strict types, unknown fields ignored (G6)."""

    model_config = ConfigDict(strict=True, extra="ignore")


@dataclass(slots=True)
class Raw:
    """An answer that is no JSON model: text, CSV, a file's bytes."""

    body: bytes | str
    content_type: str
    "With its charset when it is text: `text/csv; charset=utf-8`."
    headers: Mapping[str, str] = field(default_factory=dict)
    status: int | None = None
    "None: as the operation declares."


Answer = BaseModel | Raw | web.StreamResponse
Handler = Callable[..., Awaitable[Answer]]
HandlerT = TypeVar("HandlerT", bound=Handler)
SubjectT = TypeVar("SubjectT", bound=Subject)


@dataclass(slots=True)
class Call:
    """One request to the API, authenticated, its scope checked."""

    principal: Principal
    "auth.ANYBODY where the operation is open to all."
    operation: Operation
    path: Mapping[str, str]
    "Values of the parameters in the path, free of control characters."
    headers: Mapping[str, str]
    "Case-insensitive."
    request: web.Request
    "For streams; what the models can say is said by `body` and `query`."

    @property
    def tenant(self) -> str:
        """account/app of the token."""
        return self.principal.tenant

    @property
    def user(self) -> str:
        """Id of the acting user: the token's own; an admin may name another in the header Ringway-User.

        ApiError 403 when the token belongs to no user, or to another than the header says.
        """
        named = self.headers.get(ACTING_USER.name)
        if named is not None:
            if not 1 <= len(named) <= MAX_USER or not named.isprintable():
                raise bad_request(f"{ACTING_USER.name}: 1 to {MAX_USER} printable characters")
            return self.act_for(named)
        if self.principal.user is None:
            raise forbidden("the token belongs to no user")
        return self.principal.user

    def act_for(self, user: str) -> str:
        """`user`, whom the request names as acting; ApiError 403 when the token may not act for it (G8)."""
        if user != self.principal.user and self.principal.kind != "admin" and not self.operation.opened:
            raise forbidden("the token belongs to another user")
        return user

    @property
    def sees_all(self) -> bool:
        """Whether lists show every session of the tenant: for an admin, and for a role in every channel."""
        return self.principal.kind == "admin" or "*" in self.principal.roles

    def require(self, subject: Subject | None, role: Role | None = None) -> Role:
        """The principal's role in `subject`: ApiError 404 or 403 as auth.require says.

        `role`: what the caller knows of the acting user's role besides, as from stored participants.
        """
        return require(self.principal, self.operation.needs, subject, role)

    def found(
        self,
        subject: SubjectT | None,
        code: str = "NOT_FOUND",
        message: str = "there is no such thing",
        *,
        role: Role | None = None,
    ) -> SubjectT:
        """`subject` itself once `require` has passed; None and other tenants' get the same 404 of `code`."""
        if subject is None or subject.tenant != self.principal.tenant:
            raise not_found(code, message)
        self.require(subject, role)
        return subject

    def role_in(self, subject: Subject) -> Role | None:
        """The principal's role in `subject` without a demand: for filters of lists."""
        return role_in(self.principal, subject)


@dataclass(frozen=True, slots=True)
class Header:
    """A request header that an operation reads."""

    name: str
    description: str
    max_length: int


ACTING_USER = Header("Ringway-User", "With an admin's token: id of the user that the request acts for.", MAX_USER)
"For the `headers` of an operation that asks for Call.user."


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path, with all that its page says."""

    method: str
    path: str
    aliases: tuple[str, ...]
    "Other paths of the same operation, with the same parameters or fewer."
    summary: str
    description: str
    tag: str
    body: type[BaseModel] | None
    body_needed: bool
    form: type[BaseModel] | None
    "What the fields of an HTML form are, where the handler reads one; `body` is None then."
    query: type[BaseModel] | None
    answers: tuple[type[BaseModel], ...]
    "Empty when it answers with text or a stream."
    streams: bool
    "Whether it may write its answer itself; then there is no HEAD."
    ticketed: bool
    "Whether a ticket in the query may stand for the token; see server.tickets."
    status: int
    "Of success."
    media_type: str
    errors: tuple[int, ...]
    headers: tuple[Header, ...]
    permission: str
    "Key of auth.PERMISSIONS."
    examples: Mapping[str, Any]
    opened: bool = False
    "Whether the configuration lets clients without a token use it."

    @property
    def needs(self) -> Permission:
        """What the matrix demands."""
        return PERMISSIONS[self.permission]

    @property
    def open(self) -> bool:
        """Whether it needs no token."""
        return self.opened or self.needs.level == "open"

    @property
    def paths(self) -> tuple[str, ...]:
        """The main path and the others."""
        return (self.path, *self.aliases)

    @property
    def path_parameters(self) -> tuple[str, ...]:
        """Names in braces of the main path."""
        return tuple(part[1:-1] for part in self.path.split("/") if part.startswith("{"))


@dataclass(frozen=True, slots=True)
class Bound:
    """An operation and the method that carries it out."""

    operation: Operation
    handler: Handler


@dataclass(frozen=True, slots=True)
class Dialect:
    """One family of the API: its operations, and how it words an error and a missing value."""

    name: str
    description: str
    operations: tuple[Bound, ...]
    error: Callable[[int, str, str, Any], BaseModel]
    "Makes the body of an error from status, code, message and details (None: there are none)."
    error_model: type[BaseModel]
    omit_none: bool = False
    "What has no value: True leaves the key out (B, E), False writes null (C, D); see G4."
    on_shutdown: Callable[[], None] | None = None
    "Called when the HTTP side begins to stop, so that answers which would never end come to an end."


def operation(
    method: str,
    path: str,
    *,
    summary: str,
    tag: str,
    permission: str,
    errors: Iterable[int] = (),
    headers: Iterable[Header] = (),
    status: int = 200,
    aliases: Iterable[str] = (),
    media_type: str = JSON_TYPE,
    examples: Mapping[str, Any] | None = None,
    form: type[BaseModel] | None = None,
    ticketed: bool = False,
) -> Callable[[HandlerT], HandlerT]:
    """Declare the decorated method to answer `method` on `path`; its docstring is the description.

    `examples`: "body" for the request's, a status such as "200" or "404" for that answer's; those that are not given
    are made from the models. 400, 401, 403, 413, 415 and 500 are declared by themselves where they can happen.
    """

    def declare(handler: HandlerT) -> HandlerT:
        hints = get_type_hints(handler)
        answer = hints["return"]
        kinds = get_args(answer) or (answer,)
        body, body_needed = _body(hints.get("body"))
        level = PERMISSIONS[permission].level if permission in PERMISSIONS else "user"
        usual = {500, *(() if level == "open" else (401, 403))}
        if body is not None:
            usual.update((400, 413, 415))
        if "query" in hints or "{" in path:
            usual.add(400)
        handler.__operation__ = Operation(  # type: ignore[attr-defined]  # read by operations_of alone
            method=method,
            path=path,
            aliases=tuple(aliases),
            summary=summary,
            description=" ".join((handler.__doc__ or "").split()),
            tag=tag,
            body=body,
            body_needed=body_needed,
            form=form,
            query=hints.get("query"),
            answers=tuple(kind for kind in kinds if issubclass(kind, BaseModel)),
            streams=any(issubclass(kind, web.StreamResponse) for kind in kinds),
            ticketed=ticketed,
            status=status,
            media_type=media_type,
            errors=tuple(sorted({*errors, *usual})),
            headers=tuple(headers),
            permission=permission,
            examples=examples or {},
        )
        return handler

    return declare


def _body(hint: Any) -> tuple[type[BaseModel] | None, bool]:
    """The model of a body, and whether it is needed."""
    if hint is None:
        return None, False
    kinds = get_args(hint)
    if NoneType in kinds:
        (model,) = (kind for kind in kinds if kind is not NoneType)
        return model, False
    return hint, True


def operations_of(api: object) -> tuple[Bound, ...]:
    """The declared operations of `api`, in the order of its class."""
    return tuple(
        Bound(function.__operation__, getattr(api, name))
        for name, function in vars(type(api)).items()
        if hasattr(function, "__operation__")
    )
