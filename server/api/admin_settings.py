"""The admin API of extensions, trunks, routes and inbound numbers, which it changes without a restart."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel, Field, create_model

from signalling import Registry

from ..errors import ApiError
from ..sections import Extension, InboundNumber, Route, Section, Trunk
from ..settings import Entry, Kind, Settings
from .health import PlainError, plain_error
from .model import Model
from .openapi import Bound, Call, Dialect, operation, operations_of

TAG = "Administration"
BASE = "/admin/v1"
MAX_PLACE = 1_000_000


class Removed(Model):
    """The thing is gone."""

    removed: str


class TrunkState(Model):
    """What a trunk can do at this moment."""

    usable: bool
    why_not: str | None
    calls: int


class Phone(Model):
    """A registered contact of an extension."""

    contact: str
    expires_in_s: int


class Place(Model):
    """Where a new route or number stands."""

    place: int = Field(
        0,
        ge=-MAX_PLACE,
        le=MAX_PLACE,
        description="Among those made here, the lowest is tried first; all of them come before the file's.",
    )


def _entry_model(name: str, section: type[Section], **more: Any) -> type[BaseModel]:
    """A section as it is shown: without its secret, with where it is from."""
    fields: dict[str, Any] = {
        key: (field.annotation, field) for key, field in section.model_fields.items() if key != "password"
    }
    doc = f"{(section.__doc__ or '').strip()} Passwords are never shown."
    source = (str, Field(description='"file": of the configuration, which alone can change it; "database": made here.'))
    return create_model(name, __doc__=doc, source=source, **fields, **more)


ExtensionEntry = _entry_model("ExtensionEntry", Extension, phones=(list[Phone], ...))
TrunkEntry = _entry_model("TrunkEntry", Trunk, state=(TrunkState, ...))
RouteEntry = _entry_model("RouteEntry", Route, place=(int, ...))
NumberEntry = _entry_model("NumberEntry", InboundNumber, place=(int, ...))

Show = Callable[["Entry"], dict[str, Any]]


class AdminSettings:
    """What an administrator changes. `registry` tells what the phones and trunks do now."""

    def __init__(self, settings: Settings, registry: Registry) -> None:
        self._settings = settings
        self._registry = registry

    def dialect(self) -> Dialect:
        """The routes of this API."""
        kinds: tuple[tuple[Kind, str, type[Section], type[BaseModel], Show], ...] = (
            ("extension", "extensions", Extension, ExtensionEntry, self._extension),
            ("trunk", "trunks", Trunk, TrunkEntry, self._trunk),
            ("route", "routes", Route, RouteEntry, _placed),
            ("number", "numbers", InboundNumber, NumberEntry, _placed),
        )
        operations: list[Bound] = []
        for kind, plural, section, shown, more in kinds:
            operations += operations_of(_collection(self, kind, plural, section, shown, more))
        return Dialect(
            TAG, "What the configuration file says, changed live.", tuple(operations), plain_error, PlainError
        )

    def ours(self, call: Call) -> Settings:
        """ApiError 403 for an administrator of another tenant than that of the phones and trunks."""
        if call.tenant != self._registry.switch.tenant:
            raise ApiError(403, "FORBIDDEN", "the phones and trunks belong to another tenant")
        return self._settings

    def _extension(self, entry: Entry) -> dict[str, Any]:
        switch = self._registry.switch
        now = switch.sip.now()
        phones = [
            Phone(contact=str(binding.uri), expires_in_s=max(0, int(binding.expires_at - now)))
            for binding in switch.registrar.bindings(entry.name, now)
        ]
        return {"phones": phones}

    def _trunk(self, entry: Entry) -> dict[str, Any]:
        line = self._registry.switch.lines.get(entry.name)
        why_not = "it was taken away" if line is None else line.unusable(self._registry.switch.sip.now())
        calls = 0 if line is None else line.slots.in_use
        return {"state": TrunkState(usable=why_not is None, why_not=why_not, calls=calls)}


def _placed(entry: Entry) -> dict[str, Any]:
    return {"place": entry.place}


def _collection(
    admin: AdminSettings,
    kind: Kind,
    plural: str,
    section: type[Section],
    shown: type[BaseModel],
    more: Show,
) -> object:
    """The five operations of one kind, which differ in their models alone."""
    listed = create_model(f"{shown.__name__}List", __doc__=f"All {plural}.", items=(list[shown], ...))  # type: ignore[valid-type]  # a model made above
    path = f"{BASE}/{plural}"
    one = f"{path}/{{name}}"

    def show(entry: Entry) -> BaseModel:
        fields = entry.section.model_dump(by_alias=True, exclude={"password"})
        return shown.model_validate({**fields, "source": entry.source, **more(entry)})

    class Collection:
        async def index(self, call: Call) -> BaseModel:
            return listed(items=[show(entry) for entry in admin.ours(call).entries(kind)])

        async def create(self, call: Call, body: Any, query: Place) -> BaseModel:
            return show(admin.ours(call).create(kind, body, place=query.place))

        async def get(self, call: Call) -> BaseModel:
            name = call.path["name"]
            entry = admin.ours(call).entry(kind, name)
            if entry is None:
                raise ApiError(404, "NOT_FOUND", f"there is no {kind} {name}")
            return show(entry)

        async def replace(self, call: Call, body: Any) -> BaseModel:
            return show(admin.ours(call).replace(kind, call.path["name"], body))

        async def remove(self, call: Call) -> BaseModel:
            name = call.path["name"]
            admin.ours(call).remove(kind, name)
            return Removed(removed=name)

    declared: Mapping[str, tuple[str, str, str, type[BaseModel], tuple[int, ...], int]] = {
        "index": ("GET", path, f"List the {plural}", listed, (), 200),
        "create": ("POST", path, f"Add one to the {plural}", shown, (409, 503), 201),
        "get": ("GET", one, f"Look at one of the {plural}", shown, (404,), 200),
        "replace": ("PUT", one, f"Change one of the {plural}", shown, (404, 409), 200),
        "remove": ("DELETE", one, f"Remove one of the {plural}", Removed, (404, 409), 200),
    }
    for name, (method, where, summary, answer, errors, status) in declared.items():
        handler = getattr(Collection, name)
        handler.__annotations__ = {**handler.__annotations__, "return": answer}
        if "body" in handler.__annotations__:
            handler.__annotations__["body"] = section
        handler.__doc__ = f"{summary}; an admin's token of the tenant that the phones belong to is needed."
        permission = "admin.settings.read" if method == "GET" else "admin.settings.write"
        declare = operation(
            method, where, summary=summary, tag=TAG, permission=permission, errors=errors, status=status
        )
        setattr(Collection, name, declare(handler))
    return Collection()
