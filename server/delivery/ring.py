"""Invitations by ringing the telephone: the inviter's phone rings, then the number; who answers accepts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from signalling import (
    Invitation,
    LimitReached,
    NotRegistered,
    OriginateRequest,
    Principal,
    Registry,
    Session,
    SessionNotActive,
    SignallingError,
    TrunkUnavailable,
)

from .outbox import JsonObject, Refused, RetryLater

NOBODY_RANG = (LimitReached, NotRegistered, SessionNotActive, TrunkUnavailable)
"Refusals before anything was sent, which may be over a little later."


class Awaiting(Protocol):
    """What is needed of the invitations."""

    def rings(self, invitation: Invitation, session: Session) -> None:
        """The newest call of `session` carries `invitation`."""


class Ringing:
    """Rings telephones as the inviter's own extension would, with the right to dial that the extension has."""

    def __init__(
        self,
        registry: Registry,
        find: Callable[[str], Invitation | None],
        awaiting: Awaiting,
        *,
        trunk: str | None = None,
    ) -> None:
        self._registry = registry
        self._find = find
        self._awaiting = awaiting
        self._trunk = trunk

    async def deliver(self, id: str, payload: JsonObject, target: str) -> None:
        """Returns once the call has begun: what becomes of it is told by the events of its session."""
        invitation = self._find(str(payload.get("invitation")))
        if invitation is None or invitation.status != "PENDING" or invitation.sending != payload.get("sending"):
            return
        session = self._registry.get(invitation.session_id)
        if session is None or session.ended:
            return
        caller = self._caller(invitation)
        user = self._registry.people.get(invitation.tenant, invitation.inviter)
        request = OriginateRequest(
            caller=caller.name,
            callee=target,
            send_sdp=True,
            caller_display_name=None if user is None else user.display_name,
            trunk=self._trunk,
        )
        try:
            await self._registry.originate(request, caller, session)
        except NOBODY_RANG as error:
            raise RetryLater(error.message, error.retry_after_s) from error
        except SignallingError as error:
            raise Refused(error.message) from error
        self._awaiting.rings(invitation, session)

    def _caller(self, invitation: Invitation) -> Principal:
        """The inviter's first extension, as if its phone dialled."""
        switch = self._registry.switch
        user = self._registry.people.get(invitation.tenant, invitation.inviter)
        if user is None or not user.extensions or invitation.tenant != switch.tenant:
            raise Refused("the inviter has no extension to call from")
        extension = switch.plan.extensions.get(user.extensions[0])
        if extension is None:
            raise Refused(f"there is no extension {user.extensions[0]}")
        return Principal(
            extension.number, "extension", extension.patterns, user=invitation.inviter, tenant=invitation.tenant
        )
