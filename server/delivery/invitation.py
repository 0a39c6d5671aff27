"""Invitations on their way: from a delivery in the outbox to a message in the channel that the configuration names."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from signalling import Invitation, Invitations, Registry, Relationship

from ..invitations import KIND, Inviting, Ways
from ..sections import Config
from ..store.database import Database
from ..store.queries import invitations as queries
from ..store.queries.reading import reading
from ..store.writer import Writer
from .email import ResendMail
from .hook import InvitationHook
from .link import Channel, Message
from .outbox import Backoff, JsonObject, Outbox
from .ring import Ringing
from .sms import TwilioSms
from .smtp import SmtpMail, SmtpServer

BACKOFF = Backoff(first_s=5.0, factor=4.0, limit_s=3600.0, attempts=8)
"About two and a half hours of attempts; then the inviter sees that it failed."
RING_BACKOFF = Backoff(first_s=20.0, factor=3.0, limit_s=300.0, attempts=4)


class Delivering:
    """Carries out deliveries of one kind by a channel."""

    def __init__(self, inviting: Inviting, channel: Channel) -> None:
        self._inviting = inviting
        self._channel = channel

    async def deliver(self, id: str, payload: JsonObject, target: str) -> None:
        """Send it, unless it was answered or sent again in the meantime."""
        invitation = self._inviting.invitations.get(str(payload.get("invitation")))
        if invitation is None or invitation.status != "PENDING" or invitation.sending != payload.get("sending"):
            return
        await self._channel.send(self._message(id, invitation, target))

    def _message(self, id: str, invitation: Invitation, target: str) -> Message:
        return Message(
            id=id,
            invitation_id=invitation.id,
            to=target,
            inviter_name=self._inviting.name_of_inviter(invitation),
            invitee_name=invitation.invitee.name,
            url=self._inviting.link(invitation),
            expires_at=invitation.expires_at,
        )


class Courier:
    """The channels of the configuration, registered with the outbox."""

    def __init__(self, config: Config, inviting: Inviting) -> None:
        self._inviting = inviting
        self._ring_trunk = config.invitations.ring_trunk
        self._channels = channels_of(config)
        self._rings = config.invitations.phone == "ring"

    def register(self, outbox: Outbox) -> None:
        """To be called before the outbox starts."""
        told = self._inviting.on_result
        for by, channel in self._channels.items():
            outbox.register(KIND + by, Delivering(self._inviting, channel), backoff=BACKOFF, on_result=told)
        if self._rings:
            inviting = self._inviting
            ringing = Ringing(inviting.registry, inviting.invitations.get, inviting, trunk=self._ring_trunk)
            outbox.register(f"{KIND}ring", ringing, backoff=RING_BACKOFF, on_result=told)

    async def close(self) -> None:
        """Close the connections to the vendors; after the outbox."""
        for channel in self._channels.values():
            await channel.close()


def inviting_of(config: Config, registry: Registry, outbox: Outbox, database: Database, writer: Writer) -> Inviting:
    """Invitations over these parts: stored by the writer, delivered by the outbox. Not started yet."""

    def store(invitation: Invitation) -> None:
        writer.write("invitations", queries.invitation_row(invitation))

    def store_relationship(relationship: Relationship) -> None:
        began_with_contact = relationship.user_b is not None and relationship.contact is not None
        mode: Literal["upsert", "insert"] = "upsert" if began_with_contact else "insert"
        writer.write("relationships", queries.relationship_row(relationship), mode)

    async def stored(invitation_id: str) -> Invitation | None:
        await writer.settled()
        async with reading(database) as connection:
            return await queries.invitation(connection, invitation_id)

    kept = Invitations(max_pending_of_user=config.invitations.pending_per_user)
    kept.on_change = store
    kept.on_relationship = store_relationship
    return Inviting(registry, kept, outbox, ways_of(config, base_url=base_url_of(config)), stored=stored)


async def restore(inviting: Inviting, database: Database) -> None:
    """Take up what waited for an answer when the last process ended; its sessions are restored before."""
    async with reading(database) as connection:
        invitations = await queries.open_invitations(connection)
        relationships = await queries.relationships_of_pairs(connection)
    inviting.restore(invitations, relationships)


def base_url_of(config: Config) -> str:
    """Where people reach this server."""
    if config.api.public_url:
        return config.api.public_url
    host = config.server.host
    return f"http://{f'[{host}]' if ':' in host else host}:{config.server.http_port}"


def ways_of(config: Config, *, base_url: str) -> Ways:
    """Which channel takes which contact. `base_url`: where this server is reached, for links to its own page."""
    wanted = config.invitations
    email = {"none": None, "resend": "email", "smtp": "email", "webhook": "webhook"}[wanted.email]
    phone = {"none": None, "twilio": "sms", "ring": "ring", "webhook": "webhook"}[wanted.phone]
    return Ways(wanted.link or f"{base_url.rstrip('/')}/join/{{id}}", email, phone)


def channels_of(config: Config) -> dict[str, ResendMail | SmtpMail | TwilioSms | InvitationHook]:
    """Name of a channel -> the channel; the model has seen to it that each is complete."""
    wanted = config.invitations
    channels: dict[str, ResendMail | SmtpMail | TwilioSms | InvitationHook] = {}
    if wanted.email == "resend":
        key = config.resend.api_key
        assert key is not None
        channels["email"] = ResendMail(key.get_secret_value(), config.resend.sender, base_url=config.resend.base_url)
    elif wanted.email == "smtp":
        channels["email"] = SmtpMail(smtp_server_of(config), config.smtp.sender)
    if wanted.phone == "twilio":
        twilio = config.twilio
        assert twilio.auth_token is not None
        channels["sms"] = TwilioSms(
            twilio.account_sid, twilio.auth_token.get_secret_value(), twilio.sender, base_url=twilio.base_url
        )
    if "webhook" in (wanted.email, wanted.phone):
        secret = wanted.webhook_secret
        channels["webhook"] = InvitationHook(wanted.webhook_url, None if secret is None else secret.get_secret_value())
    return channels


def smtp_server_of(config: Config) -> SmtpServer:
    """The mail server of the configuration."""
    smtp = config.smtp
    assert smtp.host is not None
    return SmtpServer(
        smtp.host,
        smtp.port,
        smtp.security,
        smtp.username,
        None if smtp.password is None else smtp.password.get_secret_value(),
        Path(smtp.ca_file) if smtp.ca_file else None,
    )
