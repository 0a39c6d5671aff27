"""[io] What tells the outside of events: the feed that is listened to, and the webhooks."""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING

from .api.downloads import Downloads
from .api.events import EventsApi
from .api.openapi import Dialect
from .api.webhooks import WebhooksApi
from .auth import Authenticator
from .delivery.endpoints import Endpoints
from .delivery.webhook import FileLinks, Guard, Webhooks
from .events import Feed
from .store.queries.events import newest_event
from .store.queries.webhooks import all_webhooks

if TYPE_CHECKING:
    from signalling import Registry

    from .artefacts import Artefacts
    from .delivery.outbox import Outbox
    from .store.database import Database
    from .store.history import History
    from .store.writer import Writer
    from .vault import Vault


class Outward:
    """The feed and the webhooks of one server, joined with what they come from."""

    def __init__(
        self,
        registry: Registry,
        history: History,
        database: Database,
        writer: Writer,
        outbox: Outbox,
        authenticator: Authenticator,
        *,
        allow_private: bool = False,
        links: FileLinks | None = None,
        vault: Vault | None = None,
    ) -> None:
        """`allow_private`: webhooks may also go to this machine itself. `links`: to the files of sessions.

        `vault` seals the webhooks' secrets in the database; None leaves them as they are.
        """
        self.feed = Feed()
        self.endpoints = Endpoints(writer, clock=time, vault=vault)
        self.webhooks = Webhooks(
            self.endpoints, outbox, clock=time, guard=Guard(allow_private=allow_private), links=links
        )
        self._parts = (history, database, writer)
        self._outbox = outbox
        self._authenticator = authenticator
        registry.bus.follow(self.feed.follow)
        writer.before_commit.append(self.webhooks.rows)
        writer.prompt = lambda: bool(self.webhooks.endpoints)

    async def start(self) -> None:
        """Read what was there before. StoreUnavailable."""
        _, database, _ = self._parts
        self.feed.begin_after(await newest_event(database))
        self.endpoints.restore(await all_webhooks(database))

    async def close(self) -> None:
        """Once the outbox has stopped; streams end before, with the HTTP side."""
        await self.webhooks.close()

    def dialects(self) -> list[Dialect]:
        """/events and /webhooks."""
        _, database, writer = self._parts
        return [
            EventsApi(self.feed, *self._parts, self._authenticator).dialect(),
            WebhooksApi(self.endpoints, self._outbox, database, writer, self.webhooks.guard).dialect(),
        ]


def links_to(artefacts: Artefacts, base: str, lifetime_s: float) -> FileLinks:
    """Links to the files of sessions that begin with `base`, the address by which clients reach us."""
    downloads = Downloads(artefacts, clock=time, lifetime_s=lifetime_s)

    async def made(file: str, session_id: str) -> tuple[str, int]:
        if file == "chat":
            link = await downloads.chat(session_id)
        elif file == "transcript":
            link = await downloads.transcript(session_id, "CSV")
        else:
            link = await downloads.summary(session_id)
        return f"{base.rstrip('/')}{link.target}", link.expires_at

    return made
