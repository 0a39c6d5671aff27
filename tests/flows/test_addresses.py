"""A trunk of several addresses, of which some are dead (points 7, 10, 11), and phones whose connection goes."""

from __future__ import annotations

import pytest

from signalling import InboundNumber, Pattern
from sip import Listen
from sip.resolver import Srv
from sip.trunk import HealthState
from tests.flows.house import House, route, sim, sources, trunk
from tests.sim.fixture import Sim
from tests.sim.phones import SimPhone

__all__ = ["sim"]


def srv(sim: Sim, name: str, *hosts: str) -> None:
    """SRV records of `name`, by priority."""
    records = [Srv(place, 1, 5060, host) for place, host in enumerate(hosts, 1)]
    sim.network.dns.srv_records[f"_sip._udp.{name}"] = records


def two_addresses(sim: Sim, **fields: object) -> tuple[House, SimPhone, SimPhone]:
    """A server with one trunk, whose name leads to hosts north and south."""
    house = House(sim, trunks=[trunk("carrier", **fields)], routes=[route(".", "carrier")])
    srv(sim, "carrier", "north", "south")
    return house, house.carrier("north"), house.carrier("south")


def start(sim: Sim, house: House) -> None:
    """Let the trunks be probed and registered."""

    async def begin() -> None:
        for keeper in house.keepers:
            keeper.start()

    sim.run(begin())


def is_up(house: House) -> bool:
    """Whether the trunk may be given calls."""
    return house.lines["carrier"].health.state is HealthState.UP


def test_7_a_silent_address_gives_way_to_the_next_within_the_time_of_the_trunk(sim: Sim) -> None:
    house, _, south = two_addresses(sim)
    alice = house.phone("1001")
    sim.network.take_down("north")
    south.script.answer_after_s = 0.5
    call = alice.invite("+33123")
    sim.run_for(6)
    assert call.state == "talking"
    sim.network.bring_up("north")
    call.bye()
    assert house.quiet() == {}


def test_7_an_address_that_says_trying_is_left_to_its_work(sim: Sim) -> None:
    house, north, south = two_addresses(sim)
    alice = house.phone("1001")
    north.on_call = lambda call: north.answer(call.invite, 100, call=call)  # type: ignore[arg-type]
    alice.invite("+33123")
    sim.run_for(9)
    assert south.calls == []


def test_7_two_addresses_share_the_time_of_the_trunk(sim: Sim) -> None:
    house, _, _ = two_addresses(sim, answer_timeout_s=4.0)
    alice = house.phone("1001")
    for name in ("north", "south"):
        sim.network.take_down(name)
    call = alice.invite("+33123")
    sim.run_for(3.9)
    assert call.state == "calling"
    assert len(sim.network.messages("INVITE", source="ringway")) > 4
    sim.run_for(0.5)
    assert (call.state, call.status) == ("ended", 408)
    assert house.quiet() == {}


def test_10_the_second_host_of_a_trunk_is_the_same_call_a_second(sim: Sim) -> None:
    house = House(
        sim,
        trunks=[trunk("carrier", hosts=("sip:north", "sip:south"), max_calls_per_s=1.0)],
        routes=[route(".", "carrier")],
    )
    north, south = house.carrier("north"), house.carrier("south")
    alice = house.phone("1001")
    north.script.refuse = 503
    south.script.answer_after_s = 0.1
    call = alice.invite("+33123")
    sim.run_for(0.5)
    assert call.state == "talking"
    second = alice.invite("+33124")
    sim.run_for(0.3)
    assert second.status == 503


def test_10_a_trunk_is_up_while_one_of_its_hosts_answers(sim: Sim) -> None:
    house = House(sim, trunks=[trunk("carrier", hosts=("sip:north", "sip:south"), options_interval_s=10.0)])
    house.carrier("north"), house.carrier("south")
    sim.network.take_down("north")
    start(sim, house)
    sim.run_for(200)
    assert is_up(house)
    sim.network.take_down("south")
    sim.run_for(200)
    assert not is_up(house)
    sim.network.bring_up("north")
    sim.run_for(100)
    assert is_up(house)


@pytest.mark.parametrize("hosts", [("sip:carrier",), ("sip:north", "sip:south")], ids=["addresses", "hosts"])
def test_10_an_address_that_answers_no_options_is_dialled_last(sim: Sim, hosts: tuple[str, ...]) -> None:
    house, north, south = two_addresses(sim, hosts=hosts, options_interval_s=20.0)
    alice = house.phone("1001")
    sim.network.take_down("north")
    start(sim, house)
    sim.run_for(60)
    for carrier in (north, south):
        carrier.script.answer_after_s = 0.1
    call = alice.invite("+33123")
    sim.run_for(0.5)
    assert (call.state, north.calls) == ("talking", [])
    call.bye()
    sim.network.bring_up("north")
    sim.run_for(60)
    call = alice.invite("+33124")
    sim.run_for(0.5)
    assert (call.state, len(north.calls)) == ("talking", 1)
    call.bye()
    sim.run_for(1)
    assert house.registry.counts()["sessions"] == 0  # probes go on


