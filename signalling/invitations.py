"""Invitations and the relationships they make: their states, their rules, and those that wait for an answer.

Pure: instants come in as arguments, in seconds since the epoch, and `deadline` says when to call `expire`. Points of
the invitation dialect: C10 (context), C14 (conflicts), C17 (states, expiry, resending).
"""

from __future__ import annotations

import heapq
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Literal

from .errors import SignallingError

LIFETIME_S = 7 * 86_400.0
MAX_RESENDS = 3
RESEND_GAP_S = 86_400.0
MAX_PENDING_OF_USER = 1000  # each may cost a text message and holds a session for a week
MAX_RELATIONSHIPS = 1_000_000  # of those that began with a contact; each takes about a quarter of a kilobyte
PENDING_PARTNER = "user_pending"
"Stands for the partner's id until somebody has accepted (C5)."

InvitationStatus = Literal["PENDING", "ACCEPTED", "DECLINED", "EXPIRED"]
Contact = Literal["email", "phone"]
DeliveryState = Literal["PENDING", "RETRYING", "SENT", "FAILED"]


class InvitationError(SignallingError):
    """Root of what an invitation refuses."""


class UnknownInvitation(InvitationError):
    """There is no invitation of that id."""

    status = 404
    code = "NOT_FOUND"


class UnknownPerson(InvitationError):
    """The person to invite is not known."""

    status = 404
    code = "NOT_FOUND"


class InvitationConflict(InvitationError):
    """There is an open session with the same person, or the invitation was answered already."""

    status = 409
    code = "CONFLICT"


class InvitationForbidden(InvitationError):
    """This user may not do that with the invitation."""

    status = 403
    code = "FORBIDDEN"


class InvitationTooLate(InvitationError):
    """Nobody answered in time."""

    status = 410
    code = "INVITATION_EXPIRED"


class InvitationInvalid(InvitationError):
    """Nobody can be invited so."""

    status = 400
    code = "VALIDATION_ERROR"


class TooManyInvitations(InvitationError):
    """A user has as many open invitations as it may have, or sends one again too soon."""

    status = 429
    code = "RATE_LIMITED"


@dataclass(frozen=True, slots=True)
class Invitee:
    """Who is asked: a user of ours, or somebody behind an e-mail address or a telephone number."""

    person_id: str | None = None
    email: str | None = None
    "Normalised."
    phone: str | None = None
    "E.164."
    name: str | None = None
    known_as: str | None = None
    "The user who has that address or number, for conflicts alone: who has the link is not bound to be that user."

    @property
    def marks(self) -> frozenset[str]:
        """What makes it the same person (C14)."""
        marks = {f"user:{user}" for user in (self.person_id, self.known_as) if user}
        if self.email:
            marks.add(f"email:{self.email.casefold()}")
        if self.phone:
            marks.add(f"phone:{self.phone}")
        return frozenset(marks)

    @property
    def contact(self) -> str | None:
        """The one key that a relationship with somebody unknown goes by."""
        if self.email:
            return f"email:{self.email.casefold()}"
        return f"phone:{self.phone}" if self.phone else None


@dataclass(slots=True)
class Delivery:
    """How the message to one contact of the person went."""

    to: Contact
    by: str
    "Its way: email, sms, webhook or ring."
    state: DeliveryState = "PENDING"
    error: str | None = None
    at: float | None = None
    "When the state was reached."


@dataclass(slots=True)
class Invitation:
    """Somebody is asked to take part in a session."""

    id: str
    session_id: str
    tenant: str
    inviter: str
    invitee: Invitee
    created_at: float
    expires_at: float
    relationship_id: str
    status: InvitationStatus = "PENDING"
    resent_count: int = 0
    last_sent_at: float | None = None
    responded_at: float | None = None
    responded_by: str | None = None
    decline_reason: str | None = field(default=None, repr=False)
    context: str | None = field(default=None, repr=False)
    "For the inviter's eyes alone (C10)."
    deliveries: dict[Contact, Delivery] = field(default_factory=dict)

    @property
    def sending(self) -> int:
        """Number of the present sending, from 0."""
        return self.resent_count

    def is_for(self, user: str) -> bool:
        """Whether `user` was asked by name, or has accepted."""
        return user in (self.invitee.person_id, self.responded_by)


