"""Browsers on the signalling channel with media: calls, gatherings, reloads. Ladders in virtual time (point 9-11)."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from signalling import (
    BadRequest,
    Extension,
    NotRegistered,
    OriginateRequest,
    Pattern,
    Session,
    SessionNotActive,
    User,
    WrongState,
)
from signalling.browser_calls import BrowserLine, BrowserRinging
from sip import ANSWERED_ELSEWHERE
from tests.flows.browsers import TENANT, Page, Pages
from tests.flows.house import ADMIN, House, route, sim, trunk
from tests.media.fake import FakeMediaEngine
from tests.sim.fixture import Sim
from tests.sim.phones import PhoneCall, SimPhone

__all__ = ["sim"]


class Scene:
    """A server, its channel, and whoever is there."""

    def __init__(self, sim: Sim, **house: Any) -> None:
        self.sim = sim
        self.house = House(sim, **house)
        self.pages = Pages(self.house)

    def page(self, user: str = "ann") -> Page:
        return self.pages.page(user)

    def session(self, page: Page) -> Session:
        session = self.house.registry.get(page.session)
        assert session is not None
        return session

    @property
    def joined(self) -> list[tuple[str, int]]:
        """What joins legs: kind, and how many."""
        found = {id(leg.attached): leg.attached for leg in self.house.media.live if leg.attached is not None}
        return sorted((each.kind, len(each.legs)) for each in found.values())

    def nothing_left(self) -> None:
        assert self.house.quiet() == {}
        assert self.house.media.live == []


@pytest.fixture
def scene(sim: Sim) -> Scene:
    return Scene(sim)


def call_phone(scene: Scene, page: Page, phone: SimPhone, **fields: Any) -> PhoneCall:
    """The page calls a phone, which rings."""
    page.result(type="call", number=phone.user, sdp=page.sdp(), **fields)
    scene.sim.run_until(lambda: phone.calls)
    scene.sim.run_for(0.5)
    return phone.call


def talking(scene: Scene) -> tuple[Page, PhoneCall]:
    """Ann's browser has called the phone 1002, and both talk."""
    phone, page = scene.house.phone("1002"), scene.page("ann")
    call = call_phone(scene, page, phone)
    call.accept()
    page.await_frame("answer")
    scene.sim.run_for(0.5)
    assert scene.joined == [("bridge", 2)]
    return page, call


def gathering(scene: Scene, *users: str) -> list[Page]:
    """Users who joined a new session with media."""
    pages = [scene.page(user) for user in users]
    joined = pages[0].result(type="join")
    session = joined["session"]
    assert not joined["media"]
    for page in pages[1:]:
        page.result(type="join", session=session)
    for page in pages:
        page.result(type="offer", sdp=page.sdp())
    scene.sim.run_for(0.1)
    return pages


# A browser calls.


def test_f2_a_browser_calls_a_phone(scene: Scene) -> None:
    phone, page = scene.house.phone("1002"), scene.page("ann")
    call = call_phone(scene, page, phone, name="Ann A.")
    assert call.invite is not None
    assert call.invite.get("From").startswith('"Ann A." <sip:1001@')
    assert page.kinds() == ["session.started", "participant.joined", "leg.dialled", "leg.ringing"]
    assert page.told("answer") == []
    call.accept()
    assert "m=audio" in page.await_frame("answer")["sdp"]
    scene.sim.run_for(0.5)
    assert page.kinds()[4:] == ["leg.answered", "participant.joined", "call.bridged"]
    assert scene.joined == [("bridge", 2)]
    call.bye()
    assert page.await_frame("ended")["reason"] == "hung up"
    assert page.kinds()[-1] == "session.ended"
    assert len(page.told("answer")) == 1
    scene.nothing_left()


def test_f2_early_media_answers_the_offer_before_the_callee_does(scene: Scene) -> None:
    phone, page = scene.house.phone("1002"), scene.page("ann")
    phone.script.ring_status, phone.script.early_sdp = 183, True
    call = call_phone(scene, page, phone)
    assert len(page.told("answer")) == 1
    assert scene.joined == [("bridge", 2)]
    assert "call.bridged" not in page.kinds()
    call.accept()
    scene.sim.run_for(0.5)
    assert len(page.told("answer")) == 1
    assert "call.bridged" in page.kinds()
    page.result(type="hangup")
    scene.sim.run_until(lambda: call.state == "ended")
    scene.nothing_left()


def test_f2_hang_up_before_the_answer_cancels(scene: Scene) -> None:
    phone, page = scene.house.phone("1002"), scene.page("ann")
    call = call_phone(scene, page, phone)
    page.result(type="hangup")
    scene.sim.run_until(lambda: call.state == "ended")
    assert "CANCEL" in call.received
    scene.nothing_left()


def test_f2_a_busy_callee_is_told(scene: Scene) -> None:
    phone, page = scene.house.phone("1002"), scene.page("ann")
    phone.script.refuse = 486
    page.result(type="call", number="1002", sdp=page.sdp())
    assert page.await_frame("ended")["status"] == 486
    scene.nothing_left()


def test_f2_a_browser_calls_the_echo_test(scene: Scene) -> None:
    page = scene.page("cleo")
    session = page.result(type="call", number="600", sdp=page.sdp())["session"]
    page.await_frame("answer")
    assert scene.joined == [("echo", 1)]
    page.result(type="hangup", session=session)
    scene.nothing_left()


def test_f2_what_is_no_use_as_an_offer_is_refused_and_leaves_nothing(scene: Scene) -> None:
    page = scene.page("ann")
    assert page.refusal(type="call", number="600") == "BAD_REQUEST"
    assert page.refusal(type="call", number="600", sdp="v=0") == "MEDIA_REFUSED"
    assert page.refusal(type="call", number="1003", sdp=page.sdp()) == "NOT_REGISTERED"
    assert page.refusal(type="call", number="nobody", sdp=page.sdp()) == "NO_ROUTE"
    page.result(type="join")
    assert page.refusal(type="offer", sdp="v=0") == "MEDIA_REFUSED"
    assert page.refusal(type="answer", sdp=page.sdp()) == "WRONG_STATE"
    assert page.refusal(type="candidate", candidate=None) == "WRONG_STATE"
    assert page.refusal(type="accept", call="x", sdp=page.sdp()) == "UNKNOWN_CALL"
    assert page.refusal(type="reject", call="x") == "UNKNOWN_CALL"
    assert scene.house.media.live == []


