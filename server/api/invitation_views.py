"""A session as one of its users sees it in the invitation dialect (C5, C7): nothing here changes anything."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from signalling import MAX_RESENDS, PENDING_PARTNER, ChatMessage, Invitation, contact_relationship_id, short_of_session

from ..invitations import Inviting
from ..store.queries.invitations import Sitting, Stay
from .invitation_models import (
    DeliveryInfo,
    InvitationInfo,
    InvitedBy,
    Message,
    Partner,
    PreviewData,
    RelationshipInfo,
    SessionDetail,
    SessionStatus,
    SessionSummary,
    StageGate,
    StageProgress,
    StageStatus,
)

NOT_BEGUN = StageProgress(stage=0, status=StageStatus.NOT_STARTED, startedAt=None, completedAt=None)


def instant(at_ms: int) -> str:
    """ISO 8601 in UTC with milliseconds (G3)."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def instant_or_none(at_s: float | None) -> str | None:
    """The same of seconds, where there may be none."""
    return None if at_s is None else instant(round(at_s * 1000))


class Views:
    """Makes models of sessions; knows the names of people and the relationships."""

    def __init__(self, inviting: Inviting) -> None:
        self._inviting = inviting
        self._people = inviting.registry.people

    def summary(self, sitting: Sitting, user: str) -> SessionSummary:
        """What lists show."""
        return SessionSummary(**self._fields(sitting, user))

    def detail(self, sitting: Sitting, user: str, *, reader: str | None, count: int, first_at_ms: int) -> SessionDetail:
        """All of it, as `user` sees it, for the eyes of `reader`, an admin if None.

        `count` and `first_at_ms` are of the relationship's sessions.
        """
        session = sitting.session
        fields = self._fields(sitting, user)
        resolved = session.status == "RESOLVED" and session.ended_at is not None
        return SessionDetail(
            **fields,
            updatedAt=instant(session.updated_at),
            relationship=RelationshipInfo(
                id=fields["relationshipId"], createdAt=instant(first_at_ms), sessionCount=count
            ),
            currentGates=_gates(sitting),
            resolvedAt=instant(session.ended_at or 0) if resolved else None,
            invitation=self.invitation(sitting.invitation, user, reader),
        )

    def relationship_id(self, sitting: Sitting, user: str) -> str:
        """What the user and the partner share."""
        return self._relationship_id(sitting, user, self._partner(sitting, user).id)

    def partner_id(self, sitting: Sitting, user: str) -> str | None:
        """The partner, once it is known who that is."""
        partner = self._partner(sitting, user).id
        return None if partner == PENDING_PARTNER else partner

    def invitation(self, invitation: Invitation | None, user: str, reader: str | None) -> InvitationInfo | None:
        """Whole for the inviter, its state for the one who was asked, None for anybody else.

        The context is for the inviter in person, not for an admin that looks over the shoulder (C10).
        """
        if invitation is None or not (user == invitation.inviter or invitation.is_for(user)):
            return None
        own = user == invitation.inviter
        return InvitationInfo(
            id=invitation.id,
            status=self._status(invitation),
            expiresAt=instant(round(invitation.expires_at * 1000)),
            url=self._inviting.link(invitation) if own else None,
            context=invitation.context if own and reader == user else None,
            declineReason=invitation.decline_reason,
            resendsLeft=max(0, MAX_RESENDS - invitation.resent_count) if own else None,
            deliveries=[
                DeliveryInfo(
                    to=delivery.to,
                    by=delivery.by,
                    state=delivery.state,
                    error=delivery.error,
                    at=instant_or_none(delivery.at),
                )
                for delivery in (invitation.deliveries.values() if own else ())
            ],
        )

    def preview(self, invitation: Invitation) -> PreviewData:
        """For everybody who has the link."""
        return PreviewData(
            id=invitation.id,
            status=self._status(invitation),
            invitedBy=InvitedBy(name=self._inviting.name_of_inviter(invitation)),
            expiresAt=instant(round(invitation.expires_at * 1000)),
        )

    def _status(self, invitation: Invitation) -> Any:
        return "EXPIRED" if self._inviting.expired(invitation) else invitation.status

    def _fields(self, sitting: Sitting, user: str) -> dict[str, Any]:
        session, partner = sitting.session, self._partner(sitting, user)
        mine, other = sitting.mine, sitting.other
        asked = sitting.invitation is not None and user != sitting.invitation.inviter
        my_turn = waiting = False
        if session.status == "INVITED":
            my_turn, waiting = asked, not asked
        elif session.status in ("ACTIVE", "CREATED"):
            here, there = mine is not None and mine.present, other is not None and other.present
            my_turn, waiting = there and not here, here and not there
        return {
            "id": short_of_session(session.id),
            "relationshipId": self._relationship_id(sitting, user, partner.id),
            "status": SessionStatus(session.status),
            "createdAt": instant(session.created_at),
            "partner": partner,
            "myProgress": _progress(sitting, mine),
            "partnerProgress": _progress(sitting, other),
            "isMyTurn": my_turn,
            "waitingOnPartner": waiting,
        }

    def _relationship_id(self, sitting: Sitting, user: str, partner: str) -> str:
        invitation, tenant = sitting.invitation, sitting.session.tenant
        if invitation is not None:
            return invitation.relationship_id
        if partner == PENDING_PARTNER:
            return contact_relationship_id(tenant, user, f"session:{sitting.session.id}")
        return self._inviting.invitations.relationship_id(tenant, user, partner)

    def _partner(self, sitting: Sitting, user: str) -> Partner:
        """The other of an invitation's two; in any other session the first who is somebody else."""
        invitation, other = sitting.invitation, sitting.other
        tenant = sitting.session.tenant
        if invitation is not None and user != invitation.inviter:
            return Partner(id=invitation.inviter, name=self._name(tenant, invitation.inviter, None))
        if invitation is not None:
            asked = invitation.invitee
            whom = invitation.responded_by if invitation.status == "ACCEPTED" else asked.person_id
            if whom is not None:
                return Partner(id=whom, name=self._name(tenant, whom, None) or asked.name)
            if other is None:
                return Partner(id=PENDING_PARTNER, name=asked.name)
        if other is not None:
            return Partner(id=other.user, name=self._name(tenant, other.user, other.display_name))
        host = sitting.session.host
        if host is not None and host != user:
            return Partner(id=host, name=self._name(tenant, host, None))
        return Partner(id=PENDING_PARTNER, name=None)

    def _name(self, tenant: str, user: str, shown: str | None) -> str | None:
        known = self._people.get(tenant, user)
        return (known and known.display_name) or shown