@dataclass(frozen=True, slots=True)
class Relationship:
    """Two users, or a user and the contact of somebody who has not answered yet."""

    id: str
    tenant: str
    user_a: str
    user_b: str | None
    contact: str | None
    created_at: float


class Invitations:
    """Those that wait for an answer, or whose session is live; the others are in the history.

    `on_change` and `on_relationship` hear of everything that must be stored.
    """

    def __init__(
        self,
        *,
        lifetime_s: float = LIFETIME_S,
        max_pending_of_user: int = MAX_PENDING_OF_USER,
        new_id: Callable[[], str] = lambda: f"inv_{secrets.token_hex(16)}",
    ) -> None:
        self.on_change: Callable[[Invitation], None] | None = None
        self.on_relationship: Callable[[Relationship], None] | None = None
        self._lifetime_s = lifetime_s
        self._max_pending_of_user = max_pending_of_user
        self._new_id = new_id
        self._by_id: dict[str, Invitation] = {}
        self._of_session: dict[str, str] = {}
        self._between: dict[tuple[str, str, str], set[str]] = {}
        "(tenant, user, mark of the other) -> invitations whose sessions are open."
        self._of_inviter: dict[tuple[str, str], int] = {}
        self._began_with_contact: dict[tuple[str, str, str], Relationship] = {}
        self._expiries: list[tuple[float, str]] = []

    def __len__(self) -> int:
        return len(self._by_id)

    # Looking.

    def get(self, invitation_id: str) -> Invitation | None:
        """The one of that id, as long as its session is open."""
        return self._by_id.get(invitation_id)

    def of_session(self, session_id: str) -> Invitation | None:
        """The one that made this session."""
        found = self._of_session.get(session_id)
        return None if found is None else self._by_id[found]

    def open_between(self, tenant: str, user: str, other: Invitee) -> Invitation | None:
        """An invitation between `user` and this person whose session is open, whoever asked whom (C14)."""
        for mark in other.marks:
            for found in self._between.get((tenant, user, mark), ()):
                return self._by_id[found]
        return None

    def relationship_id(self, tenant: str, user: str, other: str) -> str:
        """The id that every session of these two shows."""
        known = self._began_with_contact.get(_pair(tenant, user, other))
        return pair_relationship_id(tenant, user, other) if known is None else known.id

    # Changing.

    def check(self, tenant: str, inviter: str, invitee: Invitee) -> None:
        """Raise what speaks against this invitation: it is to oneself, a conflict (C14), or one too many."""
        if f"user:{inviter}" in invitee.marks:
            raise InvitationInvalid("nobody can invite themselves")
        if self.open_between(tenant, inviter, invitee) is not None:
            raise InvitationConflict("there is an open session with this person")
        if self._of_inviter.get((tenant, inviter), 0) >= self._max_pending_of_user:
            raise TooManyInvitations(f"{self._max_pending_of_user} open invitations are the limit")

    def invite(
        self, tenant: str, inviter: str, invitee: Invitee, session_id: str, *, now: float, context: str | None = None
    ) -> Invitation:
        """Ask somebody. Raises as `check` does."""
        self.check(tenant, inviter, invitee)
        relationship = self._relationship(tenant, inviter, invitee, now)
        invitation = Invitation(
            self._new_id(),
            session_id,
            tenant,
            inviter,
            invitee,
            created_at=now,
            expires_at=now + self._lifetime_s,
            relationship_id=relationship.id,
            last_sent_at=now,
            context=context,
        )
        self._keep(invitation)
        self._tell_relationship(relationship)
        self._tell(invitation)
        return invitation

    def accept(self, invitation: Invitation, user: str, *, now: float) -> None:
        """`user` takes part. Exactly one answer counts; the others raise InvitationConflict."""
        check_answer(invitation, user, now=now)
        self._answered(invitation, "ACCEPTED", user, now)
        invitee = invitation.invitee
        if invitee.person_id is None:
            pair = _pair(invitation.tenant, invitation.inviter, user)
            known = self._began_with_contact.get(pair)
            if known is None and len(self._began_with_contact) < MAX_RELATIONSHIPS:
                known = Relationship(
                    invitation.relationship_id, *pair, contact=invitee.contact, created_at=invitation.created_at
                )
                self._began_with_contact[pair] = known
                self._tell_relationship(known)
            invitation.relationship_id = known.id if known is not None else pair_relationship_id(*pair)
        self._link(invitation)
        self._tell(invitation)

    def decline(self, invitation: Invitation, user: str | None, reason: str | None, *, now: float) -> None:
        """The one who was asked does not want to; None is somebody who has the link and no account."""
        check_answer(invitation, user, now=now)
        invitation.decline_reason = reason
        self._answered(invitation, "DECLINED", user, now)
        self._tell(invitation)

    def resend(self, invitation: Invitation, user: str, *, now: float) -> None:
        """Send it once more, and let it live for another week. Not sooner than a day after one that arrived."""
        if user != invitation.inviter:
            raise InvitationForbidden("only who made the invitation can send it again")
        check_pending(invitation, now=now)
        if invitation.resent_count >= MAX_RESENDS:
            raise InvitationConflict(f"an invitation is sent again {MAX_RESENDS} times at most")
        states = {delivery.state for delivery in invitation.deliveries.values()}
        wait_s = (invitation.last_sent_at or 0.0) + RESEND_GAP_S - now
        if wait_s > 0 and states != {"FAILED"}:
            raise TooManyInvitations("an invitation is sent again once a day", retry_after_s=int(wait_s) + 1)
        invitation.resent_count += 1
        invitation.last_sent_at = now
        invitation.expires_at = now + self._lifetime_s
        heapq.heappush(self._expiries, (invitation.expires_at, invitation.id))
        self._tell(invitation)

    def note(self, invitation: Invitation, delivery: Delivery) -> None:
        """Keep how the message to a contact goes."""
        invitation.deliveries[delivery.to] = delivery
        self._tell(invitation)

    def close(self, session_id: str, *, now: float) -> Invitation | None:
        """The session has ended: whoever was still asked can no longer come. The invitation is let go."""
        invitation = self.of_session(session_id)
        if invitation is None:
            return None
        self._unlink(invitation)
        if invitation.status == "PENDING":
            self._no_longer_pending(invitation, "EXPIRED")
            invitation.expires_at = min(invitation.expires_at, now)
            self._tell(invitation)
        del self._by_id[invitation.id]
        del self._of_session[session_id]
        return invitation

    # Time.

    @property
    def deadline(self) -> float | None:
        """When to call `expire`, or None."""
        while self._expiries:
            at, invitation_id = self._expiries[0]
            invitation = self._by_id.get(invitation_id)
            if invitation is not None and invitation.status == "PENDING" and invitation.expires_at == at:
                return at
            heapq.heappop(self._expiries)
        return None

    def expire(self, now: float) -> list[Invitation]:
        """Those whose time is over at `now`, each told once; their sessions are the caller's to end."""
        expired: list[Invitation] = []
        while (at := self.deadline) is not None and at <= now:
            invitation = self._by_id[heapq.heappop(self._expiries)[1]]
            self._expire(invitation)
            expired.append(invitation)
        return expired

    def restore(self, invitations: Iterable[Invitation], relationships: Iterable[Relationship] = ()) -> None:
        """Take what is stored already: invitations of live sessions, relationships of two users. Nobody is told."""
        for relationship in relationships:
            other = relationship.user_b
            if other is None or len(self._began_with_contact) >= MAX_RELATIONSHIPS:
                continue
            if relationship.id != pair_relationship_id(relationship.tenant, relationship.user_a, other):
                self._began_with_contact[_pair(relationship.tenant, relationship.user_a, other)] = relationship
        for invitation in invitations:
            self._keep(invitation)

    # Inside.

    def _answered(self, invitation: Invitation, status: InvitationStatus, user: str | None, now: float) -> None:
        self._unlink(invitation)
        self._no_longer_pending(invitation, status)
        invitation.responded_at = now
        invitation.responded_by = user

    def _expire(self, invitation: Invitation) -> None:
        self._unlink(invitation)
        self._no_longer_pending(invitation, "EXPIRED")
        self._tell(invitation)

    def _no_longer_pending(self, invitation: Invitation, status: InvitationStatus) -> None:
        assert invitation.status == "PENDING"
        invitation.status = status
        whose = (invitation.tenant, invitation.inviter)
        self._of_inviter[whose] -= 1
        if not self._of_inviter[whose]:
            del self._of_inviter[whose]

    def _relationship(self, tenant: str, inviter: str, invitee: Invitee, now: float) -> Relationship:
        other = invitee.person_id
        if other is None:
            contact = invitee.contact
            assert contact is not None, "an invitee has an id or a contact"
            return Relationship(contact_relationship_id(tenant, inviter, contact), tenant, inviter, None, contact, now)
        pair = _pair(tenant, inviter, other)
        return self._began_with_contact.get(pair) or Relationship(pair_relationship_id(*pair), *pair, None, now)

    def _keep(self, invitation: Invitation) -> None:
        self._by_id[invitation.id] = invitation
        self._of_session[invitation.session_id] = invitation.id
        if invitation.status in ("PENDING", "ACCEPTED"):
            self._link(invitation)
        if invitation.status == "PENDING":
            heapq.heappush(self._expiries, (invitation.expires_at, invitation.id))
            whose = (invitation.tenant, invitation.inviter)
            self._of_inviter[whose] = self._of_inviter.get(whose, 0) + 1

    def _link(self, invitation: Invitation) -> None:
        for link in _links(invitation):
            self._between.setdefault(link, set()).add(invitation.id)

    def _unlink(self, invitation: Invitation) -> None:
        for link in _links(invitation):
            held = self._between.get(link)
            if held is not None:
                held.discard(invitation.id)
                if not held:
                    del self._between[link]

    def _tell(self, invitation: Invitation) -> None:
        if self.on_change is not None:
            self.on_change(invitation)

    def _tell_relationship(self, relationship: Relationship) -> None:
        if self.on_relationship is not None:
            self.on_relationship(relationship)