def trunk_scene(sim: Sim) -> tuple[Scene, SimPhone]:
    """Ann's extension may dial +33, Cleo has none."""
    extensions = [Extension("1001", patterns=(Pattern.parse("+33."),)), Extension("1002")]
    scene = Scene(sim, extensions=extensions, trunks=[trunk("alpha")], routes=[route(".", "alpha")])
    return scene, scene.house.carrier("alpha")


def test_11_a_browser_calls_out_as_its_extension_may(sim: Sim) -> None:
    scene, carrier = trunk_scene(sim)
    page = scene.page("ann")
    page.result(type="call", number="+33123", sdp=page.sdp())
    sim.run_until(lambda: carrier.calls)
    carrier.call.accept()
    page.await_frame("answer")
    assert scene.session(page).call.trunk == "alpha"
    page.result(type="hangup")
    sim.run_until(lambda: carrier.call.state == "ended")
    assert scene.house.lines["alpha"].slots.in_use == 0
    scene.nothing_left()


def test_11_who_may_not_dial_a_number_makes_no_trunk_leg(sim: Sim) -> None:
    scene, carrier = trunk_scene(sim)
    ann, cleo = scene.page("ann"), scene.page("cleo")
    assert ann.refusal(type="call", number="+44123", sdp=ann.sdp()) == "NOT_ALLOWED"
    assert cleo.refusal(type="call", number="+33123", sdp=cleo.sdp()) == "NOT_ALLOWED"
    assert cleo.refusal(type="call", number="+33123", trunk="alpha", sdp=cleo.sdp()) == "NOT_ALLOWED"
    assert ann.refusal(type="call", number="+33123", caller="1002", sdp=ann.sdp()) == "NOT_ALLOWED"
    sim.run_for(5)
    assert carrier.calls == []
    assert scene.house.media.live == []


def test_11_a_caller_id_is_for_a_named_trunk(sim: Sim) -> None:
    scene, carrier = trunk_scene(sim)
    page = scene.page("ann")
    page.result(type="call", number="+33123", trunk="alpha", caller="+33555", sdp=page.sdp())
    sim.run_until(lambda: carrier.calls)
    assert carrier.call.invite is not None
    assert "sip:+33555@" in carrier.call.invite.get("From")
    page.result(type="hangup")
    scene.nothing_left()


def test_11_an_extension_has_no_more_calls_than_it_may(sim: Sim) -> None:
    scene = Scene(sim, extensions=[Extension("1001", max_calls=1), Extension("1002")])
    page = scene.page("ann")
    first = page.result(type="call", number="600", sdp=page.sdp())["session"]
    assert page.refusal(type="call", number="600", sdp=page.sdp()) == "LIMIT_REACHED"
    page.result(type="hangup", session=first)
    sim.run_for(0.1)
    page.result(type="call", number="600", sdp=page.sdp())


# A browser is called.


def test_f2_a_call_rings_phone_and_browsers_and_the_first_answer_wins(scene: Scene) -> None:
    caller, phone = scene.house.phone("1001"), scene.house.phone("1002")
    one, two = scene.page("ben"), scene.page("ben")
    call = caller.invite("1002")
    incoming = one.await_frame("incoming")
    scene.sim.run_until(lambda: phone.calls and call.state == "ringing")
    assert (incoming["from"], incoming["session"]) == ("1001", two.told("incoming")[0]["session"])
    assert "m=audio" in incoming["sdp"]
    session = one.result(type="accept", call=incoming["call"], sdp=one.sdp())
    assert session["session"] == incoming["session"]
    scene.sim.run_until(lambda: call.state == "talking")
    assert two.await_frame("cancelled")["code"] == "ANSWERED_ELSEWHERE"
    scene.sim.run_until(lambda: phone.call.state == "ended")
    assert two.refusal(type="accept", call=incoming["call"], sdp=two.sdp()) == "UNKNOWN_CALL"
    assert scene.joined == [("bridge", 2)]
    assert [who.user for who in scene.session(one).present()] == ["ann", "ben"]
    one.result(type="candidate", candidate="candidate:1 1 udp 1 192.0.2.9 9 typ host")
    one.result(type="candidate")
    assert scene.house.media.live[-1].candidates[1:] == [None]
    one.result(type="hangup")
    scene.sim.run_until(lambda: call.state == "ended")
    scene.nothing_left()


def test_f2_the_phone_answers_first(scene: Scene) -> None:
    caller, phone, page = scene.house.phone("1001"), scene.house.phone("1002"), scene.page("ben")
    call = caller.invite("1002")
    page.await_frame("incoming")
    scene.sim.run_until(lambda: phone.calls)
    phone.call.accept()
    assert page.await_frame("cancelled")["code"] == "ANSWERED_ELSEWHERE"
    scene.sim.run_until(lambda: call.state == "talking")
    assert scene.joined == [("bridge", 2)]
    call.bye()
    scene.nothing_left()


def test_f2_the_caller_gives_up(scene: Scene) -> None:
    caller, page = scene.house.phone("1001"), scene.page("ben")
    call = caller.invite("1002")
    incoming = page.await_frame("incoming")
    call.cancel()
    cancelled = page.await_frame("cancelled")
    assert (cancelled["call"], cancelled["code"]) == (incoming["call"], "CANCELLED")
    scene.nothing_left()


def test_f2_reject_refuses_for_all_browsers_of_the_user(scene: Scene) -> None:
    caller, one, two = scene.house.phone("1001"), scene.page("ben"), scene.page("ben")
    call = caller.invite("1002")
    one.result(type="reject", call=one.await_frame("incoming")["call"])
    assert two.await_frame("cancelled")["code"] == "REJECTED_ELSEWHERE"
    scene.sim.run_until(lambda: call.state == "ended")
    assert "486 INVITE" in call.received
    scene.nothing_left()


