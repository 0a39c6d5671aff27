"""[io] Invitations at work: the session and the messages that one makes, the answers, and the end of its time."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from time import time
from typing import Any, Protocol

import structlog

from signalling import (
    CallEnded,
    Contact,
    Delivery,
    DeliveryState,
    Happening,
    Invitation,
    InvitationAccepted,
    InvitationConflict,
    InvitationCreated,
    InvitationDeclined,
    InvitationExpired,
    InvitationFailed,
    InvitationForbidden,
    Invitations,
    InvitationSent,
    InvitationTooLate,
    Invitee,
    ParticipantJoined,
    Registry,
    Relationship,
    Session,
    SessionEnded,
    UnknownPerson,
    User,
    check_answer,
    check_pending,
)

from .delivery.link import link_of
from .delivery.outbox import JsonObject, Result

log = structlog.get_logger("server.invitations")

KIND = "invitation."
"Before the name of a channel: a kind of delivery in the outbox."
_INVITATION_ID = re.compile("inv_[0-9a-f]{32}")
LONGEST_SLEEP_S = 3600.0  # the clock of the wall may be set; so look at it at least this often


class Post(Protocol):
    """What is needed of the outbox."""

    def put(self, kind: str, tenant: str, lane: str, target: str, payload: JsonObject, *, id: str | None = None) -> str:
        """Take a delivery."""


@dataclass(frozen=True, slots=True)
class Ways:
    """By which channels invitations leave."""

    link: str
    "Template with `{id}`."
    email: str | None = None
    "Channel for an e-mail address: email or webhook; None: none is configured."
    phone: str | None = None
    "Channel for a telephone number: sms, ring or webhook."


class Inviting:
    """Carries out what `signalling.Invitations` decides. `start` follows the sessions, `close` stops.

    All decisions are made at once, without waiting for anything, so that of two answers only one counts.
    """

    def __init__(
        self,
        registry: Registry,
        invitations: Invitations,
        post: Post,
        ways: Ways,
        *,
        stored: Callable[[str], Awaitable[Invitation | None]],
        clock: Callable[[], float] = time,
    ) -> None:
        """`stored` finds the invitations that are over; `clock` says seconds since the epoch."""
        self.registry = registry
        self.invitations = invitations
        self.ways = ways
        self._post = post
        self._stored = stored
        self.clock = clock
        self._timer: asyncio.TimerHandle | None = None
        self._ringing: dict[str, tuple[Invitation, int]] = {}
        "Session -> the invitation that a call carries, and the number of the call."
        self._users: dict[tuple[str, str], dict[str, Session]] = {}
        "(tenant, user) -> live sessions that the user takes or took part in, or is asked to by name."
        self._ends: set[asyncio.Task[None]] = set()

    # What the dialect and the page ask for.

    def link(self, invitation: Invitation) -> str:
        """Where the invited person answers."""
        return link_of(self.ways.link, invitation.id)

    async def find(self, invitation_id: str) -> Invitation | None:
        """The invitation of that id, also one that was answered long ago. StoreUnavailable."""
        if _INVITATION_ID.fullmatch(invitation_id) is None:
            return None
        return self.invitations.get(invitation_id) or await self._stored(invitation_id)

    async def of_session(self, session: Session) -> Invitation | None:
        """The invitation that made a session, also once that has ended. StoreUnavailable."""
        if session.invitation_id is None:
            return None
        return await self.find(session.invitation_id)

    def sessions_of(self, tenant: str, user: str) -> list[Session]:
        """Live sessions that `user` takes or took part in, or is asked to by name."""
        return list(self._users.get((tenant, user), {}).values())

    def create(
        self, tenant: str, user: str, invitee: Invitee, *, owner: str | None = None, context: str | None = None
    ) -> tuple[Session, Invitation]:
        """A session that `user` takes part in and `invitee` is asked to join (C1-C4).

        Raises UnknownPerson, and as Invitations.check does. Waits for no delivery.
        """
        people = self.registry.people
        people.see(tenant, user)
        invitee = self._known(tenant, invitee)
        self.invitations.check(tenant, user, invitee)
        if self._meets(tenant, user, invitee):
            raise InvitationConflict("there is an open session with this person")
        session = self.registry.create(tenant=tenant, made_by="invitations", owner=owner, host=user)
        now = self.clock()
        invitation = self.invitations.invite(tenant, user, invitee, session.id, now=now, context=context)
        session.invitation_id = invitation.id
        session.invited = True
        if invitee.person_id is not None:
            self._index(invitee.person_id, session)
        session.emit(InvitationCreated, invitation=invitation.id, invited_by=user)
        self._send(session, invitation)
        self._arm()
        return session, invitation

    async def accept(self, invitation: Invitation, user: str, *, display_name: str | None = None) -> Session:
        """`user` takes part in the session from now on. Raises as Invitations.accept does."""
        session = self._answerable(invitation, user)
        known = self.registry.people.see(invitation.tenant, user, display_name=display_name)
        self.invitations.accept(invitation, user, now=self.clock())
        session.invited = False
        session.emit(InvitationAccepted, invitation=invitation.id, user=user)
        if session.participant(user) is None:
            session.join(user, display_name=known.display_name)
        return session

    async def decline(self, invitation: Invitation, user: str | None, reason: str | None = None) -> Session:
        """The session ends as abandoned, unless somebody else came into it. Raises as Invitations.decline does."""
        session = self._answerable(invitation, user)
        self.invitations.decline(invitation, user, reason, now=self.clock())
        session.emit(InvitationDeclined, invitation=invitation.id, reason=reason)
        if session.invited:
            await session.end(by=user, cause="the invitation was declined")
        return session

    def resend(self, invitation: Invitation, user: str) -> None:
        """Deliver it once more. Raises as Invitations.resend does."""
        if user != invitation.inviter:
            raise InvitationForbidden("only who made the invitation can send it again")
        session = self._open(invitation)
        self.invitations.resend(invitation, user, now=self.clock())
        self._send(session, invitation)
        self._arm()

    def expired(self, invitation: Invitation) -> bool:
        """Whether it is too late to answer."""
        pending = invitation.status == "PENDING"
        return invitation.status == "EXPIRED" or (pending and self.clock() >= invitation.expires_at)

    def name_of_inviter(self, invitation: Invitation) -> str:
        """The name that the invited person is told."""
        user = self.registry.people.get(invitation.tenant, invitation.inviter)
        return (user and user.display_name) or invitation.inviter

    # What the outbox tells.

    def on_result(self, result: Result) -> None:
        """Note how an attempt went: in the invitation, in the events of its session, in the log."""
        invitation = self.invitations.get(str(result.payload.get("invitation")))
        if invitation is None or result.payload.get("sending") != invitation.sending:
            return
        if invitation.status != "PENDING":
            return  # there was nothing left to send
        noted = invitation.deliveries.get(result.payload["to"])
        if noted is None or (noted.by == "ring" and noted.state == "FAILED"):
            return  # the call failed while it was noted as begun
        if result.state == "delivered":
            self._note(invitation, noted, "SENT")
            self._session(invitation).emit(InvitationSent, invitation=invitation.id, by=noted.by)
        elif result.state == "dead":
            self._failed(invitation, noted, result.error or "given up")
        else:
            self._note(invitation, noted, "RETRYING", result.error)

    def _failed(self, invitation: Invitation, delivery: Delivery, reason: str) -> None:
        self._note(invitation, delivery, "FAILED", reason)
        self._session(invitation).emit(InvitationFailed, invitation=invitation.id, by=delivery.by, reason=reason)
        log.warning("invitation_failed", invitation=invitation.id, by=delivery.by, reason=reason)

    def _note(self, invitation: Invitation, before: Delivery, state: DeliveryState, error: str | None = None) -> None:
        self.invitations.note(invitation, Delivery(before.to, before.by, state, error, self.clock()))

    def rings(self, invitation: Invitation, session: Session) -> None:
        """The newest call of `session` carries the invitation: who answers it accepts."""
        self._note(invitation, Delivery("phone", "ring"), "PENDING")
        self._ringing[session.id] = (invitation, len(session.calls) - 1)

    # Life.

    def restore(self, invitations: Iterable[Invitation], relationships: Iterable[Relationship]) -> None:
        """Take what is stored: to be called once the sessions are restored, before `start`."""
        taken = []
        for invitation in invitations:
            session = self.registry.get(invitation.session_id)
            if session is None or session.ended:
                continue
            session.invitation_id = invitation.id
            session.invited = invitation.status == "PENDING" and all(
                participant.user == invitation.inviter for participant in session.participants
            )
            invitation.invitee = self._recognised(invitation.tenant, invitation.invitee)
            taken.append(invitation)
        self.invitations.restore(taken, relationships)

    def start(self) -> None:
        """Follow the sessions from now on, those that are restored already too."""
        for session in self.registry.sessions():
            for participant in session.participants:
                self._index(participant.user, session)
            invitation = self.invitations.of_session(session.id)
            if invitation is not None and invitation.invitee.person_id is not None:
                self._index(invitation.invitee.person_id, session)
        self.registry.bus.follow(self._follow, ParticipantJoined, SessionEnded, CallEnded)
        self._arm()

    async def close(self) -> None:
        """Stop; what waits for an answer is left for the next start."""
        self.registry.bus.unfollow(self._follow)
        if self._timer is not None:
            self._timer.cancel()
        if self._ends:
            await asyncio.wait(self._ends)

    # Inside.

    def _session(self, invitation: Invitation) -> Session:
        session = self.registry.get(invitation.session_id)
        assert session is not None, "an invitation is let go with its session"
        return session

    def _answerable(self, invitation: Invitation, user: str | None) -> Session:
        """The session of an invitation that `user` may answer now."""
        check_answer(invitation, user, now=self.clock())
        return self._open(invitation)

    def _open(self, invitation: Invitation) -> Session:
        check_pending(invitation, now=self.clock())
        session = self.registry.get(invitation.session_id)
        if session is None or session.ended or self.invitations.get(invitation.id) is not invitation:
            raise InvitationTooLate("the session has ended")
        return session

    def _index(self, user: str, session: Session) -> None:
        self._users.setdefault((session.tenant, user), {})[session.id] = session

    def _known(self, tenant: str, invitee: Invitee) -> Invitee:
        """With what the directory knows of the person."""
        people = self.registry.people
        if invitee.person_id is not None:
            person = people.get(tenant, invitee.person_id)
            if person is None:
                raise UnknownPerson("personId: there is no such person")
            return Invitee(person.id, person.email, person.phone, invitee.name)
        return self._recognised(tenant, invitee)

    def _recognised(self, tenant: str, invitee: Invitee) -> Invitee:
        """With the user who has that address or number, if one is known."""
        people = self.registry.people
        found: User | None = people.by_email(tenant, invitee.email) if invitee.email else None
        if found is None and invitee.phone:
            found = people.by_phone(tenant, invitee.phone)
        if found is None or invitee.person_id is not None:
            return invitee
        return Invitee(None, invitee.email, invitee.phone, invitee.name, found.id)

    def _meets(self, tenant: str, user: str, invitee: Invitee) -> bool:
        """Whether the two have a session of their own already, made in whichever dialect (C14)."""
        other = invitee.person_id or invitee.known_as
        if other is None:
            return False
        of_both = (self._users.get((tenant, party), {}) for party in (user, other))
        pair = {user, other}
        return any(
            {participant.user for participant in session.participants} == pair
            for session in min(of_both, key=len).values()
        )

    def _send(self, session: Session, invitation: Invitation) -> None:
        """Put the messages of one sending into the outbox; without a way for them the link is all there is."""
        invitee = invitation.invitee
        wanted: Sequence[tuple[Contact, str | None, str | None]] = (
            ("email", self.ways.email, invitee.email),
            ("phone", self.ways.phone, invitee.phone),
        )
        chosen = [(to, by, target) for to, by, target in wanted if by is not None and target is not None]
        if invitee.person_id is not None:
            chosen = chosen[:1]  # a person of ours needs no message twice
        for to, by, target in chosen:
            self._note(invitation, Delivery(to, by), "PENDING")
            self._post.put(
                KIND + by,
                invitation.tenant,
                f"{invitation.id}/{to}",
                target,
                {"invitation": invitation.id, "sending": invitation.sending, "to": to},
                id=f"{invitation.id}/{to}/{invitation.sending}",
            )
        if not chosen:
            session.emit(InvitationSent, invitation=invitation.id, by="link")
        log.info(
            "invitation_sent",
            session=session.id,
            invitation=invitation.id,
            sending=invitation.sending,
            by=[by for _, by, _ in chosen] or ["link"],
            link=self.link(invitation) if not chosen else None,
        )

    def _follow(self, happening: Happening) -> None:
        """Called within the event: it only looks, and does what must be done a moment later."""
        kind, session = happening.kind, happening.session
        if kind is ParticipantJoined:
            user = happening.fields["user"]
            self._index(user, session)
            if session.invitation_id is not None and user != session.host:
                self._soon(self._came, session, user)
        elif kind is SessionEnded:
            self._soon(self._over, session)
        elif kind is CallEnded and session.id in self._ringing:
            self._soon(self._rang_off, session, happening.fields)

    def _soon(self, act: Callable[..., None], *args: Any) -> None:
        asyncio.get_running_loop().call_soon(act, *args)

    def _came(self, session: Session, user: str) -> None:
        """Somebody came into the session by another door: who answers the phone, or is asked by name, accepts."""
        invitation = self.invitations.of_session(session.id)
        if session.ended or invitation is None:
            return
        session.invited = False
        rung = session.id in self._ringing
        person = invitation.invitee.person_id
        if (rung or user == person) and invitation.status == "PENDING" and not self.expired(invitation):
            self.invitations.accept(invitation, person or user, now=self.clock())
            session.emit(InvitationAccepted, invitation=invitation.id, user=user)

    def _rang_off(self, session: Session, call: Mapping[str, Any]) -> None:
        """The call that carried an invitation is over: unanswered it has failed, answered it was the session."""
        invitation, index = self._ringing[session.id]
        if call["call"] != index:
            return
        del self._ringing[session.id]
        if session.ended:
            return
        if invitation.status == "PENDING":
            self._failed(invitation, Delivery("phone", "ring"), f"{call['status']} {call['reason']}")
        elif all(participant.user == session.host for participant in session.present()):
            self._end(session, "the call ended")

    def _over(self, session: Session) -> None:
        users = {participant.user for participant in session.participants}
        invitation = self.invitations.close(session.id, now=self.clock())
        if invitation is not None and invitation.invitee.person_id is not None:
            users.add(invitation.invitee.person_id)
        for user in users:
            held = self._users.get((session.tenant, user))
            if held is not None:
                held.pop(session.id, None)
                if not held:
                    del self._users[session.tenant, user]
        self._ringing.pop(session.id, None)

    def _end(self, session: Session, cause: str) -> None:
        async def end() -> None:
            if not session.ended:
                await session.end(cause=cause)

        task = asyncio.get_running_loop().create_task(end())
        self._ends.add(task)
        task.add_done_callback(self._ends.discard)

    # Time.

    def _arm(self) -> None:
        """Set the timer for the next invitation whose time runs out."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        deadline = self.invitations.deadline
        if deadline is not None:
            wait_s = min(max(deadline - self.clock(), 0.0), LONGEST_SLEEP_S)
            self._timer = asyncio.get_running_loop().call_later(wait_s, self.run_out)

    def run_out(self) -> None:
        """End what nobody answered in time; their sessions are abandoned unless somebody came otherwise."""
        for invitation in self.invitations.expire(self.clock()):
            session = self.registry.get(invitation.session_id)
            if session is None or session.ended:
                continue
            session.emit(InvitationExpired, invitation=invitation.id)
            if session.invited:
                self._end(session, "the invitation expired")
        self._arm()
