"""Calls out through trunks and in from them; failover; who may (points 10, 11, 19)."""

from __future__ import annotations

import pytest

from signalling import Extension, InboundNumber, Pattern
from tests.flows.house import House, route, sim, sources, trunk
from tests.sim.fixture import Sim
from tests.sim.phones import PhoneCall, SimPhone

__all__ = ["sim"]


def two_trunks(sim: Sim, **fields: object) -> tuple[House, SimPhone, SimPhone, SimPhone]:
    """A server with trunks alpha and beta on the route of everything, and a phone."""
    house = House(
        sim,
        trunks=[trunk("alpha", **fields), trunk("beta", **fields)],
        routes=[route(".", "alpha", "beta")],
    )
    return house, house.phone("1001"), house.carrier("alpha"), house.carrier("beta")


def finish(sim: Sim, call: PhoneCall) -> None:
    sim.run_until(lambda: call.state in ("talking", "ended"), limit_s=120)


def test_11_a_phone_dials_out_through_the_first_trunk(sim: Sim) -> None:
    house, alice, alpha, beta = two_trunks(sim)
    alpha.script.answer_after_s = 1.0
    call = alice.invite("+33123")
    finish(sim, call)
    assert call.state == "talking"
    assert beta.calls == []
    assert alpha.call.invite is not None
    assert alpha.call.invite.uri == "sip:+33123@alpha"
    assert house.session.call.trunk == "alpha"
    call.bye()
    sim.run_until(lambda: alpha.call.state == "ended")
    assert house.lines["alpha"].slots.in_use == 0
    assert house.quiet() == {}


@pytest.mark.parametrize("status", [408, 500, 503, 504])
def test_11_next_trunk_after_a_failure_of_the_first(sim: Sim, status: int) -> None:
    house, alice, alpha, beta = two_trunks(sim)
    alpha.script.refuse = status
    beta.script.answer_after_s = 1.0
    call = alice.invite("+33123")
    finish(sim, call)
    assert call.state == "talking"
    assert len(alpha.calls) == 1
    assert house.session.call.trunk == "beta"


@pytest.mark.parametrize("status", [486, 600, 603, 404])
def test_11_busy_declined_and_unknown_are_final(sim: Sim, status: int) -> None:
    house, alice, alpha, beta = two_trunks(sim)
    alpha.script.refuse = status
    call = alice.invite("+33123")
    finish(sim, call)
    assert (call.state, call.status) == ("ended", status)
    assert beta.calls == []
    assert house.quiet() == {}


def test_11_a_silent_trunk_is_left_after_its_time_limit(sim: Sim) -> None:
    _, alice, alpha, beta = two_trunks(sim, answer_timeout_s=4.0)
    alpha.script.ring_after_s = None
    beta.script.answer_after_s = 0.1
    call = alice.invite("+33123")
    sim.run_for(3.5)
    assert beta.calls == []
    sim.run_for(1.5)
    assert call.state == "talking"


def test_11_a_trunk_that_rings_too_long_is_left_too(sim: Sim) -> None:
    _, alice, alpha, beta = two_trunks(sim, ring_timeout_s=20.0)
    beta.script.answer_after_s = 0.1
    call = alice.invite("+33123")
    sim.run_for(25)
    assert alpha.call.state == "ended"
    assert call.state == "talking"


def test_11_a_dead_trunk_is_left_at_once_when_the_port_is_closed(sim: Sim) -> None:
    house = House(sim, trunks=[trunk("alpha"), trunk("beta")], routes=[route(".", "alpha", "beta")])
    alice, beta = house.phone("1001"), house.carrier("beta")
    sim.network.host("alpha")  # a host on which nobody listens
    beta.script.answer_after_s = 0.1
    call = alice.invite("+33123")
    sim.run_for(2)
    assert call.state == "talking"


def test_11_every_trunk_fails(sim: Sim) -> None:
    house, alice, alpha, beta = two_trunks(sim)
    alpha.script.refuse = beta.script.refuse = 503
    call = alice.invite("+33123")
    finish(sim, call)
    assert (call.state, call.status) == ("ended", 500)  # RFC 3261 §21.5.4: a 503 of a trunk is not one of ours
    assert house.quiet() == {}


