"""Where events are sent to.

Generated from the operations of the server by `make client`: changes here do not last.
"""

from __future__ import annotations

from typing import Literal

from .transport import Group, Model


class Change(Model):
    """What is to be different; what is left out stays."""

    url: str | None = None
    kinds: (
        list[
            Literal[
                "session.started",
                "session.paused",
                "session.resumed",
                "session.ended",
                "session.noted",
                "call.bridged",
                "call.ended",
                "leg.dialled",
                "leg.ringing",
                "leg.answered",
                "leg.failed",
                "leg.held",
                "leg.resumed",
                "leg.dtmf",
                "participant.joined",
                "participant.left",
                "participant.muted",
                "participant.unmuted",
                "chat.sent",
                "chat.synced",
                "transcript.ready",
                "summary.ready",
                "invitation.created",
                "invitation.sent",
                "invitation.failed",
                "invitation.accepted",
                "invitation.declined",
                "invitation.expired",
                "session.*",
                "call.*",
                "leg.*",
                "participant.*",
                "chat.*",
                "transcript.*",
                "summary.*",
                "invitation.*",
                "*",
            ]
        ]
        | None
    ) = None
    """Which events; `leg.*` stands for all that begin so. Empty: all."""
    format: Literal["ringway", "horn", "realtimekit"] | None = None
    active: bool | None = None
    secret: str | None = None
    """A new key of the signatures."""
    new_secret: bool = False
    """Make a new key, and answer with it."""


class DeadDelivery(Model):
    """A delivery that was given up."""

    id: str
    """The Ringway-Id that all its attempts had."""
    kind: str
    webhook: str | None
    event: str | None
    """Id of the event, when it is one of a webhook."""
    attempts: int
    error: str | None
    """Why the last attempt failed."""
    created_at: str
    body: str | None
    """What was sent, when it is one of a webhook."""


class DeadDeliveries(Model):
    """A page of them, oldest first."""

    deliveries: list[DeadDelivery]
    next: str | None
    """`after` of the next page; null on the last."""


class DeadQuery(Model):
    """Which dead deliveries."""

    webhook: str | None = None
    """Only those to this webhook."""
    kind: str | None = None
    """`webhook`, `email` and so on; left out, all of them."""
    after: str | None = None
    """`next` of the page before."""
    limit: int = 100


class NewWebhook(Model):
    """Where events are to go."""

    url: str
    kinds: (
        list[
            Literal[
                "session.started",
                "session.paused",
                "session.resumed",
                "session.ended",
                "session.noted",
                "call.bridged",
                "call.ended",
                "leg.dialled",
                "leg.ringing",
                "leg.answered",
                "leg.failed",
                "leg.held",
                "leg.resumed",
                "leg.dtmf",
                "participant.joined",
                "participant.left",
                "participant.muted",
                "participant.unmuted",
                "chat.sent",
                "chat.synced",
                "transcript.ready",
                "summary.ready",
                "invitation.created",
                "invitation.sent",
                "invitation.failed",
                "invitation.accepted",
                "invitation.declined",
                "invitation.expired",
                "session.*",
                "call.*",
                "leg.*",
                "participant.*",
                "chat.*",
                "transcript.*",
                "summary.*",
                "invitation.*",
                "*",
            ]
        ]
        | None
    ) = None
    """Which events; `leg.*` stands for all that begin so. Empty: all."""
    format: Literal["ringway", "horn", "realtimekit"] = "ringway"
    """How the body is worded; see docs/webhooks.md."""
    secret: str | None = None
    """Key of the signatures; left out, one is made."""


class RedeliverQuery(Model):
    """Which dead deliveries."""

    webhook: str | None = None
    """Only those to this webhook."""


class Redelivered(Model):
    """How many deliveries will be tried again."""

    count: int


class Webhook(Model):
    """An endpoint that events are sent to."""

    id: str
    url: str
    kinds: list[str]
    format: Literal["ringway", "horn", "realtimekit"]
    active: bool
    """False when switched off, by you or by its own answer 410."""
    created_at: str


class WebhookList(Model):
    """All endpoints, oldest first."""

    webhooks: list[Webhook]


class WebhookWithSecret(Model):
    """An endpoint as it was made, with the secret, which is told this once."""

    id: str
    url: str
    kinds: list[str]
    format: Literal["ringway", "horn", "realtimekit"]
    active: bool
    """False when switched off, by you or by its own answer 410."""
    created_at: str
    secret: str | None


class WebhooksApi(Group):
    """Where events are sent to."""

    async def listed(self) -> WebhookList:
        """List webhooks. All of the tenant, oldest first."""
        return await self.transport.ask(WebhookList, "GET", "/webhooks", {})

    async def create(self, body: NewWebhook) -> WebhookWithSecret:
        """Make a webhook. Events of the tenant's sessions go there from now on. The answer alone tells the secret."""
        return await self.transport.ask(WebhookWithSecret, "POST", "/webhooks", {}, body=body)

    async def get(self, id: str) -> Webhook:
        """Read a webhook. Without its secret."""
        return await self.transport.ask(Webhook, "GET", "/webhooks/{id}", {"id": id})

    async def change(self, id: str, body: Change) -> WebhookWithSecret:
        """Change a webhook. What is left out stays; a new secret holds from the next attempt on, and is told this
        once.
        """
        return await self.transport.ask(WebhookWithSecret, "PATCH", "/webhooks/{id}", {"id": id}, body=body)

    async def remove(self, id: str) -> Webhook:
        """Remove a webhook. What was not delivered to it is given up. Answers with the webhook as it was."""
        return await self.transport.ask(Webhook, "DELETE", "/webhooks/{id}", {"id": id})

    async def dead(self, query: DeadQuery | None = None) -> DeadDeliveries:
        """List what could not be delivered. Deliveries that were refused, or tried in vain too often; oldest first."""
        return await self.transport.ask(DeadDeliveries, "GET", "/webhooks/dead", {}, query=query)

    async def redeliver(self, id: str) -> Redelivered:
        """Try a delivery again. At once, with the same Ringway-Id, and with as many attempts as a new one; also one
        that had arrived.
        """
        return await self.transport.ask(Redelivered, "POST", "/webhooks/dead/{id}/redeliver", {"id": id})

    async def redeliver_all(self, query: RedeliverQuery | None = None) -> Redelivered:
        """Try all dead deliveries again. Those of webhooks, in their order; at most 1000 by one request."""
        return await self.transport.ask(Redelivered, "POST", "/webhooks/dead/redeliver", {}, query=query)