def test_f2_nobody_answers(scene: Scene) -> None:
    caller, page = scene.house.phone("1001"), scene.page("ben")
    call = caller.invite("1002")
    page.await_frame("incoming")
    scene.sim.run_until(lambda: call.state == "ended", limit_s=90)
    assert page.told("cancelled")[0]["code"] == "CANCELLED"
    assert "480 INVITE" in call.received
    scene.nothing_left()


def test_f2_a_page_that_comes_while_it_rings_rings_too(scene: Scene) -> None:
    caller, first = scene.house.phone("1001"), scene.page("ben")
    call = caller.invite("1002")
    first.await_frame("incoming")
    first.lose()
    again = scene.page("ben")
    incoming = again.await_frame("incoming")
    again.result(type="accept", call=incoming["call"], sdp=again.sdp())
    scene.sim.run_until(lambda: call.state == "talking")
    call.bye()
    scene.nothing_left()


def test_f2_browsers_call_each_other_by_user(scene: Scene) -> None:
    ann, dan = scene.page("ann"), scene.page("dan")
    ann.result(type="call", number="dan", sdp=ann.sdp())
    incoming = dan.await_frame("incoming")
    assert (incoming["from"], incoming["display_name"]) == ("1001", "Ann")
    dan.result(type="accept", call=incoming["call"], sdp=dan.sdp())
    ann.await_frame("answer")
    scene.sim.run_for(0.1)
    assert scene.joined == [("bridge", 2)]
    assert [who.user for who in scene.session(ann).present()] == ["ann", "dan"]
    dan.result(type="leave")
    ann.await_frame("ended")
    scene.nothing_left()


def test_f2_a_user_is_called_by_its_handle_too(scene: Scene) -> None:
    people = scene.house.switch.people
    people.put(User(TENANT, "u-77", 0, "zoe"))
    ann, zoe = scene.page("ann"), scene.page("dan")
    people.put(replace(people.see(TENANT, "dan"), handle="daniel"))
    for known in ("dan", "daniel"):
        session = ann.result(type="call", number=known, sdp=ann.sdp())["session"]
        scene.sim.run_for(0.1)
        assert zoe.told("incoming")[-1]["session"] == session
        ann.result(type="hangup")
        scene.sim.run_for(0.1)
    assert ann.refusal(type="call", number="zoe", sdp=ann.sdp()) == "NO_ROUTE"  # is not connected
    people.put(replace(people.see(TENANT, "u-77"), handle="daniel"))
    assert ann.refusal(type="call", number="daniel", sdp=ann.sdp()) == "BAD_REQUEST"  # which of the two?
    people.put(replace(people.see(TENANT, "u-77"), handle="dan"))
    ann.result(type="call", number="dan", sdp=ann.sdp())
    zoe.await_frame("incoming", 3)  # an id comes before a handle


def test_f2_the_api_calls_with_a_browser_as_the_caller(scene: Scene) -> None:
    page, phone = scene.page("ann"), scene.house.phone("1002")
    session = scene.house.originate(send_sdp=False)
    incoming = page.await_frame("incoming")
    assert incoming["sdp"] is None
    page.result(type="accept", call=incoming["call"], sdp=page.sdp())
    page.await_frame("answer")
    scene.sim.run_until(lambda: phone.calls)
    phone.call.accept()
    scene.sim.run_for(1)
    assert scene.joined == [("bridge", 2)]
    scene.sim.run(session.end())
    page.await_frame("ended")
    scene.nothing_left()


class Ear:
    """A connection that is told things, and a listener of a call."""

    def __init__(self) -> None:
        self.frames: list[Any] = []
        self.events: list[object] = []

    def tell(self, frame: Any) -> None:
        self.frames.append(frame)

    def hear(self, event: object) -> None:
        self.events.append(event)


def test_f2_who_accepts_when_another_has_answered_is_hung_up() -> None:
    ear, late = Ear(), []
    media = FakeMediaEngine().create_leg(webrtc=True)
    ringing = BrowserRinging(("t", "ben"), {"session": "1", "sdp": "v=0"}, media, ear.hear)
    ringing.on_surplus = lambda: late.append(True)
    ringing.start([ear])
    ringing.accept(BrowserLine("1", ear), "v=0")
    ringing.cancel(0.0, ANSWERED_ELSEWHERE)
    assert [frame["type"] for frame in ear.frames] == ["incoming", "ended"]
    assert ear.frames[1] == {"type": "ended", "session": "1", "status": 200, "reason": "Call completed elsewhere"}
    assert late == [True]


# In a call.


def test_f2_hold_by_the_browser_reaches_the_phone(scene: Scene) -> None:
    page, call = talking(scene)
    held = page.result(type="offer", sdp=page.sdp("sendonly"))
    assert "a=recvonly" in held["sdp"]
    assert "a=sendonly" in call.remote_sdp
    assert "a=sendrecv" in page.result(type="offer", sdp=page.sdp("sendrecv"))["sdp"]
    assert "a=sendrecv" in call.remote_sdp
    assert page.kinds()[-2:] == ["leg.held", "leg.resumed"]


def test_f2_hold_by_the_phone_reaches_the_browser_as_an_offer(scene: Scene) -> None:
    page, call = talking(scene)
    call.reinvite("sendonly")
    offer = page.await_frame("offer")
    assert "a=sendonly" in offer["sdp"]
    assert not offer["fresh"]
    scene.sim.run_for(0.5)
    assert call.status == 200
    assert page.kinds()[-1] == "leg.held"


def test_f2_hold_by_command_offers_to_both(scene: Scene) -> None:
    page, call = talking(scene)
    page.result(type="hold", on=True)
    assert "a=sendonly" in page.await_frame("offer")["sdp"]
    scene.sim.run_for(0.5)
    assert "a=sendonly" in call.remote_sdp
    page.result(type="hold", on=False)
    assert "a=sendrecv" in page.await_frame("offer", 2)["sdp"]


