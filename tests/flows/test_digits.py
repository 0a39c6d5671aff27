"""Digits from leg to leg, by INFO and by telephone-event: each reaches the other party once, in its own way."""

from __future__ import annotations

import pytest

from signalling import Dtmf, Session
from tests.flows.house import House, sim
from tests.media.fake import FakeMediaLeg
from tests.signalling.test_browser_calls import Scene, gathering
from tests.sim.fixture import Sim
from tests.sim.phones import PhoneCall

__all__ = ["sim"]
NO_EVENTS = "0 8"
RELAY = "application/dtmf-relay"


def talk(sim: Sim, house: House, *, caller: str = "0 8 101", callee: str = "0 8 101") -> tuple[PhoneCall, PhoneCall]:
    """1001 has called 1002, each with these formats."""
    alice, bob = house.phone("1001"), house.phone("1002")
    alice.script.formats, bob.script.formats = caller, callee
    bob.script.answer_after_s = 0.5
    call = alice.invite("1002")
    sim.run_until(lambda: call.state == "talking" and bob.calls)
    sim.run_for(0.5)
    return call, bob.call


def told(session: Session) -> list[tuple[object, ...]]:
    """The digits that listeners of the session were told of."""
    return [(each.leg, each.digit, each.duration_ms) for each in session.events if isinstance(each, Dtmf)]


def test_8_info_becomes_a_telephone_event(sim: Sim) -> None:
    house = House(sim)
    near, far = talk(sim, house)
    near.send("INFO", "Signal=5\r\nDuration=250\r\n", RELAY)
    sim.run_for(1)
    near.send("INFO", "#", "application/dtmf")
    sim.run_for(1)
    mine, theirs = house.media.live
    assert (mine.digits, theirs.digits) == ("", "5#")
    assert far.infos == []
    assert near.received[-2:] == ["200 INFO", "200 INFO"]
    assert told(house.session) == [("caller", "5", 250), ("caller", "#", 160)]


def test_8_info_stays_info_for_a_party_without_telephone_event(sim: Sim) -> None:
    house = House(sim)
    near, far = talk(sim, house, callee=NO_EVENTS)
    near.send("INFO", "Signal=5\r\nDuration=250\r\n", RELAY)
    sim.run_for(1)
    assert far.infos == [(RELAY, "Signal=5\r\nDuration=250\r\n")]
    assert all(leg.digits == "" for leg in house.media.live)
    assert told(house.session) == [("caller", "5", 250)]


def test_8_a_telephone_event_becomes_info_for_a_party_without(sim: Sim) -> None:
    house = House(sim)
    near, far = talk(sim, house, callee=NO_EVENTS)
    mine, theirs = house.media.live
    mine.press("7", 120)
    mine.press("*", 100)
    sim.run_for(1)
    assert far.infos == [(RELAY, "Signal=7\r\nDuration=120\r\n"), (RELAY, "Signal=*\r\nDuration=100\r\n")]
    assert theirs.digits == ""
    assert "INFO" not in near.received
    assert told(house.session) == [("caller", "7", 120), ("caller", "*", 100)]


def test_8_a_telephone_event_that_the_media_relays_is_not_said_again(sim: Sim) -> None:
    house = House(sim)
    near, far = talk(sim, house)
    house.media.live[0].press("7")
    sim.run_for(1)
    assert far.infos == near.infos == []
    assert all(leg.digits == "" for leg in house.media.live)


def test_8_the_next_info_waits_for_the_answer(sim: Sim) -> None:
    """A phone that gets the second before the first must refuse the first (RFC 3261 12.2.2)."""
    house = House(sim)
    _, far = talk(sim, house, callee=NO_EVENTS)
    sim.network.lose("INFO", source="ringway")
    for digit in "123":
        house.media.live[0].press(digit)
    sim.run_for(3)
    assert [body[7] for _, body in far.infos] == list("123")


def both_ways(phone: PhoneCall, media: FakeMediaLeg, digit: str, order: str) -> None:
    """Say a digit by telephone-event and by INFO, which comes before, during or after the event."""
    sim, body = phone.phone.network.clock, f"Signal={digit}\r\nDuration=160\r\n"
    if order == "before":
        phone.send("INFO", body, RELAY)
        sim.run_for(0.1)
    counts = media.begin(digit)
    if order == "during":
        phone.send("INFO", body, RELAY)
    sim.run_for(0.16)
    media.end(digit, 160, counts=counts)
    if order == "after":
        phone.send("INFO", body, RELAY)
    sim.run_for(0.1)


