"""Calls between phones, as ladders in virtual time (points 6, 8, 12)."""

from __future__ import annotations

from tests.flows.house import House, sim
from tests.sim.fixture import Sim

__all__ = ["sim"]


def test_12_caller_is_answered_only_after_the_callee(sim: Sim) -> None:
    house = House(sim)
    alice, bob = house.phone("1001"), house.phone("1002")
    sim.network.trace.clear()
    call = alice.invite("1002")
    sim.run_until(lambda: call.state == "ringing")
    sim.run_for(5)
    assert call.state == "ringing"
    bob.call.accept()
    sim.run_until(lambda: call.state == "talking")
    sim.run_for(1)
    assert [line for line in sim.network.ladder() if "OPTIONS" not in line] == [
        "phone1001 > ringway: INVITE",
        "ringway > phone1001: 100 INVITE",
        "ringway > phone1001: 401 INVITE",
        "phone1001 > ringway: ACK",
        "phone1001 > ringway: INVITE",
        "ringway > phone1001: 100 INVITE",
        "ringway > phone1002: INVITE",
        "phone1002 > ringway: 180 INVITE",
        "ringway > phone1001: 180 INVITE",
        "phone1002 > ringway: 200 INVITE",
        "ringway > phone1002: ACK",
        "ringway > phone1001: 200 INVITE",
        "phone1001 > ringway: ACK",
    ]
    assert house.media.counts()["bridges"] == 1
    call.bye()
    sim.run_until(lambda: bob.call.state == "ended")
    assert house.quiet() == {}