def test_10_max_calls_of_a_trunk(sim: Sim) -> None:
    house, alice, alpha, beta = two_trunks(sim, max_calls=1)
    alpha.script.answer_after_s = beta.script.answer_after_s = 0.1
    first = alice.invite("+331")
    finish(sim, first)
    second = alice.invite("+332")
    finish(sim, second)
    assert len(alpha.calls) == len(beta.calls) == 1
    third = alice.invite("+333")
    finish(sim, third)
    assert third.status == 503
    first.bye()
    assert house.lines["alpha"].slots.in_use == 1
    sim.run_for(1)
    assert house.lines["alpha"].slots.in_use == 0


def test_10_calls_a_second_of_a_trunk(sim: Sim) -> None:
    _, alice, alpha, beta = two_trunks(sim, max_calls_per_s=1.0)
    alpha.script.answer_after_s = beta.script.answer_after_s = 0.1
    finish(sim, alice.invite("+331"))
    finish(sim, alice.invite("+332"))
    assert len(beta.calls) == 1


def test_10_options_take_a_trunk_down_and_bring_it_back(sim: Sim) -> None:
    house = House(
        sim,
        trunks=[trunk("alpha", options_interval_s=10.0, options_misses=2)],
        routes=[route(".", "alpha")],
    )
    alice, alpha = house.phone("1001"), house.carrier("alpha")
    alpha.script.answer_after_s = 0.1

    async def start() -> None:
        for keeper in house.keepers:
            keeper.start()

    sim.run(start())
    sim.run_for(15)
    assert "OPTIONS" in sim.network.sent("ringway", "alpha")
    sim.network.take_down("alpha")
    sim.run_for(120)
    refused = alice.invite("+331")
    finish(sim, refused)
    assert refused.status == 503
    sim.network.bring_up("alpha")
    sim.run_for(60)
    call = alice.invite("+331")
    finish(sim, call)
    assert call.state == "talking"


def test_9_registration_at_a_trunk(sim: Sim) -> None:
    carrier_side = House(sim, extensions=[Extension("trunkuser")])
    client = House2(sim)
    client.start()
    sim.run_for(5)
    assert len(carrier_side.switch.registrar.bindings("trunkuser", sim.now)) == 1
    sim.run(client.house.keepers[0].close())
    sim.run_for(2)
    assert carrier_side.switch.registrar.bindings("trunkuser", sim.now) == []


class House2:
    """A second server, that registers at the first as `trunkuser`."""

    def __init__(self, sim: Sim) -> None:
        self.sim = sim
        self.house = House(
            sim,
            host="branch",
            trunks=[
                trunk(
                    "hq",
                    hosts=("sip:ringway",),
                    register=True,
                    username="trunkuser",
                    password="ringway-trunkuser",
                )
            ],
        )

    def start(self) -> None:
        async def start() -> None:
            self.house.keepers[0].start()

        self.sim.run(start())


def test_10_outbound_authentication(sim: Sim) -> None:
    hq = House(sim, extensions=[Extension("trunkuser"), Extension("1002")])
    branch = House(
        sim,
        host="branch",
        trunks=[trunk("hq", hosts=("sip:ringway",), username="trunkuser", password="ringway-trunkuser")],
        routes=[route(".", "hq")],
        extensions=[Extension("2001", patterns=(Pattern.parse("."),))],
    )
    bob = hq.phone("1002")
    bob.script.answer_after_s = 0.1
    alice = branch.phone("2001")
    call = alice.invite("1002")
    finish(sim, call)
    assert call.state == "talking"
    call.bye()
    assert branch.quiet() == {}
    assert hq.quiet() == {}


# In from a trunk.