@pytest.mark.parametrize("order", ["before", "during", "after"])
@pytest.mark.parametrize("callee", ["0 8 101", NO_EVENTS])
def test_8_a_phone_that_says_digits_in_both_ways_is_heard_once(sim: Sim, callee: str, order: str) -> None:
    house = House(sim)
    near, far = talk(sim, house, callee=callee)
    mine, theirs = house.media.live
    for digit in "155":
        both_ways(near, mine, digit, order)
    sim.run_for(1)
    assert [each[1] for each in told(house.session)] == list("155")
    assert near.received.count("200 INFO") == 3
    by_info = [body[7] for _, body in far.infos]
    said = theirs.digits + mine.relayed + "".join(by_info)  # each digit in one way
    assert said == "155"
    assert bool(by_info) == (callee == NO_EVENTS)


@pytest.mark.parametrize("order", ["before", "during", "after"])
def test_8_among_three_a_digit_said_in_both_ways_is_one(sim: Sim, order: str) -> None:
    scene = Scene(sim)
    call = gathered(scene, "0 8 101", "ann", "cleo")
    ann, cleo, phone = scene.house.media.live
    for digit in "44":
        both_ways(call, phone, digit, order)
    assert (ann.digits, cleo.digits) == ("44", "44")


def test_8_hook_flash_is_no_digit_and_crosses_as_it_is(sim: Sim) -> None:
    house = House(sim)
    near, far = talk(sim, house)
    near.send("INFO", "Signal=hf\r\n", RELAY)
    sim.run_for(1)
    assert far.infos == [(RELAY, "Signal=hf\r\n")]
    assert told(house.session) == []


@pytest.mark.parametrize(("formats", "digits", "infos"), [("0 8 101", "12", []), (NO_EVENTS, "", ["1", "2"])])
def test_8_digits_of_a_command(sim: Sim, formats: str, digits: str, infos: list[str]) -> None:
    house = House(sim)
    _, far = talk(sim, house, callee=formats)
    house.session.press("1001", "12")
    sim.run_for(1)
    assert house.media.live[1].digits == digits
    assert [body[7] for _, body in far.infos] == infos


def test_8_a_call_that_has_no_partner_tells_of_its_digits(sim: Sim) -> None:
    house = House(sim)
    call = house.phone("1001").invite("600")
    sim.run_until(lambda: call.state == "talking")
    call.send("INFO", "Signal=11\r\n", RELAY)
    sim.run_for(1)
    assert call.received[-1] == "200 INFO"
    assert told(house.session) == [("caller", "#", 160)]
    call.bye()
    assert house.quiet() == {}


def gathered(scene: Scene, formats: str, *users: str) -> PhoneCall:
    """Users who joined a session with media, and a phone that was called into it."""
    pages = gathering(scene, *users)
    phone = scene.house.phone("1002")
    phone.script.formats = formats
    pages[0].result(type="call", session=pages[0].session, number="1002")
    scene.sim.run_until(lambda: phone.calls)
    phone.call.accept()
    scene.sim.run_for(1)
    return phone.call


@pytest.mark.parametrize("formats", ["0 8 101", NO_EVENTS])
def test_8_between_two_of_a_gathering(sim: Sim, formats: str) -> None:
    """The media relays events; what it cannot relay is converted."""
    scene = Scene(sim)
    call = gathered(scene, formats, "ann")
    browser, phone = scene.house.media.live
    browser.press("4")
    call.send("INFO", "Signal=6\r\nDuration=100\r\n", RELAY)
    sim.run_for(1)
    assert call.received[-1] in ("200 INFO", "INFO")
    assert browser.digits == "6"
    assert phone.digits == ""
    assert [body[7] for _, body in call.infos] == ([] if "101" in formats else ["4"])


@pytest.mark.parametrize("formats", ["0 8 101", NO_EVENTS])
def test_8_among_three_every_other_one_gets_the_digit(sim: Sim, formats: str) -> None:
    """A mix relays no events: they are said anew."""
    scene = Scene(sim)
    call = gathered(scene, formats, "ann", "cleo")
    ann, cleo, phone = scene.house.media.live
    assert scene.joined == [("mix", 3)]
    ann.press("4")
    call.send("INFO", "Signal=6\r\nDuration=100\r\n", RELAY)
    sim.run_for(1)
    assert (ann.digits, cleo.digits) == ("6", "46")
    assert phone.digits == ("4" if "101" in formats else "")
    assert [body[7] for _, body in call.infos] == ([] if "101" in formats else ["4"])
