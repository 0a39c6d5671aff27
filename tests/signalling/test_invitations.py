"""The rules of invitations, by a clock that is passed in."""

from __future__ import annotations

import itertools

import pytest

from signalling import (
    Delivery,
    Invitation,
    InvitationConflict,
    InvitationForbidden,
    InvitationInvalid,
    Invitations,
    InvitationTooLate,
    Invitee,
    Relationship,
    TooManyInvitations,
    contact_relationship_id,
)

TENANT = "default/default"
DAY = 86_400.0
EMAIL = Invitee(email="partner@example.com", name="Alex")
BOB = Invitee(person_id="bob")


class Desk:
    """Invitations with a clock, and what they asked to be stored."""

    def __init__(self, max_pending_of_user: int = 1000) -> None:
        self.now = 1_000_000.0
        self.book = Invitations(max_pending_of_user=max_pending_of_user)
        self.stored: list[tuple[str, str]] = []
        self.relationships: list[Relationship] = []
        self.book.on_change = lambda invitation: self.stored.append((invitation.id, invitation.status))
        self.book.on_relationship = self.relationships.append
        self._sessions = itertools.count(1)

    def invite(self, invitee: Invitee = EMAIL, by: str = "alice", tenant: str = TENANT) -> Invitation:
        return self.book.invite(
            tenant, by, invitee, str(next(self._sessions)), now=self.now, context="between you and me"
        )

    def accept(self, invitation: Invitation, user: str = "bob") -> None:
        self.book.accept(invitation, user, now=self.now)

    def end(self, invitation: Invitation) -> None:
        self.book.close(invitation.session_id, now=self.now)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_c17_a_new_invitation_waits_for_seven_days(desk: Desk) -> None:
    invitation = desk.invite()
    assert invitation.status == "PENDING"
    assert invitation.expires_at == desk.now + 7 * DAY
    assert desk.book.deadline == invitation.expires_at
    assert len(invitation.id) == len("inv_") + 32
    assert desk.stored == [(invitation.id, "PENDING")]


def test_c17_it_expires_once_and_not_before_its_time(desk: Desk) -> None:
    invitation = desk.invite()
    assert desk.book.expire(invitation.expires_at - 0.001) == []
    assert desk.book.expire(invitation.expires_at) == [invitation]
    assert invitation.status == "EXPIRED"
    assert desk.book.expire(invitation.expires_at + DAY) == []
    assert desk.book.deadline is None


def test_c17_nobody_can_accept_when_the_time_is_over_even_before_the_timer(desk: Desk) -> None:
    invitation = desk.invite()
    desk.now = invitation.expires_at
    with pytest.raises(InvitationTooLate) as refused:
        desk.accept(invitation)
    assert (refused.value.status, refused.value.code) == (410, "INVITATION_EXPIRED")


def test_c17_the_first_answer_counts(desk: Desk) -> None:
    invitation = desk.invite()
    desk.accept(invitation)
    assert (invitation.status, invitation.responded_by) == ("ACCEPTED", "bob")
    with pytest.raises(InvitationConflict):
        desk.accept(invitation, "carol")
    with pytest.raises(InvitationConflict):
        desk.book.decline(invitation, "bob", None, now=desk.now)
    assert desk.book.deadline is None


def test_c17_a_declined_one_keeps_its_reason(desk: Desk) -> None:
    invitation = desk.invite()
    desk.book.decline(invitation, None, "no time", now=desk.now)
    assert (invitation.status, invitation.decline_reason) == ("DECLINED", "no time")
    with pytest.raises(InvitationConflict):
        desk.accept(invitation)


def test_c17_the_inviter_cannot_answer(desk: Desk) -> None:
    invitation = desk.invite()
    with pytest.raises(InvitationForbidden):
        desk.accept(invitation, "alice")
    with pytest.raises(InvitationForbidden):
        desk.book.decline(invitation, "alice", None, now=desk.now)