def test_f2_hold_while_an_offer_of_ours_waits_is_refused(scene: Scene) -> None:
    page = scene.page("ann")
    page.result(type="call", number="600", sdp=page.sdp())
    page.await_frame("answer")
    page.answers_offers = False
    page.result(type="hold", on=True)
    assert page.refusal(type="hold", on=False) == "WRONG_STATE"
    assert page.told("ended") == []


def test_f2_an_offer_that_crosses_ours_is_glare(scene: Scene) -> None:
    page, call = talking(scene)
    page.answers_offers = False
    call.reinvite("sendonly")
    page.await_frame("offer")
    answer = page.answer_of(type="offer", sdp=page.sdp())
    assert (answer["code"], answer["retry_after_s"]) == ("GLARE", 1)
    page.result(type="answer", sdp=page.sdp("recvonly"))
    scene.sim.run_for(0.5)
    assert call.status == 200
    page.result(type="offer", sdp=page.sdp())


def test_f2_an_offer_while_the_phone_answers_another_is_glare(scene: Scene) -> None:
    page, call = talking(scene)
    call.phone.script.answer_reinvites = 491
    assert page.refusal(type="offer", sdp=page.sdp("sendonly")) == "GLARE"
    assert call.state == "talking"


def test_f2_an_offer_that_no_page_answers_fails_and_the_call_goes_on(scene: Scene) -> None:
    page, call = talking(scene)
    page.answers_offers = False
    call.reinvite("sendonly")
    page.await_frame("offer")
    scene.sim.run_for(33)
    assert call.status == 488
    assert call.state == "talking"
    page.result(type="offer", sdp=page.sdp())


def test_f2_digits_go_to_the_phone_and_come_from_it(scene: Scene) -> None:
    page, call = talking(scene)
    page.result(type="dtmf", digits="12#")
    browser, phone = scene.house.media.live
    assert (browser.digits, phone.digits) == ("", "12#")
    phone.press("7")
    scene.sim.run_for(0.1)
    assert page.kinds()[-1] == "leg.dtmf"
    call.send("INFO", "Signal=5\r\nDuration=160\r\n", "application/dtmf-relay")
    scene.sim.run_for(0.5)
    assert browser.digits == "5"


def test_f2_mute_is_told_and_undone(scene: Scene) -> None:
    page, _ = talking(scene)
    page.result(type="mute", on=True)
    page.result(type="mute", on=True)
    assert [leg.muted for leg in scene.house.media.live] == [True, False]
    page.result(type="mute", on=False)
    assert [leg.muted for leg in scene.house.media.live] == [False, False]
    assert page.kinds()[-2:] == ["participant.muted", "participant.unmuted"]


def test_f2_a_browser_whose_media_falls_silent_ends_the_call(scene: Scene) -> None:
    page, call = talking(scene)
    scene.house.media.live[0].fall_silent("the browser has been silent for 10 s")
    assert page.await_frame("ended")["status"] == 408
    scene.sim.run_until(lambda: call.state == "ended")
    scene.nothing_left()


# Gatherings.


def test_f2_two_who_offer_are_bridged_and_three_are_mixed(scene: Scene) -> None:
    ann, ben = gathering(scene, "ann", "ben")
    assert scene.joined == [("bridge", 2)]
    cleo = scene.page("cleo")
    cleo.result(type="join", session=ann.session)
    assert "m=audio" in cleo.result(type="offer", sdp=cleo.sdp())["sdp"]
    scene.sim.run_for(0.1)
    assert scene.joined == [("mix", 3)]
    ben.result(type="leave")
    scene.sim.run_for(0.1)
    assert scene.joined == [("bridge", 2)]
    cleo.result(type="hangup")
    scene.sim.run_for(0.1)
    assert cleo.told("ended") == []
    session = scene.session(ann)
    assert [who.user for who in session.present()] == ["ann", "cleo"]
    cleo.result(type="offer", sdp=cleo.sdp())
    scene.sim.run_for(0.1)
    assert scene.joined == [("bridge", 2)]
    for page in (ann, cleo):
        page.result(type="leave")
    scene.sim.run_for(0.1)
    assert scene.house.media.live == []
    assert (session.ended, session.has_task) == (False, False)
    scene.sim.run(session.end())
    scene.nothing_left()


def test_f2_each_of_a_gathering_changes_its_own_media(scene: Scene) -> None:
    ann, ben = gathering(scene, "ann", "ben")
    assert "a=recvonly" in ann.result(type="offer", sdp=ann.sdp("sendonly"))["sdp"]
    scene.sim.run_for(0.1)
    assert ben.told("offer") == []
    ann.result(type="hold", on=True)
    assert "a=sendonly" in ben.await_frame("offer")["sdp"]
    assert ann.refusal(type="hold", on=True) == "WRONG_STATE"


def test_f2_a_phone_is_called_into_a_gathering(scene: Scene) -> None:
    phone = scene.house.phone("1002")
    ann, cleo = gathering(scene, "ann", "cleo")
    result = ann.result(type="call", session=ann.session, number="1002")
    assert "sdp" not in result
    scene.sim.run_until(lambda: phone.calls)
    assert cleo.refusal(type="call", session=cleo.session, number="1003") == "NOT_REGISTERED"
    assert cleo.refusal(type="call", session=cleo.session, number="600") == "BAD_REQUEST"
    assert cleo.refusal(type="call", session=cleo.session, number="1002") == "WRONG_STATE"
    phone.call.accept()
    scene.sim.run_for(0.5)
    assert scene.joined == [("mix", 3)]
    phone.call.bye()
    scene.sim.run_for(0.5)
    assert scene.joined == [("bridge", 2)]
    assert cleo.kinds()[-2:] == ["participant.left", "call.ended"]
    session = scene.session(ann)
    assert [who.user for who in session.present()] == ["ann", "cleo"]
    phone.script.refuse = 486
    ann.result(type="call", session=ann.session, number="1002")
    scene.sim.run_until(lambda: cleo.kinds().count("call.ended") == 2)
    assert [call.status for call in session.calls] == [200, 486]
    assert scene.joined == [("bridge", 2)]


