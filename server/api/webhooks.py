"""Webhooks over HTTP: endpoints are made and changed, and what could not be delivered is listed and tried again."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import Field

from signalling import EVENT_KINDS

from ..auth import not_found
from ..delivery.endpoints import MAX_SECRET, MAX_URL, MIN_SECRET, Endpoint, Endpoints, checked_url, new_secret
from ..delivery.outbox import Outbox
from ..delivery.webhook import KIND, Guard
from ..errors import bad_request
from ..store.database import Database
from ..store.queries.outbox import Delivery, dead
from ..store.writer import Writer
from .health import PlainError, plain_error
from .model import Model
from .openapi import Body, Call, Dialect, operation, operations_of

TAG = "Webhooks"

PAGE = 100
MAX_KINDS = 64
REDELIVER_AT_ONCE = 1000  # of one request; whoever has more asks again

Url = Annotated[
    str,
    Field(min_length=1, max_length=MAX_URL, json_schema_extra={"pattern": r"^[Hh][Tt][Tt][Pp][Ss]?://[!-\[\]-~]+$"}),
]
Secret = Annotated[str, Field(min_length=MIN_SECRET, max_length=MAX_SECRET, pattern=r"^[!-~]+$")]
FAMILIES = dict.fromkeys(f"{kind.partition('.')[0]}.*" for kind in EVENT_KINDS)
EventKind = Annotated[
    str, Field(min_length=1, max_length=64, json_schema_extra={"enum": [*EVENT_KINDS, *FAMILIES, "*"]})
]
Kinds = Annotated[list[EventKind], Field(max_length=MAX_KINDS)]
Format = Literal["ringway", "horn", "realtimekit"]

KINDS_HINT = "Which events; `leg.*` stands for all that begin so. Empty: all."


class NewWebhook(Body):
    """Where events are to go."""

    url: Url
    kinds: Annotated[Kinds, Field(description=KINDS_HINT)] = []
    format: Annotated[Format, Field(description="How the body is worded; see docs/webhooks.md.")] = "ringway"
    secret: Annotated[Secret | None, Field(description="Key of the signatures; left out, one is made.")] = None


class Change(Body):
    """What is to be different; what is left out stays."""

    url: Url | None = None
    kinds: Annotated[Kinds | None, Field(description=KINDS_HINT)] = None
    format: Format | None = None
    active: bool | None = None
    secret: Annotated[Secret | None, Field(description="A new key of the signatures.")] = None
    new_secret: Annotated[bool, Field(description="Make a new key, and answer with it.")] = False


class Webhook(Model):
    """An endpoint that events are sent to."""

    id: str
    url: str
    kinds: list[str]
    format: Format
    active: Annotated[bool, Field(description="False when switched off, by you or by its own answer 410.")]
    created_at: str


class WebhookWithSecret(Webhook):
    """An endpoint as it was made, with the secret, which is told this once."""

    secret: str | None


class WebhookList(Model):
    """All endpoints, oldest first."""

    webhooks: list[Webhook]


class DeadQuery(Model):
    """Which dead deliveries."""

    webhook: Annotated[str | None, Field(max_length=64, description="Only those to this webhook.")] = None
    kind: Annotated[
        str | None, Field(max_length=64, description="`webhook`, `email` and so on; left out, all of them.")
    ] = None
    after: Annotated[str | None, Field(max_length=256, description="`next` of the page before.")] = None
    limit: Annotated[int, Field(ge=1, le=PAGE)] = PAGE


class DeadDelivery(Model):
    """A delivery that was given up."""

    id: Annotated[str, Field(description="The Ringway-Id that all its attempts had.")]
    kind: str
    webhook: str | None
    event: Annotated[str | None, Field(description="Id of the event, when it is one of a webhook.")]
    attempts: int
    error: Annotated[str | None, Field(description="Why the last attempt failed.")]
    created_at: str
    body: Annotated[str | None, Field(description="What was sent, when it is one of a webhook.")]


class DeadDeliveries(Model):
    """A page of them, oldest first."""

    deliveries: list[DeadDelivery]
    next: Annotated[str | None, Field(description="`after` of the next page; null on the last.")]


class Redelivered(Model):
    """How many deliveries will be tried again."""

    count: int


class RedeliverQuery(Model):
    """Which dead deliveries."""

    webhook: Annotated[str | None, Field(max_length=64, description="Only those to this webhook.")] = None


class WebhooksApi:
    """For a tenant's administrators."""

    def __init__(self, endpoints: Endpoints, outbox: Outbox, database: Database, writer: Writer, guard: Guard) -> None:
        self._endpoints = endpoints
        self._outbox = outbox
        self._database = database
        self._writer = writer
        self._guard = guard

    def dialect(self) -> Dialect:
        """The routes of this API."""
        return Dialect(TAG, "Where events are sent to.", operations_of(self), plain_error, PlainError)

    @operation("GET", "/webhooks", summary="List webhooks", tag=TAG, permission="webhooks.list")
    async def listed(self, call: Call) -> WebhookList:
        """All of the tenant, oldest first."""
        return WebhookList(webhooks=[_webhook(endpoint) for endpoint in self._endpoints.of(call.tenant)])

    @operation(
        "POST",
        "/webhooks",
        summary="Make a webhook",
        tag=TAG,
        permission="webhooks.create",
        errors=(409, 503),
        status=201,
        examples={"body": {"url": "https://example.net/hook", "kinds": ["session.*", "call.ended"]}},
    )
    async def create(self, call: Call, body: NewWebhook) -> WebhookWithSecret:
        """Events of the tenant's sessions go there from now on. The answer alone tells the secret."""
        self._guard.check(checked_url(body.url))
        endpoint = self._endpoints.create(
            call.tenant, body.url, secret=body.secret, kinds=body.kinds, format=body.format
        )
        await self._writer.settled()
        return WebhookWithSecret(**_webhook(endpoint).model_dump(), secret=endpoint.secret)

    @operation("GET", "/webhooks/{id}", summary="Read a webhook", tag=TAG, permission="webhooks.get", errors=(404,))
    async def get(self, call: Call) -> Webhook:
        """Without its secret."""
        return _webhook(self._found(call))

    @operation(
        "PATCH",
        "/webhooks/{id}",
        summary="Change a webhook",
        tag=TAG,
        permission="webhooks.change",
        errors=(404, 503),
        examples={"body": {"active": True, "new_secret": True}},
    )
    async def change(self, call: Call, body: Change) -> WebhookWithSecret:
        """What is left out stays; a new secret holds from the next attempt on, and is told this once."""
        endpoint = self._found(call)
        if body.url is not None:
            self._guard.check(checked_url(body.url))
        secret = new_secret() if body.new_secret else body.secret
        changed = self._endpoints.change(
            endpoint, url=body.url, secret=secret, kinds=body.kinds, format=body.format, active=body.active
        )
        await self._writer.settled()
        return WebhookWithSecret(**_webhook(changed).model_dump(), secret=secret)

    @operation(
        "DELETE", "/webhooks/{id}", summary="Remove a webhook", tag=TAG, permission="webhooks.remove", errors=(404, 503)
    )
    async def remove(self, call: Call) -> Webhook:
        """What was not delivered to it is given up. Answers with the webhook as it was."""
        endpoint = self._found(call)
        self._endpoints.remove(endpoint)
        await self._writer.settled()
        return _webhook(endpoint)

    # Dead letters.

    @operation(
        "GET",
        "/webhooks/dead",
        summary="List what could not be delivered",
        tag=TAG,
        permission="webhooks.dead",
        errors=(503,),
    )
    async def dead(self, call: Call, query: DeadQuery) -> DeadDeliveries:
        """Deliveries that were refused, or tried in vain too often; oldest first."""
        await self._writer.settled()
        after = None if query.after is None else _place(query.after)
        found = await dead(
            self._database,
            call.tenant,
            limit=query.limit + 1,
            after=after,
            kind=KIND if query.webhook is not None else query.kind,
            target=None if query.webhook is None else f"{call.tenant} {query.webhook}",
        )
        page = found[: query.limit]
        more = len(found) > query.limit
        return DeadDeliveries(
            deliveries=[_dead(delivery) for delivery in page],
            next=f"{page[-1].created_at}-{page[-1].id}" if more else None,
        )

    @operation(
        "POST",
        "/webhooks/dead/{id}/redeliver",
        summary="Try a delivery again",
        tag=TAG,
        permission="webhooks.redeliver",
        errors=(404, 503),
    )
    async def redeliver(self, call: Call) -> Redelivered:
        """At once, with the same Ringway-Id, and with as many attempts as a new one; also one that had arrived."""
        if not await self._outbox.redeliver(call.tenant, call.path["id"]):
            raise not_found(message="there is no such delivery")
        return Redelivered(count=1)

    @operation(
        "POST",
        "/webhooks/dead/redeliver",
        summary="Try all dead deliveries again",
        tag=TAG,
        permission="webhooks.redeliver",
        errors=(503,),
    )
    async def redeliver_all(self, call: Call, query: RedeliverQuery) -> Redelivered:
        """Those of webhooks, in their order; at most 1000 by one request."""
        await self._writer.settled()
        target = None if query.webhook is None else f"{call.tenant} {query.webhook}"
        found = await dead(self._database, call.tenant, limit=REDELIVER_AT_ONCE, kind=KIND, target=target)
        for delivery in found:
            self._outbox.again(delivery)
        return Redelivered(count=len(found))

    def _found(self, call: Call) -> Endpoint:
        endpoint = self._endpoints.get(call.tenant, call.path["id"])
        if endpoint is None:
            raise not_found(message="there is no such webhook")
        return endpoint


def _webhook(endpoint: Endpoint) -> Webhook:
    return Webhook(
        id=endpoint.id,
        url=endpoint.url,
        kinds=list(endpoint.kinds),
        format=endpoint.format,
        active=endpoint.active,
        created_at=_instant(endpoint.created_at),
    )


def _dead(delivery: Delivery) -> DeadDelivery:
    """Without the content of what is no webhook: an invitation is between those whom it concerns."""
    of_webhook = delivery.kind == KIND
    return DeadDelivery(
        id=delivery.id,
        kind=delivery.kind,
        webhook=delivery.target.partition(" ")[2] if of_webhook else None,
        event=delivery.payload.get("event") if of_webhook else None,
        attempts=delivery.attempts,
        error=delivery.last_error,
        created_at=_instant(delivery.created_at),
        body=delivery.payload.get("body") if of_webhook else None,
    )


def _instant(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _place(text: str) -> tuple[int, str]:
    at, _, id_ = text.partition("-")
    if not (at.isascii() and at.isdigit() and len(at) <= 16 and id_):
        raise bad_request("after: give `next` of the page before")
    return int(at), id_