def test_10_without_any_answer_the_addresses_keep_their_order(sim: Sim) -> None:
    house, north, _ = two_addresses(sim, options_interval_s=20.0, options_misses=100)
    alice = house.phone("1001")
    for name in ("north", "south"):
        sim.network.take_down(name)
    start(sim, house)
    sim.run_for(90)
    for name in ("north", "south"):
        sim.network.bring_up(name)
    north.script.answer_after_s = 0.1
    call = alice.invite("+33123")
    sim.run_for(0.5)
    assert (call.state, len(north.calls)) == ("talking", 1)


def test_9_a_registration_goes_to_the_next_address_and_stays_there(sim: Sim) -> None:
    house = House(sim, trunks=[trunk("carrier", username="u", password="ringway-1001", register=True)])
    north = house.carrier("north")
    registrar = House(sim, host="south")  # any registrar that asks for a password
    srv(sim, "carrier", "north", "south")
    sim.network.take_down("north")
    start(sim, house)
    sim.run_for(40)
    assert len(sim.network.messages("REGISTER", source="north")) == 0
    seen = sim.network.sent("ringway", "south")
    assert seen.count("REGISTER") == 2  # without and with credentials, both to the one that lives
    assert north.calls == []
    assert registrar.registry.counts()["sessions"] == 0


@pytest.mark.parametrize(
    "uri",
    [
        "tel:+49-30-123456",
        "sip:+4930123456;npdi;rn=+49301@ringway;user=phone",
        "sip:+4930123456;verstat=TN-Validation-Passed@ringway",
        "sip:+49(30)123456@ringway;user=phone",
    ],
)
def test_11_an_inbound_number_is_found_however_the_carrier_writes_it(sim: Sim, uri: str) -> None:
    house = House(
        sim,
        trunks=[trunk("carrier", inbound_sources=sources("10.0.0.0/24"))],
        inbound=[InboundNumber(Pattern.parse("+4930123456"), "600")],
    )
    call = house.carrier("carrier").invite(uri)
    sim.run_for(2)
    assert call.state == "talking"


def test_13_a_trunk_whose_name_has_ipv6_addresses_alone_is_offered_one_of_ours(sim: Sim) -> None:
    house = House(sim, trunks=[trunk("carrier")], routes=[route(".", "carrier")])
    house.endpoint.addresses += (Listen("UDP", "2001:db8::1", 5060),)
    house.endpoint._versions = (4, 6)
    sim.network.host("carrier", "2001:db8::2")
    house.phone("1001").invite("+33123")
    sim.run_for(1)
    invite = sim.network.messages("INVITE", source="ringway")[0]
    assert "c=IN IP6 2001:db8::1\r\n" in invite
    assert [leg.ipv6 for leg in house.media.legs] == [None, None, True]
    assert house.media.live == []  # nobody is there


def test_7_an_invite_that_what_crosses_makes_large_goes_by_tcp(sim: Sim) -> None:
    house = House(sim, trunks=[trunk("carrier", pai="caller", rpi="caller")], routes=[route(".", "carrier")])
    house.carrier("carrier")
    sim.network.listen((sim.network.host("carrier"), 5060), lambda end: None)
    alice = house.phone("1001")
    alice.invite("+33123", headers=[("User-to-User", "56" * 120 + ";encoding=hex"), ("Subject", "x" * 200)])
    alice.invite("+33124")
    sim.run_for(0.5)
    ways = {
        text.split()[1][:10]: text.splitlines()[1][:16] for text in sim.network.messages("INVITE", source="ringway")
    }
    assert ways == {"sip:+33123": "Via: SIP/2.0/TCP", "sip:+33124": "Via: SIP/2.0/UDP"}


# A phone's connection.


def test_7_a_phone_that_comes_back_over_a_new_connection_is_told_of_the_end(sim: Sim) -> None:
    house = House(sim)
    alice, bob = house.phone("1001"), house.phone("1002", transport="TCP")
    bob.script.answer_after_s = 0.1
    call = alice.invite("1002")
    sim.run_for(1)
    assert bob._end is not None
    bob._end.close()
    sim.run_for(1)
    bob.register()
    sim.run_for(1)
    call.bye()
    sim.run_for(1)
    assert bob.call.state == "ended"
    assert house.quiet() == {}


def test_7_a_connection_to_a_trunk_that_was_closed_is_opened_again(sim: Sim) -> None:
    house = House(sim, trunks=[trunk("carrier", hosts=("sip:carrier;transport=tcp",))], routes=[route(".", "carrier")])
    carrier = sim.phone("carrier", transport="TCP")
    carrier.script.answer_after_s = 0.1
    alice = house.phone("1001")
    call = alice.invite("+33123")
    sim.run_for(1)
    assert call.state == "talking"
    assert carrier._end is not None
    carrier._end.close()
    sim.run_for(1)
    call.bye()
    sim.run_for(1)
    assert carrier.call.state == "ended"
    assert house.quiet() == {}