def test_f2_a_call_with_media_begins_a_gathering(scene: Scene) -> None:
    phone, page = scene.house.phone("1002"), scene.page("ann")
    session = page.result(type="join")["session"]
    assert page.refusal(type="call", session=session, number="1002") == "BAD_REQUEST"
    assert "m=audio" in page.result(type="call", session=session, number="1002", sdp=page.sdp())["sdp"]
    scene.sim.run_until(lambda: phone.calls)
    assert scene.joined == [("ringback", 1)]
    phone.call.accept()
    scene.sim.run_for(0.5)
    assert scene.joined == [("bridge", 2)]
    page.result(type="hangup")
    scene.sim.run_until(lambda: phone.call.state == "ended")
    assert [who.user for who in scene.session(page).present()] == ["ann"]
    scene.sim.run(scene.session(page).end())
    scene.nothing_left()


def test_f2_who_leaves_while_a_phone_rings_ends_the_ringing_when_nobody_waits(scene: Scene) -> None:
    phone = scene.house.phone("1002")
    ann, cleo = gathering(scene, "ann", "cleo")
    ann.result(type="call", session=ann.session, number="1002")
    scene.sim.run_until(lambda: phone.calls)
    ann.result(type="leave")
    scene.sim.run_for(1)
    assert phone.call.state == "ringing"
    cleo.result(type="leave")
    scene.sim.run_until(lambda: phone.call.state == "ended")


def call_into(scene: Scene, page: Page, caller: str, callee: str) -> None:
    """As `POST /api/sessions/{id}/calls` by an admin."""
    request = OriginateRequest(caller, callee, True)
    scene.sim.run(scene.house.registry.originate(request, ADMIN, scene.session(page)))


def test_c3_the_api_calls_two_phones_into_a_gathering(scene: Scene) -> None:
    bob, carol = scene.house.phone("1002"), scene.house.phone("1003")
    ann, cleo = gathering(scene, "ann", "cleo")
    call_into(scene, ann, "1002", "1003")
    scene.sim.run_until(lambda: bob.calls)
    with pytest.raises(WrongState):
        call_into(scene, ann, "1002", "1003")
    scene.sim.run_for(1)
    assert carol.calls == []
    bob.call.accept()
    scene.sim.run_until(lambda: carol.calls)
    assert scene.joined == [("mix", 3)]
    carol.call.accept()
    scene.sim.run_for(0.5)
    assert scene.joined == [("mix", 4)]
    session = scene.session(ann)
    assert [who.user for who in session.present()] == ["ann", "cleo", "ben", "1003"]
    assert cleo.kinds()[-3:] == ["leg.answered", "participant.joined", "call.bridged"]
    carol.call.bye()
    scene.sim.run_for(0.5)
    assert scene.joined == [("mix", 3)]
    assert session.call.hung_up_by == "callee"
    call_into(scene, ann, "1001", "1003")
    scene.sim.run_until(lambda: len(carol.calls) == 2)
    bob.call.bye()  # who came by the call before ends that one alone
    scene.sim.run_for(0.5)
    assert session.in_call
    for page in (ann, cleo):
        page.result(type="leave")
    scene.sim.run_until(lambda: carol.call.state == "ended")
    scene.sim.run(session.end())
    scene.nothing_left()


def test_c3_a_caller_who_is_there_already_is_not_rung(scene: Scene) -> None:
    phone, carol = scene.house.phone("1001"), scene.house.phone("1003")
    (ann,) = gathering(scene, "ann")
    call_into(scene, ann, "1001", "1003")
    scene.sim.run_until(lambda: carol.calls)
    assert scene.joined == [("ringback", 1)]
    carol.call.accept()
    scene.sim.run_for(0.5)
    assert (phone.calls, ann.told("incoming")) == ([], [])
    assert scene.joined == [("bridge", 2)]


def test_c3_a_caller_who_gives_up_cancels_the_callee_and_the_others_go_on(scene: Scene) -> None:
    bob, carol = scene.house.phone("1002"), scene.house.phone("1003")
    ann, cleo = gathering(scene, "ann", "cleo")
    bob.script.answer_after_s = 0.1
    call_into(scene, ann, "1002", "1003")
    scene.sim.run_until(lambda: carol.calls)
    scene.sim.run_for(0.5)
    bob.call.bye()
    scene.sim.run_until(lambda: carol.call.state == "ended")
    scene.sim.run_for(0.5)
    assert scene.joined == [("bridge", 2)]
    session = scene.session(cleo)
    assert (session.in_call, session.call.hung_up_by, session.call.status) == (False, "caller", 200)
    assert "CANCEL" in carol.call.received


@pytest.mark.parametrize("busy", ["1002", "1003"])
def test_c3_a_call_into_a_gathering_that_fails_leaves_who_is_there(scene: Scene, busy: str) -> None:
    phones = {number: scene.house.phone(number) for number in ("1002", "1003")}
    (ann,) = gathering(scene, "ann")
    phones["1002"].script.answer_after_s = 0.1
    phones[busy].script.refuse = 486
    call_into(scene, ann, "1002", "1003")
    scene.sim.run_until(lambda: "call.ended" in ann.kinds())
    scene.sim.run_for(0.5)
    assert scene.session(ann).call.status == 486
    assert scene.joined == ([("comfort", 1)] if busy == "1002" else [("bridge", 2)])
    assert scene.session(ann).call.hung_up_by == ("caller" if busy == "1002" else "callee")


def test_c3_what_cannot_be_called_into_a_gathering_is_refused_at_once(scene: Scene) -> None:
    scene.house.phone("1002")
    (ann,) = gathering(scene, "ann")
    with pytest.raises(BadRequest):
        call_into(scene, ann, "1002", "600")
    with pytest.raises(NotRegistered):
        call_into(scene, ann, "1002", "1003")
    scene.sim.run(scene.session(ann).pause("ann"))
    with pytest.raises(SessionNotActive):
        call_into(scene, ann, "1001", "1002")
    assert scene.session(ann).calls == []


