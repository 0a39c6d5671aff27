"""Via, ACK and CANCEL that a hop makes. Their use is shown in test_client_invite.py and tests/sip/test_stack.py."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sip.message import Request, parse_message
from sip.transactions.hop import ack_bytes, cancel_request, record_source, via_text, with_via
from tests.sip.ladder import FakeFlow, Network, answer, request

NET = Network()
FLOW = FakeFlow(NET.node("us"), NET.node("phone"), "UDP")


def test_with_via_changes_nothing_else() -> None:
    message = request("MESSAGE", with_via=False, body="bé\r\n\r\nVia: no".encode())
    wire = with_via(message, via_text(FLOW, "z9hG4bK-7"))
    assert wire.startswith(
        b"MESSAGE sip:bob@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK-7;rport\r\n"
    )
    twin = parse_message(wire)
    twin.headers.remove("Via")
    assert twin == message


def test_ack_and_cancel_keep_latin_1_octets() -> None:
    """A caller's name in Latin-1 comes back as it went."""
    invite = request("INVITE")
    invite.headers.set("From", '"Jos\xe9" <sip:alice@example.org>;tag=alice')
    via = "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK-7"
    ack = parse_message(ack_bytes(invite, via, answer(invite, 404)))
    assert isinstance(ack, Request)
    assert ack.get("From") == invite.get("From")
    cancel = parse_message(with_via(cancel_request(invite, None), via))
    assert cancel.get("From") == invite.get("From")
    assert "Reason" not in cancel.headers


names = st.sampled_from(["rport", "RPORT", "received", "branch", "ttl", "x-y", "maddr"])
values = st.one_of(st.none(), st.sampled_from(["1", "192.0.2.2", "z9hG4bK-1", '"a;b"', "5060"]))


@given(st.sampled_from(["192.0.2.2", "10.0.0.1", "pc.example.org"]), st.lists(st.tuples(names, values), max_size=5))
def test_the_recorded_source_is_the_true_one(host: str, parameters: list[tuple[str, str | None]]) -> None:
    """Whatever the client wrote: rport and received are ours or absent, all else stays in its order."""
    tail = "".join(f";{name}" if value is None else f";{name}={value}" for name, value in parameters)
    message = request("OPTIONS", branch=None, via=f"SIP/2.0/UDP {host}{tail}")
    asked = any(name.lower() == "rport" for name, _ in parameters)
    record_source(message, FLOW)
    via = message.via
    assert via.received == ("192.0.2.2" if asked or host != "192.0.2.2" else None)
    assert via.rport == (5060 if asked else None)
    ours = ("rport", "received")
    kept = [(name, value) for name, value in via.parameters if name.lower() not in ours]
    assert kept == [(name, value) for name, value in parameters if name.lower() not in ours]
