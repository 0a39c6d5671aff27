"""Who takes part in a session, as its phones and the APIs see it; with and without calls."""

from __future__ import annotations

import asyncio

import pytest

from signalling import (
    AlreadyThere,
    Happening,
    LimitReached,
    Limits,
    NotThere,
    OriginateRequest,
    ParticipantJoined,
    Session,
    SessionEnded,
    SessionNotActive,
    User,
    WrongState,
    event_body,
    wire_kind,
)
from tests.flows.house import ADMIN, House, sim
from tests.flows.test_originate import phones, talking
from tests.sim.fixture import Sim

__all__ = ["sim"]

CALL = OriginateRequest("1001", "1002", True)


def present(session: Session) -> list[str]:
    return [participant.user for participant in session.present()]


def status(session: Session) -> str:
    return session.status


def over(session: Session) -> bool:
    return session.ended


def room(house: House, host: str | None = "alice") -> Session:
    async def make() -> Session:
        return house.registry.create(tenant="default/default", made_by="callsession", host=host, name="Weekly")

    return house.sim.run(make())


def test_g1_the_parties_of_a_call_take_part(sim: Sim) -> None:
    house, _, bob = phones(sim)
    house.switch.people.put(User("default/default", "u-bob", 0, "Bob", extensions=("1002",)))
    session = house.originate()
    assert status(session) == "INVITED"
    sim.run_until(lambda: bob.calls)
    assert present(session) == ["1001"]
    bob.call.accept()
    sim.run_for(1)
    assert present(session) == ["1001", "u-bob"]
    assert status(session) == "ACTIVE"
    bob.call.bye()
    sim.run_until(lambda: session.ended)
    assert present(session) == []
    assert status(session) == "RESOLVED"
    assert [p.left_at is not None for p in session.participants] == [True, True]


def test_g1_a_call_nobody_answers_is_abandoned(sim: Sim) -> None:
    house, _, bob = phones(sim)
    bob.script.refuse = 486
    session = house.originate()
    sim.run_until(lambda: session.ended)
    assert status(session) == "ABANDONED"
    assert [p.user for p in session.participants] == ["1001"]


def test_a10_leaving_drops_the_legs_of_that_user_alone(sim: Sim) -> None:
    house, alice, bob = talking(sim)
    session = house.session
    session.leave("1001")
    sim.run_until(lambda: alice.call.state == "ended")
    sim.run_for(5)
    assert bob.call.state == "talking"
    assert present(session) == ["1002"]
    assert not over(session)
    bob.call.reinvite()
    sim.run_for(1)
    assert bob.call.status == 200
    bob.call.bye()
    sim.run_until(lambda: session.ended)
    assert house.quiet() == {}


def test_a10_the_last_to_leave_ends_the_call(sim: Sim) -> None:
    house, alice, bob = talking(sim)
    session = house.session
    session.leave("1001")
    session.leave("1002")
    sim.run_until(lambda: session.ended)
    sim.run_until(lambda: alice.call.state == bob.call.state == "ended")
    assert house.quiet() == {}


def test_a10_a_caller_who_leaves_while_it_rings_cancels_the_call(sim: Sim) -> None:
    house, alice, bob = phones(sim)
    session = house.originate()
    sim.run_until(lambda: bob.calls)
    session.leave("1001")
    sim.run_until(lambda: session.ended)
    sim.run_until(lambda: alice.call.state == bob.call.state == "ended")
    assert house.quiet() == {}


def test_a8_join_leave_join_keeps_the_order(sim: Sim) -> None:
    session = room(House(sim))
    session.join("bob")
    with pytest.raises(AlreadyThere):
        session.join("bob")
    session.leave("bob")
    with pytest.raises(NotThere):
        session.leave("bob")
    session.join("carol")
    session.join("bob")
    assert present(session) == ["alice", "carol", "bob"]
    assert [p.index for p in session.participants] == [0, 1, 2, 3]
    assert session.max_present == 3


def test_a14_an_empty_session_stays_until_it_is_reaped(sim: Sim) -> None:
    house = House(sim, limits=Limits(idle_s=0.0))
    session = room(house)
    session.leave("alice")
    sim.run_for(50)
    assert not over(session)
    sim.run_for(70)
    assert over(session)
    assert session.end_cause == "nobody takes part"
    assert house.quiet() == {}