def test_f2_a_third_party_joins_a_call_and_all_three_are_mixed(scene: Scene) -> None:
    page, call = talking(scene)
    guest = scene.page("cleo")
    assert guest.refusal(type="join", session=page.session) == "FORBIDDEN"
    scene.session(page).join("cleo")
    guest.result(type="join", session=page.session)
    guest.result(type="offer", sdp=guest.sdp())
    scene.sim.run_for(0.1)
    assert scene.joined == [("mix", 3)]
    call.reinvite("sendonly")
    scene.sim.run_for(0.5)
    assert call.status == 200
    assert page.told("offer") == []
    page.result(type="hangup")
    scene.sim.run_for(0.5)
    assert scene.joined == [("bridge", 2)]
    assert call.state == "talking"
    guest.result(type="leave")
    scene.sim.run_until(lambda: call.state == "ended")
    scene.nothing_left()


def test_f2_the_end_of_a_session_ends_all_media(scene: Scene) -> None:
    pages = gathering(scene, "ann", "ben", "cleo")
    pages[0].result(type="end")
    for page in pages:
        page.await_frame("ended")
    scene.nothing_left()


def test_f2_a_server_that_stops_ends_the_media_and_keeps_the_session(scene: Scene) -> None:
    (ann,) = gathering(scene, "ann")
    session = scene.session(ann)
    scene.sim.run(scene.house.registry.close())
    assert ann.await_frame("ended")["reason"] == "hung up"
    assert (session.ended, session.has_task) == (False, False)


def test_f2_who_joins_a_session_on_hold_is_held_until_it_goes_on(scene: Scene) -> None:
    ann, ben = gathering(scene, "ann", "ben")
    ann.result(type="hold", on=True)
    cleo = scene.page("cleo")
    cleo.result(type="join", session=ann.session)
    assert "a=sendonly" in cleo.result(type="offer", sdp=cleo.sdp())["sdp"]
    scene.sim.run_for(0.5)
    assert scene.joined == [("mix", 3)]
    assert cleo.told("offer") == []
    assert "a=sendonly" in cleo.result(type="offer", sdp=cleo.sdp())["sdp"]
    assert cleo.kinds()[-1] == "leg.held"
    ben.result(type="hold", on=False)
    for page, offers in ((ann, 2), (ben, 2), (cleo, 1)):
        assert "a=sendrecv" in page.await_frame("offer", offers)["sdp"]
    assert "a=sendrecv" in cleo.result(type="offer", sdp=cleo.sdp())["sdp"]


def test_f2_a_phone_that_is_called_into_a_session_on_hold_is_held(scene: Scene) -> None:
    phone = scene.house.phone("1002")
    (ann,) = gathering(scene, "ann")
    ann.result(type="hold", on=True)
    ann.result(type="call", session=ann.session, number="1002")
    scene.sim.run_until(lambda: phone.calls)
    phone.call.accept()
    scene.sim.run_for(1)
    assert "a=sendonly" in phone.call.remote_sdp
    phone.call.reinvite("sendrecv")
    scene.sim.run_for(0.5)
    assert phone.call.status == 200
    assert "a=sendonly" in phone.call.remote_sdp
    ann.result(type="hold", on=False)
    scene.sim.run_for(0.5)
    assert "a=sendrecv" in phone.call.remote_sdp


def test_f2_who_joins_a_call_on_hold_is_held_with_both(scene: Scene) -> None:
    page, call = talking(scene)
    page.result(type="hold", on=True)
    scene.session(page).join("cleo")
    guest = scene.page("cleo")
    guest.result(type="join", session=page.session)
    assert "a=sendonly" in guest.result(type="offer", sdp=guest.sdp())["sdp"]
    scene.sim.run_for(0.5)
    assert page.refusal(type="hold", on=True) == "WRONG_STATE"
    assert "a=sendonly" in call.remote_sdp
    guest.result(type="hold", on=False)
    scene.sim.run_for(0.5)
    assert "a=sendrecv" in call.remote_sdp
    assert "a=sendrecv" in page.await_frame("offer", 2)["sdp"]
    assert "a=sendrecv" in guest.await_frame("offer")["sdp"]


def test_f2_who_answers_in_a_paused_session_is_held_until_it_goes_on(scene: Scene) -> None:
    phone = scene.house.phone("1002")
    ann, cleo = gathering(scene, "ann", "cleo")
    ann.result(type="call", session=ann.session, number="1002")
    scene.sim.run_until(lambda: phone.calls)
    session = scene.session(ann)
    scene.sim.run(session.pause("ann"))
    phone.call.accept()
    scene.sim.run_for(1)
    assert "a=sendonly" in phone.call.remote_sdp
    assert ann.refusal(type="call", session=ann.session, number="1002") == "SESSION_NOT_ACTIVE"
    scene.sim.run(session.resume("ann"))
    scene.sim.run_for(0.5)
    assert "a=sendrecv" in phone.call.remote_sdp
    assert "a=sendrecv" in cleo.await_frame("offer", 2)["sdp"]


def test_f2_who_is_asked_something_else_at_the_moment_follows_a_hold_later(scene: Scene) -> None:
    ann, ben = gathering(scene, "ann", "ben")
    ben.answers_offers = False
    ann.result(type="hold", on=True)
    ben.await_frame("offer")
    ann.result(type="hold", on=False)
    scene.sim.run_for(1)
    assert len(ben.told("offer")) == 1
    ben.answers_offers = True
    ben.result(type="answer", session=ben.session, sdp=ben.sdp())
    assert "a=sendrecv" in ben.await_frame("offer", 2)["sdp"]


def test_f2_hold_ends_with_the_media_of_a_session(scene: Scene) -> None:
    (ann,) = gathering(scene, "ann")
    ann.result(type="hold", on=True)
    ann.result(type="hangup")
    scene.sim.run_for(0.1)
    assert "a=sendrecv" in ann.result(type="offer", sdp=ann.sdp())["sdp"]


def test_10_a_reload_in_a_gathering_on_hold(scene: Scene) -> None:
    ann, ben = gathering(scene, "ann", "ben")
    ann.result(type="hold", on=True)
    ben = ben.reload()
    offer = ben.await_frame("offer")
    assert offer["fresh"]
    assert "a=sendonly" in offer["sdp"]
    ann.result(type="hold", on=False)
    assert "a=sendrecv" in ben.await_frame("offer", 2)["sdp"]