def test_c17_who_is_asked_by_name_alone_can_answer(desk: Desk) -> None:
    invitation = desk.invite(BOB)
    with pytest.raises(InvitationForbidden):
        desk.accept(invitation, "carol")
    with pytest.raises(InvitationForbidden):
        desk.book.decline(invitation, None, None, now=desk.now)
    desk.accept(invitation)


def test_c17_resend_is_for_the_inviter_a_day_later_three_times(desk: Desk) -> None:
    invitation = desk.invite()
    with pytest.raises(InvitationForbidden):
        desk.book.resend(invitation, "bob", now=desk.now + DAY)
    with pytest.raises(TooManyInvitations) as refused:
        desk.book.resend(invitation, "alice", now=desk.now + DAY - 10)
    assert refused.value.retry_after_s == 11
    for sent in (1, 2, 3):
        desk.now += DAY
        desk.book.resend(invitation, "alice", now=desk.now)
        assert (invitation.resent_count, invitation.expires_at) == (sent, desk.now + 7 * DAY)
    with pytest.raises(InvitationConflict):
        desk.book.resend(invitation, "alice", now=desk.now + DAY)


def test_c17_resend_puts_the_end_off(desk: Desk) -> None:
    invitation = desk.invite()
    first_end = invitation.expires_at
    desk.book.resend(invitation, "alice", now=desk.now + 2 * DAY)
    assert desk.book.expire(first_end) == []
    assert desk.book.deadline == first_end + 2 * DAY


def test_one_that_never_arrived_is_sent_again_at_once(desk: Desk) -> None:
    invitation = desk.invite()
    desk.book.note(invitation, Delivery("email", "email", "FAILED", "422 no such address", desk.now))
    desk.book.resend(invitation, "alice", now=desk.now + 1)
    assert invitation.resent_count == 1


@pytest.mark.parametrize("answer", ["accepted", "expired"])
def test_c17_what_waits_no_longer_is_not_sent_again(desk: Desk, answer: str) -> None:
    invitation = desk.invite()
    if answer == "accepted":
        desk.accept(invitation)
    else:
        desk.book.expire(invitation.expires_at)
    with pytest.raises((InvitationConflict, InvitationTooLate)):
        desk.book.resend(invitation, "alice", now=desk.now + 2 * DAY)


@pytest.mark.parametrize(
    "again",
    [
        Invitee(email="PARTNER@example.com"),
        Invitee(email="partner@example.com", phone="+33199001234"),
        Invitee(email="other@example.com", known_as="pat"),
        Invitee(person_id="pat"),
    ],
)
def test_c14_the_same_person_cannot_be_asked_twice(desk: Desk, again: Invitee) -> None:
    desk.invite(Invitee(email="partner@example.com", known_as="pat"))
    with pytest.raises(InvitationConflict) as refused:
        desk.invite(again)
    assert (refused.value.status, refused.value.code) == (409, "CONFLICT")


def test_c14_nor_can_the_one_who_asked_be_asked_back(desk: Desk) -> None:
    desk.invite(BOB)
    with pytest.raises(InvitationConflict):
        desk.invite(Invitee(person_id="alice"), by="bob")
    desk.invite(Invitee(person_id="carol"), by="bob")


def test_c14_an_accepted_one_is_a_conflict_until_its_session_ends(desk: Desk) -> None:
    invitation = desk.invite()
    desk.accept(invitation)
    for invitee, by in ((EMAIL, "alice"), (BOB, "alice"), (Invitee(person_id="alice"), "bob")):
        with pytest.raises(InvitationConflict):
            desk.invite(invitee, by=by)
    desk.end(invitation)
    desk.invite(BOB)


@pytest.mark.parametrize("how", ["declined", "expired", "closed"])
def test_c14_after_its_end_the_person_can_be_asked_again(desk: Desk, how: str) -> None:
    invitation = desk.invite()
    if how == "declined":
        desk.book.decline(invitation, "bob", None, now=desk.now)
    elif how == "expired":
        desk.book.expire(invitation.expires_at)
    else:
        desk.end(invitation)
        assert invitation.status == "EXPIRED"
    desk.invite()