def check_answer(invitation: Invitation, user: str | None, *, now: float) -> None:
    """Raise what speaks against an answer of `user`: it is for somebody else, too late, or not the first."""
    if user == invitation.inviter:
        raise InvitationForbidden("who made the invitation cannot answer it")
    if invitation.invitee.person_id not in (None, user):
        raise InvitationForbidden("the invitation is for somebody else")
    check_pending(invitation, now=now)


def check_pending(invitation: Invitation, *, now: float) -> None:
    """Raise InvitationTooLate or InvitationConflict unless it still waits for its answer."""
    if invitation.status == "EXPIRED" or (invitation.status == "PENDING" and now >= invitation.expires_at):
        raise InvitationTooLate("the invitation has expired")
    if invitation.status != "PENDING":
        raise InvitationConflict(f"the invitation was {invitation.status.lower()} already")


def pair_relationship_id(tenant: str, user: str, other: str) -> str:
    """What two users share from the first, without anybody having asked: the same whoever is named first."""
    return _digest(*_pair(tenant, user, other))


def contact_relationship_id(tenant: str, inviter: str, contact: str) -> str:
    """What a user and somebody behind an address share until it is known who that is."""
    return _digest(tenant, inviter, "", contact)


def _digest(*parts: str) -> str:
    written = "".join(f"{len(part)}:{part}" for part in parts)
    return "rel_" + blake2b(written.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


def _pair(tenant: str, user: str, other: str) -> tuple[str, str, str]:
    return (tenant, user, other) if user <= other else (tenant, other, user)


def _links(invitation: Invitation) -> set[tuple[str, str, str]]:
    """The pairs for which this invitation's session is the open one."""
    tenant, inviter = invitation.tenant, invitation.inviter
    links = {(tenant, inviter, mark) for mark in invitation.invitee.marks}
    for user in (invitation.invitee.person_id, invitation.invitee.known_as, invitation.responded_by):
        if user is not None:
            links |= {(tenant, inviter, f"user:{user}"), (tenant, user, f"user:{inviter}")}
    return links