def inbound(sim: Sim, **fields: object) -> tuple[House, SimPhone]:
    house = House(
        sim,
        trunks=[trunk("carrier", inbound_sources=sources("10.0.0.77/32"), **fields)],
        routes=[route(".", "carrier")],
        inbound=[InboundNumber(Pattern.parse("+4930100"), "1001"), InboundNumber(Pattern.parse("+4930199"), "600")],
    )
    sim.network.host("carrier", "10.0.0.77")
    return house, house.carrier("carrier")


def test_11_a_trunk_calls_in_to_an_extension(sim: Sim) -> None:
    house, carrier = inbound(sim)
    alice = house.phone("1001")
    alice.script.answer_after_s = 0.5
    call = carrier.invite(
        f"sip:+4930100@{sim.network.host('ringway')}",
        headers=[("P-Asserted-Identity", '"Dr. Who" <sip:+441234@carrier>')],
    )
    finish(sim, call)
    assert call.state == "talking"
    assert alice.call.invite is not None
    assert '"Dr. Who" <sip:+441234@ringway>' in alice.call.invite.get("From")
    call.bye()
    assert house.quiet() == {}


def test_11_a_trunk_calls_in_to_the_echo_test(sim: Sim) -> None:
    _, carrier = inbound(sim)
    call = carrier.invite(f"sip:+4930199@{sim.network.host('ringway')}")
    finish(sim, call)
    assert call.state == "talking"


def test_10_calls_in_are_counted_among_the_calls_of_a_trunk(sim: Sim) -> None:
    house, carrier = inbound(sim, max_calls=1)
    alice = house.phone("1002")
    first = carrier.invite(f"sip:+4930199@{sim.network.host('ringway')}")
    finish(sim, first)
    second, out = carrier.invite(f"sip:+4930199@{sim.network.host('ringway')}"), alice.invite("+33123")
    finish(sim, second)
    finish(sim, out)
    assert (first.state, second.status, out.status) == ("talking", 503, 503)
    first.bye()
    sim.run_for(1)
    third = carrier.invite(f"sip:+4930199@{sim.network.host('ringway')}")
    finish(sim, third)
    assert third.state == "talking"
    third.bye()
    assert house.quiet() == {}
    assert house.lines["carrier"].slots.in_use == 0


def test_11_a_trunk_cannot_call_through_us(sim: Sim) -> None:
    _, carrier = inbound(sim)
    call = carrier.invite(f"sip:+33123@{sim.network.host('ringway')}")
    finish(sim, call)
    assert call.status == 404
    assert len(carrier.calls) == 1


def test_11_an_unauthenticated_invite_never_makes_a_trunk_leg(sim: Sim) -> None:
    house, carrier = inbound(sim)
    stranger = sim.phone("stranger", "1001")  # claims to be 1001 and knows no password
    call = stranger.invite("+33123")
    finish(sim, call)
    assert call.status == 401
    spoofer = sim.phone("spoofer", "carrier")
    call = spoofer.invite("+33123", headers=[("P-Asserted-Identity", "<sip:carrier@carrier>")])
    finish(sim, call)
    assert call.status == 401
    wrong = sim.phone("wrong", "1001", "not the password")
    call = wrong.invite("+33123")
    finish(sim, call)
    assert call.status == 401
    assert carrier.calls == []
    assert house.quiet() == {}


def test_11_an_extension_without_patterns_reaches_no_trunk(sim: Sim) -> None:
    house = House(
        sim,
        extensions=[Extension("1001", patterns=(Pattern.parse("+49."),))],
        trunks=[trunk("carrier")],
        routes=[route(".", "carrier")],
    )
    alice, carrier = house.phone("1001"), house.carrier("carrier")
    call = alice.invite("+33123")
    finish(sim, call)
    assert call.status == 403
    assert carrier.calls == []


# Media past us.


def test_13_bypass_passes_the_sdp_through_untouched(sim: Sim) -> None:
    house = House(sim, trunks=[trunk("carrier", media="bypass")], routes=[route(".", "carrier")])
    alice, carrier = house.phone("1001"), house.carrier("carrier")
    carrier.script.answer_after_s = 0.5
    call = alice.invite("+33123")
    finish(sim, call)
    assert carrier.call.remote_sdp == call.sdp()
    assert call.remote_sdp == carrier.call.sdp()
    assert house.media.legs == []
    call.reinvite("sendonly")
    sim.run_for(1)
    assert carrier.call.remote_sdp == call.sdp()
    call.bye()
    assert house.quiet() == {}