def test_f2_nothing_changes_in_a_paused_session(scene: Scene) -> None:
    ann, ben = gathering(scene, "ann", "ben")
    session = scene.session(ann)
    scene.sim.run(session.pause("ann"))
    assert "a=sendonly" in ben.await_frame("offer")["sdp"]
    assert ann.refusal(type="offer", sdp=ann.sdp()) == "SESSION_NOT_ACTIVE"
    assert ann.refusal(type="dtmf", digits="1") == "SESSION_NOT_ACTIVE"
    scene.sim.run(session.resume("ann"))
    assert "a=sendrecv" in ben.await_frame("offer", 2)["sdp"]


def test_11_a_connection_has_so_many_sessions_and_calls_among_them(scene: Scene) -> None:
    page, caller = scene.page("ben"), scene.house.phone("1001")
    for _ in range(16):
        page.result(type="join")
        scene.sim.run_for(0.2)
    caller.invite("1002")
    incoming = page.await_frame("incoming")
    assert page.refusal(type="call", number="600", sdp=page.sdp()) == "LIMIT_REACHED"
    assert page.refusal(type="accept", call=incoming["call"], sdp=page.sdp()) == "LIMIT_REACHED"
    called = scene.house.registry.get(incoming["session"])
    assert called is not None
    assert [who.user for who in called.present()] == ["ann"]
    page.result(type="leave", session=page.answers[1]["result"]["session"])
    page.result(type="accept", call=incoming["call"], sdp=page.sdp())


def test_11_a_call_in_one_of_so_many_sessions_can_be_accepted(scene: Scene) -> None:
    """It adds none."""
    (ann,) = gathering(scene, "ann")
    page = scene.page("ben")
    for session in [ann.session, *[None] * 15]:
        page.result(type="join", session=session)
        scene.sim.run_for(0.2)
    ann.result(type="call", session=ann.session, number="1002")
    incoming = page.await_frame("incoming")
    assert incoming["session"] == ann.session
    page.result(type="accept", call=incoming["call"], sdp=page.sdp())
    scene.sim.run_for(0.1)
    assert scene.joined == [("bridge", 2)]
    assert page.refusal(type="join", session=ann.session) == "ALREADY_PARTICIPANT"
    assert page.refusal(type="join") == "LIMIT_REACHED"


def test_11_candidates_have_a_limit(scene: Scene) -> None:
    (ann,) = gathering(scene, "ann")
    for number in range(64):
        ann.result(type="candidate", candidate=f"candidate:{number} 1 udp 1 192.0.2.9 9 typ host")
        scene.sim.run_for(0.1)
    assert ann.refusal(type="candidate", candidate=None) == "LIMIT_REACHED"


# A lost connection.


def test_10_a_reload_in_a_call_gets_a_new_offer_and_the_call_goes_on(scene: Scene) -> None:
    page, call = talking(scene)
    page.result(type="mute", on=True)
    session = scene.session(page)
    page.lose()
    assert scene.joined == [("comfort", 1)]
    scene.sim.run_for(20)
    assert call.state == "talking"
    again = page.reload()
    offer = again.await_frame("offer")
    assert offer["fresh"]
    scene.sim.run_for(0.5)
    assert scene.joined == [("bridge", 2)]
    assert len(scene.house.media.live) == 2
    assert scene.house.media.live[-1].muted
    scene.sim.run_for(60)
    assert call.state == "talking"
    call.reinvite("sendonly")
    assert "a=sendonly" in again.await_frame("offer", 2)["sdp"]
    scene.sim.run_for(0.5)
    assert call.status == 200
    again.result(type="hangup")
    scene.sim.run_until(lambda: call.state == "ended")
    assert session.ended
    scene.nothing_left()


def test_10_who_does_not_come_back_is_hung_up_after_the_grace_period(scene: Scene) -> None:
    page, call = talking(scene)
    session = scene.session(page)
    page.lose()
    scene.sim.run_for(29.5)
    assert call.state == "talking"
    scene.sim.run_for(1)
    assert call.state == "ended"
    assert session.end_cause == "connection lost"
    scene.nothing_left()


def test_10_the_silence_of_a_lost_browser_does_not_count(scene: Scene) -> None:
    page, call = talking(scene)
    browser = scene.house.media.live[0]
    page.lose()
    browser.fall_silent()
    scene.sim.run_for(5)
    assert call.state == "talking"


def test_10_the_phone_hangs_up_meanwhile(scene: Scene) -> None:
    page, call = talking(scene)
    page.lose()
    call.bye()
    scene.sim.run_for(1)
    again = page.reload()
    assert again.kinds()[-1] == "session.ended"
    scene.nothing_left()


def test_10_a_lost_caller_whom_nobody_answered_yet_gives_up(scene: Scene) -> None:
    phone, page = scene.house.phone("1002"), scene.page("ann")
    call = call_phone(scene, page, phone)
    page.lose()
    scene.sim.run_until(lambda: call.state == "ended")
    scene.nothing_left()


def test_10_a_reload_in_a_gathering(scene: Scene) -> None:
    ann, ben, cleo = gathering(scene, "ann", "ben", "cleo")
    ben.lose()
    assert scene.joined == [("bridge", 2)]
    cleo.lose()
    assert scene.joined == [("comfort", 1)]
    again = ben.reload(ann.session)
    assert again.await_frame("offer")["fresh"]
    scene.sim.run_for(0.1)
    assert scene.joined == [("bridge", 2)]
    scene.sim.run_for(31)
    assert [who.user for who in scene.session(ann).present()] == ["ann", "ben"]
    assert scene.joined == [("bridge", 2)]


def test_10_another_page_takes_the_call_over(scene: Scene) -> None:
    page, call = talking(scene)
    other = scene.page("ann")
    other.result(type="resume", session=page.session, seq=0)
    assert other.await_frame("offer")["fresh"]
    assert page.told("notice")[0]["code"] == "TAKEN_OVER"
    scene.sim.run_for(0.5)
    assert scene.joined == [("bridge", 2)]
    page.lose()
    scene.sim.run_for(40)
    assert call.state == "talking"
    other.result(type="hangup")
    scene.sim.run_until(lambda: call.state == "ended")
    scene.nothing_left()