def test_a15_nothing_is_done_to_an_ended_session(sim: Sim) -> None:
    house = House(sim)
    session = room(house)
    sim.run(session.end(by="alice"))
    assert present(session) == []
    assert status(session) == "RESOLVED"
    with pytest.raises(WrongState):
        session.join("bob")
    with pytest.raises(WrongState):
        session.leave("alice")
    with pytest.raises(WrongState):
        sim.run(session.end())
    assert house.registry.get(session.id) is session
    assert house.registry.sessions() == []


def test_b25_a_channel_has_one_session_at_a_time(sim: Sim) -> None:
    house = House(sim)
    registry = house.registry
    channel = registry.rooms.create("default/default", "Lobby", owner="alice")

    async def sit() -> Session:
        return registry.create(tenant="default/default", made_by="channels", host="bob", channel=channel)

    session = sim.run(sit())
    assert registry.rooms.active_session(channel.id) is session
    assert session.channel_name == "Lobby"
    assert session.role_of("alice") == "host"
    with pytest.raises(WrongState):
        sim.run(sit())
    sim.run(session.end())
    assert registry.rooms.active_session(channel.id) is None
    assert sim.run(sit()) is not session


def test_b1_a_session_without_a_room_has_a_channel_of_its_own(sim: Sim) -> None:
    house = House(sim)
    session = room(house)
    rooms = house.registry.rooms
    channel = rooms.get("default/default", session.channel_id)
    assert channel is not None
    assert (channel.id, channel.name, channel.owner) == (session.channel_id, "Weekly", "alice")
    assert rooms.get("other/other", session.channel_id) is None
    assert rooms.active_session(session.channel_id) is session
    sim.run(session.end())
    assert rooms.active_session(session.channel_id) is None


def test_c8_pause_holds_every_leg_and_refuses_chat(sim: Sim) -> None:
    house, alice, bob = talking(sim)
    session = house.session
    assert session.say("1001", "hello").index == 0
    sim.run(session.pause("1001"))
    sim.run_for(1)
    assert status(session) == "PAUSED"
    assert "a=sendonly" in alice.call.remote_sdp
    assert "a=sendonly" in bob.call.remote_sdp
    with pytest.raises(SessionNotActive):
        session.say("1001", "still there?")
    with pytest.raises(SessionNotActive):
        sim.run(session.pause("1002"))
    with pytest.raises(SessionNotActive):
        sim.run(session.unhold())
    bob.call.reinvite("sendrecv")
    sim.run_for(1)
    assert bob.call.status == 488
    assert bob.call.state == "talking"
    sim.run(session.resume("1002"))
    sim.run_for(1)
    assert status(session) == "ACTIVE"
    assert "a=sendrecv" in alice.call.remote_sdp
    assert session.say("1001", "back").index == 1


def test_c23_a_resume_while_a_phone_still_answers_the_hold_is_a_conflict_and_can_be_asked_again(sim: Sim) -> None:
    house, alice, bob = talking(sim)
    session = house.session
    sim.network.delay("200 INVITE", 0.4, source="phone1002")
    sim.run(session.pause("1001"))
    with pytest.raises(WrongState):
        sim.run(session.resume("1001"))
    assert status(session) == "PAUSED"
    sim.run_for(1)
    sim.run(session.resume("1001"))
    sim.run_for(1)
    assert status(session) == "ACTIVE"
    assert "a=sendrecv" in alice.call.remote_sdp
    assert "a=sendrecv" in bob.call.remote_sdp


def test_c8_pause_holds_a_leg_that_is_alone(sim: Sim) -> None:
    house, alice, bob = talking(sim)
    session = house.session
    session.leave("1001")
    sim.run_until(lambda: alice.call.state == "ended")
    sim.run(session.pause("1002"))
    sim.run_for(1)
    assert "a=sendonly" in bob.call.remote_sdp
    sim.run(session.resume("1002"))
    sim.run_for(1)
    assert "a=sendrecv" in bob.call.remote_sdp


def test_c8_who_stays_alone_on_hold_comes_back_from_it(sim: Sim) -> None:
    house, alice, bob = talking(sim)
    session = house.session
    sim.run(session.hold())
    sim.run_for(1)
    session.leave("1001")
    sim.run_until(lambda: alice.call.state == "ended")
    with pytest.raises(WrongState):
        sim.run(session.hold())
    sim.run(session.unhold())
    sim.run_for(1)
    assert "a=sendrecv" in bob.call.remote_sdp