def test_c14_other_users_and_tenants_do_not_matter(desk: Desk) -> None:
    desk.invite()
    desk.invite(by="carol")
    desk.invite(tenant="other/app")


@pytest.mark.parametrize("invitee", [Invitee(person_id="alice"), Invitee(email="a@example.com", known_as="alice")])
def test_c15_nobody_invites_themselves(desk: Desk, invitee: Invitee) -> None:
    with pytest.raises(InvitationInvalid) as refused:
        desk.invite(invitee)
    assert (refused.value.status, refused.value.code) == (400, "VALIDATION_ERROR")


def test_a_user_has_a_bounded_number_of_open_invitations() -> None:
    desk = Desk(max_pending_of_user=2)
    first = desk.invite(Invitee(email="a@example.com"))
    second = desk.invite(Invitee(email="b@example.com"))
    with pytest.raises(TooManyInvitations):
        desk.invite(Invitee(email="c@example.com"))
    desk.accept(first)
    desk.invite(Invitee(email="c@example.com"))
    desk.end(first)
    desk.end(second)
    desk.invite(Invitee(email="d@example.com"))
    with pytest.raises(TooManyInvitations):
        desk.invite(Invitee(email="e@example.com"))


def test_c10_context_and_reason_are_not_in_what_is_logged(desk: Desk) -> None:
    invitation = desk.invite()
    desk.book.decline(invitation, "bob", "private words", now=desk.now)
    assert "between you and me" not in repr(invitation)
    assert "private words" not in repr(invitation)


# Relationships.


def test_a_relationship_is_the_same_from_both_sides_and_of_no_other_two(desk: Desk) -> None:
    between = desk.book.relationship_id
    assert between(TENANT, "alice", "bob") == between(TENANT, "bob", "alice")
    others = {between(TENANT, "alice", "carol"), between("other/app", "alice", "bob"), between(TENANT, "alicebo", "b")}
    assert len(others | {between(TENANT, "alice", "bob")}) == 4
    assert desk.invite(BOB).relationship_id == between(TENANT, "alice", "bob")


def test_a_relationship_that_began_with_a_contact_keeps_its_id(desk: Desk) -> None:
    invitation = desk.invite()
    began = invitation.relationship_id
    assert began == contact_relationship_id(TENANT, "alice", "email:partner@example.com")
    desk.accept(invitation)
    assert invitation.relationship_id == began == desk.book.relationship_id(TENANT, "bob", "alice")
    desk.end(invitation)
    assert desk.invite(BOB).relationship_id == began
    assert desk.relationships[1] == Relationship(
        began, TENANT, "alice", "bob", "email:partner@example.com", invitation.created_at
    )


def test_two_contacts_of_the_same_user_lead_to_one_relationship(desk: Desk) -> None:
    first = desk.invite()
    desk.accept(first)
    desk.end(first)
    second = desk.invite(Invitee(phone="+33199001234"))
    assert second.relationship_id != first.relationship_id
    desk.accept(second)
    assert second.relationship_id == first.relationship_id


def test_restored_ones_keep_rules_deadline_and_relationships(desk: Desk) -> None:
    pending, accepted = desk.invite(), desk.invite(Invitee(phone="+33199001234"))
    desk.accept(accepted)
    again = Invitations()
    again.restore([pending, accepted], desk.relationships)
    assert again.deadline == pending.expires_at
    assert again.get(pending.id) is again.of_session(pending.session_id) is pending
    assert again.relationship_id(TENANT, "bob", "alice") == accepted.relationship_id
    with pytest.raises(InvitationConflict):
        again.check(TENANT, "alice", EMAIL)
    with pytest.raises(InvitationConflict):
        again.check(TENANT, "bob", Invitee(person_id="alice"))
    assert again.expire(pending.expires_at) == [pending]
    again.close(accepted.session_id, now=desk.now)
    again.close(pending.session_id, now=desk.now)
    assert len(again) == 0
    again.check(TENANT, "alice", BOB)
