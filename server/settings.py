"""Extensions, trunks, routes and inbound numbers: those of the configuration, and those made while the server runs.

What the configuration file says can only be changed there. The rest is kept in the database, secrets sealed, and
takes effect at once; calls that go on are not disturbed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, cast

from pydantic import SecretStr, ValidationError

from .config import contradictions
from .errors import ApiError, ConfigError, Fault
from .sections import Config, Extension, InboundNumber, Route, Section, Trunk
from .vault import Vault

Kind = Literal["extension", "trunk", "route", "number"]
Source = Literal["file", "database"]
SectionT = TypeVar("SectionT", bound=Section)

MAX_ENTRIES = 100_000  # made while running, of each kind

SECTIONS: Mapping[Kind, type[Section]] = {
    "extension": Extension,
    "trunk": Trunk,
    "route": Route,
    "number": InboundNumber,
}
_FIELDS: Mapping[Kind, str] = {
    "extension": "extensions",
    "trunk": "trunks",
    "route": "routes",
    "number": "numbers",
}
_SEALED = "sealed"


@dataclass(frozen=True, slots=True)
class Entry:
    """One extension, trunk, route or number."""

    kind: Kind
    name: str
    "Unique within its kind: an extension's number, a trunk's name, the pattern of a route or a number."
    section: Section
    source: Source
    place: int = 0
    "Among the routes and numbers of the database: the lowest is tried first, and all of them before the file's."


Stored = Callable[[Kind, str, int, str | None], None]
"Told of each change: kind, name, place, and the body as JSON, or None when the entry is gone."


class Settings:
    """What is in force, and the way to change it. `apply` gets the whole configuration that is to be in force next.

    `apply` raises ConfigError when it cannot be, and has then changed nothing.
    """

    def __init__(self, config: Config, *, vault: Vault) -> None:
        self.apply: Callable[[Config], None] = lambda _config: None
        self.stored: Stored = lambda _kind, _name, _place, _body: None
        self._file = config
        self.vault = vault
        "Seals secrets in the database."
        self._made: dict[Kind, dict[str, Entry]] = {kind: {} for kind in SECTIONS}
        self.config = config
        "What is in force."

    def entries(self, kind: Kind) -> list[Entry]:
        """All of a kind, in the order they are looked at."""
        made = _ordered(self._made[kind])
        filed = [Entry(kind, name_of(section), section, "file") for section in getattr(self._file, _FIELDS[kind])]
        return made + filed

    def entry(self, kind: Kind, name: str) -> Entry | None:
        """One of them."""
        return self._made[kind].get(name) or next((e for e in self.entries(kind) if e.name == name), None)

    def create(self, kind: Kind, section: Section, *, place: int = 0) -> Entry:
        """Add one. ApiError 409 when its name is taken, 400 when the whole would make no sense, 503 at the limit."""
        name = name_of(section)
        if self.entry(kind, name) is not None:
            raise ApiError(409, "CONFLICT", f"there is a {kind} {name} already")
        if len(self._made[kind]) >= MAX_ENTRIES:
            raise ApiError(503, "LIMIT_REACHED", f"{MAX_ENTRIES} is the limit")
        return self._put(Entry(kind, name, section, "database", place))

    def replace(self, kind: Kind, name: str, section: Section, *, place: int | None = None) -> Entry:
        """Put `section` in the place of the one of that name. ApiError 404, 409 for one of the file, 400."""
        before = self._changeable(kind, name)
        if name_of(section) != name:
            raise ApiError(400, "BAD_REQUEST", f"the body names {name_of(section)}, the path {name}")
        return self._put(Entry(kind, name, section, "database", before.place if place is None else place))

    def remove(self, kind: Kind, name: str) -> None:
        """Take one away. ApiError 404, 409 for one of the file or one that others need."""
        self._changeable(kind, name)
        made = {key: entry for key, entry in self._made[kind].items() if key != name}
        try:
            self._apply(kind, made)
        except ApiError as error:
            raise ApiError(409, "CONFLICT", error.message) from error
        self.stored(kind, name, 0, None)

    def restore(self, rows: Iterable[tuple[str, str, int, str]]) -> None:
        """Take what the database holds: kind, name, place, body. ConfigError names what can no longer be used."""
        faults: list[Fault] = []
        for text, name, place, body in rows:
            kind = next((kind for kind in SECTIONS if kind == text), None)
            try:
                if kind is None:
                    raise ValueError("no such kind")
                section = SECTIONS[kind].model_validate_json(self._unsealed(body))
                self._made[kind][name] = Entry(kind, name, section, "database", place)
            except (ValidationError, ValueError) as error:
                faults.append(Fault("database", f"{text} {name}", str(error)))
        config = self._merged(self._made)
        faults += [Fault("database and configuration", key, reason) for key, reason in contradictions(config)]
        if faults:
            raise ConfigError(faults)
        self.config = config

    def _changeable(self, kind: Kind, name: str) -> Entry:
        entry = self.entry(kind, name)
        if entry is None:
            raise ApiError(404, "NOT_FOUND", f"there is no {kind} {name}")
        if entry.source == "file":
            raise ApiError(409, "IN_FILE", f"{kind} {name} is in the configuration file; change it there")
        return entry

    def _put(self, entry: Entry) -> Entry:
        self._apply(entry.kind, {**self._made[entry.kind], entry.name: entry})
        self.stored(entry.kind, entry.name, entry.place, self._sealed(entry.section))
        return entry

    def _apply(self, kind: Kind, made: dict[str, Entry]) -> None:
        whole = {**self._made, kind: made}
        config = self._merged(whole)
        if against := contradictions(config):
            raise ApiError(400, "BAD_REQUEST", "; ".join(f"{key}: {reason}" for key, reason in against))
        try:
            self.apply(config)
        except ConfigError as error:
            found = "; ".join(f"{fault.key}: {fault.reason}" for fault in error.faults)
            raise ApiError(400, "BAD_REQUEST", found) from error
        self._made = whole
        self.config = config

    def _merged(self, made: Mapping[Kind, dict[str, Entry]]) -> Config:
        changes = {
            _FIELDS[kind]: [entry.section for entry in _ordered(made[kind])] + getattr(self._file, _FIELDS[kind])
            for kind in SECTIONS
        }
        return self._file.model_copy(update=changes)

    def _sealed(self, section: Section) -> str:
        return json.dumps({name: self._seal(value) for name, value in section.model_dump(by_alias=True).items()})

    def _seal(self, value: Any) -> Any:
        return {_SEALED: self.vault.seal(value.get_secret_value())} if isinstance(value, SecretStr) else value

    def _unsealed(self, body: str) -> str:
        fields = json.loads(body)
        return json.dumps(
            {
                name: self.vault.unseal(value[_SEALED]) if isinstance(value, dict) and _SEALED in value else value
                for name, value in fields.items()
            }
        )


def name_of(section: Section) -> str:
    """What tells a section from others of its kind."""
    if isinstance(section, Trunk):
        return section.name
    if isinstance(section, Route):
        return section.pattern
    return cast(Extension | InboundNumber, section).number


def _ordered(made: Mapping[str, Entry]) -> list[Entry]:
    return sorted(made.values(), key=lambda entry: (entry.place, entry.name))