def test_c8_nobody_is_called_into_a_paused_session(sim: Sim) -> None:
    house, alice, _ = phones(sim)
    session = room(house, host="1001")
    sim.run(session.pause("1001"))
    with pytest.raises(SessionNotActive):
        sim.run(house.registry.originate(CALL, ADMIN, session))
    sim.run(session.resume("1001"))
    sim.run(house.registry.originate(CALL, ADMIN, session))
    with pytest.raises(WrongState):  # while the caller rings there is nothing to be held yet
        sim.run(session.pause("1001"))
    sim.run_until(lambda: alice.calls)
    assert status(session) == "ACTIVE"


def test_c16_pause_and_resume_only_where_they_make_sense(sim: Sim) -> None:
    house, _, bob = phones(sim)
    session = house.originate()
    sim.run_until(lambda: bob.calls)
    with pytest.raises(SessionNotActive):
        sim.run(session.pause("1001"))
    quiet = room(house)
    with pytest.raises(WrongState):
        sim.run(quiet.resume("alice"))
    sim.run(quiet.pause("alice", "lunch"))
    assert quiet.paused_by == "alice"
    sim.run(quiet.resume("alice"))
    assert status(quiet) == "ACTIVE"


def test_c3_a_call_in_a_session_that_goes_on_without_it(sim: Sim) -> None:
    house, alice, bob = phones(sim)
    session = room(house, host="1001")
    sim.run(house.registry.originate(CALL, ADMIN, session))
    with pytest.raises(WrongState):
        sim.run(house.registry.originate(CALL, ADMIN, session))
    sim.run_until(lambda: bob.calls)
    bob.call.accept()
    sim.run_for(2)
    assert present(session) == ["1001", "1002"]
    bob.call.bye()
    sim.run_until(lambda: alice.call.state == "ended")
    assert not over(session)
    assert session.calls[0].hung_up_by == "callee"
    sim.run(house.registry.originate(CALL, ADMIN, session))
    sim.run_until(lambda: len(bob.calls) == 2)
    sim.run(session.end())
    assert over(session)
    sim.run_until(lambda: bob.call.state == "ended")
    assert house.quiet() == {}


def test_12_followers_get_every_event_in_order(sim: Sim) -> None:
    house, _, bob = phones(sim)
    heard: list[Happening] = []
    house.switch.bus.follow(heard.append)
    session = house.originate()
    sim.run_until(lambda: bob.calls)
    bob.call.accept()
    sim.run_for(1)
    bob.call.bye()
    sim.run_until(lambda: session.ended)
    assert [h.seq for h in heard] == list(range(1, len(heard) + 1))
    positions = [h.position for h in heard]
    assert positions == sorted(set(positions))
    kinds = [wire_kind(h.kind) for h in heard]
    assert [kind for kind in kinds if not kind.startswith("leg.")] == [
        "session.started",
        "participant.joined",
        "participant.joined",
        "call.bridged",
        "call.ended",
        "participant.left",
        "participant.left",
        "session.ended",
    ]
    body = event_body(heard[-1])
    assert body["session"] == session.id
    assert body["data"]["by"] == "callee"
    assert [event.seq for event in session.events] == [h.seq for h in heard]


def test_12_who_follows_some_kinds_hears_of_no_others(sim: Sim) -> None:
    house = House(sim)
    heard: list[Happening] = []
    house.switch.bus.follow(heard.append, ParticipantJoined, SessionEnded)
    session = room(house)
    session.join("bob")
    session.say("bob", "hello")
    sim.run(session.end())
    assert [happening.kind for happening in heard] == [ParticipantJoined] * 2 + [SessionEnded]
    house.switch.bus.unfollow(heard.append)
    room(house)
    assert len(heard) == 3


def test_g9_sessions_without_calls_have_a_limit_of_their_own(sim: Sim) -> None:
    house = House(sim, limits=Limits(rooms=2, sessions=5))
    room(house)
    room(house)
    with pytest.raises(LimitReached):
        room(house)
    assert house.registry.early == 0


def test_6_sessions_without_calls_outlive_the_process(sim: Sim) -> None:
    house = House(sim)
    session = room(house)

    async def close() -> None:
        await house.registry.close()
        await asyncio.sleep(0)

    sim.run(close())
    assert not over(session)
