"""Where webhooks go: the endpoints of each tenant, in memory, and which events each of them wants."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit

import structlog

from ..errors import ApiError, bad_request
from ..events import Filter, kinds_of
from .forms import FORMS, KIND_OF_MEETING_EVENT

log = structlog.get_logger("server.delivery.endpoints")

Format = Literal["ringway", "horn", "realtimekit"]

MAX_ENDPOINTS = 100  # of a tenant; each event is looked at for each of them
MAX_URL = 2048
_PLAIN_URL = re.compile(r"[!-\[\]-~]+")
_PLAIN_HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+")
MIN_SECRET, MAX_SECRET = 16, 256


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address that events are sent to."""

    id: str
    tenant: str
    url: str
    secret: str
    kinds: tuple[str, ...]
    "As they were given; empty: all."
    format: Format
    active: bool
    created_at: int
    "ms since the epoch."
    wanted: Filter

    def wants(self, kind: str) -> bool:
        """Whether an event of this kind goes there."""
        return self.active and kind in FORMS[self.format].kinds and self.wanted.wants_kind(kind)


class Rows(Protocol):
    """What the endpoints need of the batching writer."""

    def write(self, table: str, row: Mapping[str, Any], mode: Literal["upsert", "insert", "delete"] = ...) -> None:
        """Take a row for the next flush."""


class Seal(Protocol):
    """Keeps secrets unreadable in the database."""

    def seal(self, secret: str) -> str:
        """`secret` as the database has it."""

    def unseal(self, sealed: str) -> str:
        """What was sealed. ValueError when it cannot be read."""


class Endpoints:
    """All endpoints. Changes are written through the writer and hold at once."""

    def __init__(self, writer: Rows, *, clock: Callable[[], float], vault: Seal | None = None) -> None:
        """`clock`: seconds since the epoch. `vault`: for the secrets; None keeps them as they are."""
        self._writer = writer
        self._vault = vault
        self._clock = clock
        self._of_tenant: dict[str, dict[str, Endpoint]] = {}

    def __bool__(self) -> bool:
        return any(self._of_tenant.values())

    def restore(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Take endpoints that are stored already; one whose secret cannot be read any more is switched off."""
        for row in rows:
            kinds = tuple(json.loads(row["kinds"] or "[]"))
            fields = {**row, "kinds": kinds, "active": bool(row["active"]), "wanted": _filter(kinds, known=True)}
            if self._vault is not None:
                try:
                    fields["secret"] = self._vault.unseal(row["secret"])
                except ValueError as error:
                    log.error("webhook_secret_unreadable", webhook=row["id"], error=str(error))
                    fields |= {"secret": new_secret(), "active": False}
            self._keep(Endpoint(**fields))

    def create(
        self, tenant: str, url: str, *, secret: str | None = None, kinds: Iterable[str] = (), format: Format = "ringway"
    ) -> Endpoint:
        """A new endpoint, with a secret of ours unless one is given. ApiError 400, or 409 when there are too many."""
        if len(self._of_tenant.get(tenant, ())) >= MAX_ENDPOINTS:
            raise ApiError(409, "TOO_MANY_WEBHOOKS", f"{MAX_ENDPOINTS} webhooks are the limit")
        kinds = tuple(kinds)
        endpoint = Endpoint(
            f"wh_{secrets.token_hex(8)}",
            tenant,
            checked_url(url),
            secret or new_secret(),
            kinds,
            format,
            True,
            int(self._clock() * 1000),
            _filter(kinds),
        )
        self._write(endpoint)
        return endpoint

    def change(
        self,
        endpoint: Endpoint,
        *,
        url: str | None = None,
        secret: str | None = None,
        kinds: Iterable[str] | None = None,
        format: Format | None = None,
        active: bool | None = None,
    ) -> Endpoint:
        """The endpoint with what is not None in the place of what it had. ApiError 400."""
        changed = endpoint
        if url is not None:
            changed = replace(changed, url=checked_url(url))
        if secret is not None:
            changed = replace(changed, secret=secret)
        if kinds is not None:
            given = tuple(kinds)
            changed = replace(changed, kinds=given, wanted=_filter(given))
        if format is not None:
            changed = replace(changed, format=format)
        if active is not None:
            changed = replace(changed, active=active)
        self._write(changed)
        return changed

    def remove(self, endpoint: Endpoint) -> None:
        """Forget it; what is under way to it is given up."""
        self._of_tenant[endpoint.tenant].pop(endpoint.id, None)
        self._writer.write("webhooks", {"id": endpoint.id}, "delete")

    def get(self, tenant: str, endpoint_id: str) -> Endpoint | None:
        """The endpoint of that id."""
        return self._of_tenant.get(tenant, {}).get(endpoint_id)

    def of(self, tenant: str) -> list[Endpoint]:
        """All of a tenant, oldest first."""
        return list(self._of_tenant.get(tenant, {}).values())

    def wanting(self, tenant: str, kind: str) -> list[Endpoint]:
        """Those that an event goes to."""
        of_tenant = self._of_tenant.get(tenant)
        return [endpoint for endpoint in of_tenant.values() if endpoint.wants(kind)] if of_tenant else []

    def _write(self, endpoint: Endpoint) -> None:
        self._keep(endpoint)
        row = {
            "id": endpoint.id,
            "tenant": endpoint.tenant,
            "url": endpoint.url,
            "secret": endpoint.secret if self._vault is None else self._vault.seal(endpoint.secret),
            "kinds": json.dumps(endpoint.kinds),
            "format": endpoint.format,
            "active": endpoint.active,
            "created_at": endpoint.created_at,
        }
        self._writer.write("webhooks", row)

    def _keep(self, endpoint: Endpoint) -> None:
        self._of_tenant.setdefault(endpoint.tenant, {})[endpoint.id] = endpoint


def new_secret() -> str:
    """256 bits, in characters that survive any configuration file."""
    return f"whsec_{secrets.token_urlsafe(32)}"


def checked_url(url: str) -> str:
    """`url` itself; ApiError 400 unless it is http or https, with a host and without a user."""
    try:
        parts = urlsplit(url)
        port_fits = parts.port is None or parts.port > 0
    except ValueError:
        raise bad_request("url: not a URL") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_fits or len(url) > MAX_URL:
        raise bad_request("url: give an http or https URL")
    if parts.username is not None or parts.password is not None:
        raise bad_request("url: a user does not belong here; requests are signed")
    if parts.fragment or not _PLAIN_URL.fullmatch(url):
        raise bad_request("url: percent-encode what is not ASCII, and leave the fragment away")
    if not _PLAIN_HOST.fullmatch(parts.hostname):  # what two parsers might read differently
        raise bad_request("url: the host is a name in ASCII, or an address")
    return url


def _filter(kinds: tuple[str, ...], *, known: bool = False) -> Filter:
    """ApiError 400 for a kind that is none; with `known` it is passed over, as one of an older version."""
    ours: list[str] = []
    for kind in kinds:
        name = KIND_OF_MEETING_EVENT.get(kind, kind)
        try:
            kinds_of([name])
        except ApiError:
            if not known:
                raise
            continue
        ours.append(name)
    if kinds and not ours:
        return Filter(kinds=frozenset(kinds))
    exact, prefixes = kinds_of(ours)
    return Filter(kinds=exact, prefixes=prefixes)