def _progress(sitting: Sitting, stay: Stay | None) -> StageProgress:
    """Not begun until both are there; with an invitation both begin when it is accepted (C17).

    What was abandoned never began, whoever looks.
    """
    session, invitation = sitting.session, sitting.invitation
    if session.status in ("INVITED", "CREATED", "ABANDONED"):
        return NOT_BEGUN
    began = None if stay is None else stay.joined_at
    if invitation is not None and invitation.status == "ACCEPTED" and invitation.responded_at is not None:
        began = round(invitation.responded_at * 1000)
    if began is None:
        return NOT_BEGUN
    completed = session.ended_at if session.status == "RESOLVED" else None
    return StageProgress(
        stage=0,
        status=StageStatus.IN_PROGRESS if completed is None else StageStatus.COMPLETED,
        startedAt=instant(began),
        completedAt=None if completed is None else instant(completed),
    )


def _gates(sitting: Sitting) -> list[StageGate]:
    """An invited session has one gate; any other has none."""
    if sitting.invitation is None:
        return []
    accepted = sitting.invitation.status == "ACCEPTED"
    return [
        StageGate(
            id="invitation-accepted",
            description="The partner has accepted the invitation.",
            satisfied=accepted,
            requiredForAdvance=True,
        )
    ]


def message_of(said: ChatMessage) -> Message:
    """What somebody said."""
    return Message(
        id=said.id,
        senderId=said.user,
        senderName=said.display_name,
        type=said.payload_type,
        content=said.payload,
        createdAt=instant(round(said.at * 1000)),
    )