def test_13_bypass_with_a_late_offer(sim: Sim) -> None:
    house = House(sim, trunks=[trunk("carrier", media="bypass")], routes=[route(".", "carrier")])
    alice, carrier = house.phone("1001"), house.carrier("carrier")
    carrier.script.answer_after_s = 0.5
    call = alice.invite("+33123", sdp=False)
    finish(sim, call)
    sim.run_for(1)
    assert call.remote_sdp == carrier.call.sdp()
    assert carrier.call.remote_sdp == call.sdp()
    assert carrier.call.received.count("ACK") == 1


def test_8_requests_to_a_trunk_go_where_its_contact_says(sim: Sim) -> None:
    house = House(sim, trunks=[trunk("carrier")], routes=[route(".", "carrier")])
    alice, carrier = house.phone("1001"), house.carrier("carrier")
    gateway = sim.phone("gateway")
    carrier.on_call = lambda call: None
    call = alice.invite("+33123")
    sim.run_until(lambda: carrier.calls)
    carrier.contact_host = gateway.address
    gateway.calls.append(carrier.call)
    carrier.call.accept()
    sim.run_for(1)
    call.bye()
    sim.run_for(1)
    assert set(sim.network.sent("ringway", "gateway")) == {"ACK", "BYE"}
    assert set(sim.network.sent("ringway", "carrier")) == {"INVITE"}
    assert house.quiet() == {}


def test_13_what_a_trunk_is_offered_is_of_the_ip_version_that_its_host_is_reached_by(sim: Sim) -> None:
    hosts = ("sip:192.0.2.9", "sip:[2001:db8::9]", "sip:carrier")
    house = House(sim, trunks=[trunk("carrier", hosts=hosts, answer_timeout_s=1.0)], routes=[route(".", "carrier")])
    alice, carrier = house.phone("1001"), house.carrier("carrier")
    call = alice.invite("+33123")
    finish(sim, call)
    assert [leg.ipv6 for leg in house.media.legs] == [None, False, True, None]
    assert carrier.calls


@pytest.mark.parametrize("to", ["55", "600"])
@pytest.mark.parametrize("sdp", [True, False])
def test_10_the_codecs_of_a_trunk_hold_for_calls_that_come_in(sim: Sim, to: str, sdp: bool) -> None:
    inbound = [InboundNumber(Pattern.parse("55"), "1001"), InboundNumber(Pattern.parse("600"), "600")]
    address = sim.network.host("carrier")
    house = House(sim, trunks=[trunk("carrier", inbound_sources=sources(address), codecs=("PCMA",))], inbound=inbound)
    alice, carrier = house.phone("1001"), house.carrier("carrier")
    alice.script.answer_after_s = 0.1
    call = carrier.invite(to, sdp=sdp)
    finish(sim, call)
    assert call.state == "talking"
    line = next(line for line in call.remote_sdp.splitlines() if line.startswith("m=audio"))
    assert line.split()[3:] == ["8", "101"]


@pytest.mark.parametrize(("known", "to"), [("+4930123456", "sip:+4930123456@carrier"), ("acme", "sip:+49999@carrier")])
def test_11_a_call_to_the_contact_that_we_registered_is_for_the_number_in_to(sim: Sim, known: str, to: str) -> None:
    address = sim.network.host("carrier")
    settings = {"username": "acme", "password": "x", "register": True, "inbound_sources": sources(address)}
    inbound = [InboundNumber(Pattern.parse(known), "600")]
    house = House(sim, trunks=[trunk("carrier", **settings)], inbound=inbound)
    carrier = house.carrier("carrier")
    call = carrier.invite("acme", to_header=f"<{to}>")
    finish(sim, call)
    assert call.state == "talking"
    other = carrier.invite("bcme", to_header=f"<{to}>")
    finish(sim, other)
    assert other.status == 404