def test_10_a_fresh_offer_that_nobody_answers_ends_the_call(scene: Scene) -> None:
    page, call = talking(scene)
    session = page.session
    page.lose()
    again = scene.page("ann")
    again.answers_offers = False
    again.result(type="resume", session=session, seq=0)
    again.await_frame("offer")
    scene.sim.run_for(33)
    assert call.state == "ended"
    assert again.told("ended")[0]["status"] == 408
    scene.nothing_left()


def test_10_who_resumes_is_told_whether_an_offer_follows(scene: Scene) -> None:
    page, _ = talking(scene)
    session = page.session
    page.lose()
    assert scene.page("ann").result(type="resume", session=session, seq=0)["media"]


def test_10_lost_and_back_twice(scene: Scene) -> None:
    page, call = talking(scene)
    for _ in range(3):
        page.lose()
        page.answers_offers = False
        page = page.reload()
        page.await_frame("offer")
        page.lose()
        page = page.reload()
        scene.sim.run_for(0.5)
        assert scene.joined == [("bridge", 2)]
    assert call.state == "talking"
    assert len(scene.house.media.live) == 2


def test_10_a_reload_in_the_echo_test(scene: Scene) -> None:
    page = scene.page("ann")
    page.result(type="call", number="600", sdp=page.sdp())
    page.await_frame("answer")
    again = page.reload()
    again.await_frame("offer")
    scene.sim.run_for(0.1)
    assert scene.joined == [("echo", 1)]


# Whatever comes in whatever order.


class Monkey:
    """Three users and a phone that do anything at all."""

    def __init__(self, scene: Scene, seed: int) -> None:
        self.scene = scene
        self.random = random.Random(seed)
        self.phone = scene.house.phone("1002")
        self.pages = gathering(scene, "ann", "ben", "cleo")
        self.sessions = [self.pages[0].session]

    def step(self) -> None:
        place = self.random.randrange(len(self.pages))
        page = self.pages[place]
        act = self.random.choice([self.say, self.say, self.say, self.answer_the_phone, self.lose, self.pause])
        act(page)
        if page.gone:
            page = self.pages[place] = self.scene.page(page.user)
            page.answers_offers = self.random.random() < 0.8
            for session in self.sessions[-3:]:
                page.say(type="resume", session=session, seq=0)
        self.scene.sim.run_for(self.random.choice([0.0, 0.05, 1.0]))

    def say(self, page: Page) -> None:
        random = self.random
        session = {"session": random.choice(self.sessions[-2:] + self.sessions[:1])} if random.random() < 0.8 else {}
        incoming = page.told("incoming")
        call = incoming[-1]["call"] if incoming else "none"
        sdp = page.sdp(random.choice(["sendrecv", "sendrecv", "sendonly", "inactive"]))
        frames: list[dict[str, Any]] = [
            {"type": "join", **session},
            {"type": "offer", "sdp": sdp, **session},
            {"type": "offer", "sdp": sdp, **session},
            {"type": "answer", "sdp": sdp, **session},
            {"type": "candidate", **session},
            {"type": "call", "number": random.choice(["1001", "1002", "cleo", "600"]), "sdp": sdp},
            {"type": "call", "number": random.choice(["1001", "1002", "cleo"]), "sdp": sdp, **session},
            {"type": "accept", "call": call, "sdp": sdp},
            {"type": "accept", "call": call, "sdp": sdp},
            {"type": "reject", "call": call},
            {"type": "mute", "on": random.random() < 0.5, **session},
            {"type": "hold", "on": random.random() < 0.5, **session},
            {"type": "dtmf", "digits": "5", **session},
            {"type": "hangup", **session},
            {"type": "leave", **session},
            {"type": "resume", "seq": 0, "session": session.get("session", "1")},
        ]
        page.say(**random.choice(frames))
        for answer in page.answers[-1:]:
            named = answer.get("result", {}).get("session")
            if named is not None and named not in self.sessions:
                self.sessions.append(named)

    def answer_the_phone(self, page: Page) -> None:
        call = self.phone.calls[-1] if self.phone.calls else None
        if call is None:
            return
        if call.state == "ringing":
            call.accept()
        elif call.state == "talking" and self.random.random() < 0.5:
            call.bye()
        elif call.state == "talking":
            call.reinvite(self.random.choice(["sendonly", "sendrecv"]))

    def lose(self, page: Page) -> None:
        page.lose()

    def pause(self, page: Page) -> None:
        self.scene.sim.run_for(self.random.choice([0.2, 5.0, 35.0]))


@pytest.mark.parametrize("seed", range(8))
def test_f2_whatever_happens_nothing_breaks_and_nothing_is_left(scene: Scene, seed: int) -> None:
    monkey = Monkey(scene, seed)
    with capture_logs() as logs:
        for _ in range(80):
            monkey.step()
        for page in monkey.pages:
            page.lose()
        scene.sim.run_for(120)
    assert logs == []  # of level error and above
    if monkey.phone.calls and monkey.phone.call.state == "talking":
        monkey.phone.call.bye()
    scene.sim.run_for(60)
    counts = scene.pages.desk.counts()
    assert counts == {"connections": 0, "stays": 0, "stays_lost": 0, "ringing": 0}
    for session in scene.house.registry.sessions():
        scene.sim.run(session.end())
    scene.nothing_left()


def test_f2_a_phone_whose_reinvite_waits_for_its_ack_follows_a_hold_later(scene: Scene) -> None:
    phone = scene.house.phone("1002")
    (ann,) = gathering(scene, "ann")
    ann.result(type="call", session=ann.session, number="1002")
    scene.sim.run_until(lambda: phone.calls)
    phone.call.accept()
    scene.sim.run_for(1)
    scene.sim.network.lose("ACK", source="phone1002")
    phone.call.reinvite("sendrecv")
    scene.sim.run_for(0.2)
    ann.result(type="hold", on=True)
    scene.sim.run_for(0.1)
    assert "a=sendrecv" in phone.call.remote_sdp
    scene.sim.run_for(1)
    assert "a=sendonly" in phone.call.remote_sdp
