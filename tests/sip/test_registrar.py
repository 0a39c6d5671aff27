"""The registrar: point 9 of issue 2, against RFC 3261 §10.3, RFC 5626 and RFC 3327."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sip.headers import Address
from sip.message import Request, Response, parse_message
from sip.registrar import Binding, Registrar, RegistrarLimits
from tests.corpus.expected import load

AOR = "1001"


@dataclass(frozen=True)
class Wire:
    """A flow that sends nothing."""

    remote: tuple[str, int] = ("192.0.2.10", 5060)
    transport: str = "UDP"
    number: int = 0
    closed: bool = False
    local: tuple[str, int] = ("192.0.2.1", 5060)
    sent_by: str = "192.0.2.1:5060"

    @property
    def reliable(self) -> bool:
        return self.transport != "UDP"

    def send(self, data: bytes) -> None:
        raise AssertionError("the registrar sends nothing")


UDP = Wire()
TCP = Wire(("192.0.2.10", 40000), "TCP")


def message(
    *contacts: str,
    cseq: int = 1,
    call_id: str = "call-1",
    headers: tuple[str, ...] = (),
    vias: int = 1,
) -> Request:
    lines = [
        "REGISTER sip:pbx.example SIP/2.0",
        *[f"Via: SIP/2.0/UDP h{hop}.example;branch=z9hG4bK{hop}" for hop in range(vias)],
        "From: <sip:1001@pbx.example>;tag=1",
        "To: <sip:1001@pbx.example>",
        f"Call-ID: {call_id}",
        f"CSeq: {cseq} REGISTER",
        *[f"Contact: {contact}" for contact in contacts],
        *headers,
        "",
        "",
    ]
    parsed = parse_message("\r\n".join(lines).encode())
    assert isinstance(parsed, Request)
    return parsed


class Phones:
    """A registrar, and phones that register with it."""

    def __init__(self, **limits: int) -> None:
        self.changes: list[tuple[str, list[str]]] = []
        self.registrar = Registrar(RegistrarLimits(**limits), on_change=self._changed)
        self.now = 1000.0
        self.cseq = 0

    def _changed(self, aor: str, bindings: list[Binding]) -> None:
        self.changes.append((aor, [str(binding.uri) for binding in bindings]))

    def send(self, *contacts: str, flow: Wire = UDP, aor: str = AOR, **options: Any) -> Response:
        if "cseq" not in options:
            self.cseq += 1
            options["cseq"] = self.cseq
        answer = self.registrar.register(message(*contacts, **options), flow, aor, self.now)
        parsed = parse_message(answer.to_bytes())
        assert isinstance(parsed, Response)
        assert parsed.to.tag
        return parsed

    def uris(self, aor: str = AOR) -> list[str]:
        return [str(binding.uri) for binding in self.registrar.bindings(aor, self.now)]

    def only(self) -> Binding:
        (binding,) = self.registrar.bindings(AOR, self.now)
        return binding


@pytest.fixture
def phones() -> Phones:
    return Phones()


def granted(response: Response) -> dict[str, str | None]:
    return {str(contact.uri): contact.parameter("expires") for contact in response.contacts}


# Bindings.


def test_9_a_contact_is_bound_to_the_flow_it_came_on(phones: Phones) -> None:
    response = phones.send('"Alice" <sip:1001@10.0.0.5:5071;ob>;+x=y', headers=("User-Agent: Phone/1", "Expires: 120"))
    assert response.status == 200
    assert granted(response) == {"sip:1001@10.0.0.5:5071;ob": "120"}
    assert response.contacts[0].display == "Alice"
    assert response.contacts[0].parameter("+x") == "y"
    binding = phones.only()
    assert binding.flow == UDP
    assert binding.received == ("192.0.2.10", 5060)
    assert str(binding.request_uri) == "sip:1001@10.0.0.5:5071;ob"
    assert (binding.user_agent, binding.expires_at, binding.call_id) == ("Phone/1", 1120.0, "call-1")
    assert phones.changes == [(AOR, ["sip:1001@10.0.0.5:5071;ob"])]


def test_9_several_contacts(phones: Phones) -> None:
    response = phones.send("<sip:a@h>;expires=100, <sip:b@h>;expires=200", "<sip:c@h>", headers=("Expires: 300",))
    assert granted(response) == {"sip:a@h": "100", "sip:b@h": "200", "sip:c@h": "300"}
    assert phones.registrar.counts() == {"aors": 1, "bindings": 3}
    assert len(phones.changes) == 1


def test_9_a_refresh_keeps_one_binding_and_tells_nobody(phones: Phones) -> None:
    phones.send("<sip:a@h>;expires=100")
    phones.now += 50
    assert granted(phones.send("<sip:a@h>;expires=100", call_id="other")) == {"sip:a@h": "100"}
    assert phones.changes == [(AOR, ["sip:a@h"])]


def test_9_contacts_are_compared_as_uris(phones: Phones) -> None:
    phones.send("<sip:a@h>")
    assert granted(phones.send("<sip:%61@H>")) == {"sip:%61@H": "3600"}
    phones.send("<sip:A@h>")
    phones.send("<sip:a@h:5060>")
    assert phones.registrar.counts()["bindings"] == 3  # RFC 3261 §19.1.4: case of the user part, and a port


def test_9_a_refresh_on_another_flow_moves_the_binding(phones: Phones) -> None:
    phones.send("<sip:a@h>", flow=TCP)
    moved = Wire(("192.0.2.10", 40001), "TCP", 1)
    phones.send("<sip:a@h>", flow=moved)
    assert phones.only().flow == moved
    phones.registrar.flow_closed(TCP)
    assert phones.only().flow == moved
    assert len(phones.changes) == 2


def test_9_fetch(phones: Phones) -> None:
    assert phones.send().contacts == ()
    phones.send("<sip:a@h>;expires=100")
    phones.now += 30.5
    assert granted(phones.send()) == {"sip:a@h": "70"}
    assert len(phones.changes) == 1


def test_9_addresses_of_record_are_apart(phones: Phones) -> None:
    phones.send("<sip:a@h>")
    phones.send("<sip:a@h>", aor="1002")
    phones.send("<sip:a@h>;expires=0", aor="1002")
    assert phones.uris() == ["sip:a@h"]
    assert phones.uris("1002") == []
    assert phones.registrar.counts() == {"aors": 1, "bindings": 1}


# Order.


def test_9_q_orders_then_the_last_refreshed(phones: Phones) -> None:
    phones.send("<sip:low@h>;q=0.1, <sip:half@h>;q=0.5, <sip:default@h>, <sip:none@h>;q=0")
    phones.now += 1
    phones.send("<sip:new@h>;q=0.5")
    assert phones.uris() == ["sip:default@h", "sip:new@h", "sip:half@h", "sip:low@h", "sip:none@h"]


@pytest.mark.parametrize(
    ("text", "q"),
    [
        ("1", 1.0),
        ("1.000", 1.0),
        ("0.333", 0.333),
        ("0", 0.0),
        ("0.", 0.0),
        ("1.5", 1.0),
        ("x", 1.0),
        ("2", 1.0),
        ("0.1234", 1.0),
    ],
)
def test_9_q_values(phones: Phones, text: str, q: float) -> None:
    phones.send(f"<sip:a@h>;q={text}")
    assert phones.only().q == q


# Expiry.


@pytest.mark.parametrize(
    ("contact", "header", "expected"),
    [
        ("<sip:a@h>", None, 3600),
        ("<sip:a@h>", "600", 600),
        ("<sip:a@h>;expires=700", "600", 700),
        ("<sip:a@h>;expires=86400", None, 3600),
        ("<sip:a@h>;expires=99999999999999999999", None, 3600),
        ("<sip:a@h>;expires=soon", None, 3600),  # RFC 3261 §20.10: malformed means the default
        ("<sip:a@h>", "soon", 3600),
        ('<sip:a@h>;expires="900"', None, 900),
    ],
)
def test_9_the_time_granted(phones: Phones, contact: str, header: str | None, expected: int) -> None:
    response = phones.send(contact, headers=(f"Expires: {header}",) if header else ())
    assert granted(response) == {"sip:a@h": str(expected)}


def test_9_too_brief_is_423_with_min_expires_and_changes_nothing(phones: Phones) -> None:
    response = phones.send("<sip:ok@h>;expires=600, <sip:a@h>;expires=59")
    assert response.status == 423
    assert response.get("Min-Expires") == "60"
    assert phones.uris() == []
    assert phones.changes == []
    assert phones.send("<sip:a@h>;expires=60").status == 200


def test_9_an_hour_is_never_too_brief() -> None:
    phones = Phones(min_expires_s=7200, max_expires_s=86400)
    assert phones.send("<sip:a@h>;expires=3599").status == 423
    assert phones.send("<sip:a@h>;expires=3600").status == 200


@given(st.floats(min_value=0.0, max_value=1e9))
def test_9_the_time_granted_is_told_exactly_at_any_instant(now: float) -> None:
    phones = Phones()
    phones.now = now
    assert granted(phones.send("<sip:a@h>;expires=3600")) == {"sip:a@h": "3600"}


def test_9_bindings_expire_by_deadline(phones: Phones) -> None:
    phones.send("<sip:a@h>;expires=100, <sip:b@h>;expires=200")
    assert phones.registrar.deadline == 1100.0
    phones.now = 1100.0
    assert phones.uris() == ["sip:b@h"]  # even before anybody sweeps
    phones.registrar.handle_timeout(1100.0)
    assert phones.changes[-1] == (AOR, ["sip:b@h"])
    assert phones.registrar.deadline == 1200.0
    phones.registrar.handle_timeout(1200.0)
    assert phones.registrar.counts() == {"aors": 0, "bindings": 0}
    assert phones.registrar.deadline is None


def test_9_a_refresh_moves_the_deadline(phones: Phones) -> None:
    phones.send("<sip:a@h>;expires=100")
    phones.now += 90
    phones.send("<sip:a@h>;expires=100")
    phones.registrar.handle_timeout(1100.0)
    assert phones.uris() == ["sip:a@h"]
    assert phones.registrar.deadline == 1190.0


# Leaving.


def test_9_expires_0_removes_one(phones: Phones) -> None:
    phones.send("<sip:a@h>, <sip:b@h>")
    response = phones.send("<sip:a@h>;expires=0")
    assert response.status == 200
    assert list(granted(response)) == ["sip:b@h"]
    assert phones.send("<sip:b@h>", headers=("Expires: 0",)).contacts == ()
    assert phones.registrar.counts() == {"aors": 0, "bindings": 0}


def test_9_removing_what_is_not_there_is_no_fault(phones: Phones) -> None:
    assert phones.send("<sip:a@h>;expires=0").status == 200
    assert phones.changes == []


def test_9_star_removes_all(phones: Phones) -> None:
    phones.send("<sip:a@h>, <sip:b@h>")
    response = phones.send("*", headers=("Expires: 0",))
    assert response.status == 200
    assert response.contacts == ()
    assert phones.uris() == []
    assert phones.changes[-1] == (AOR, [])


@pytest.mark.parametrize("headers", [(), ("Expires: 60",), ("Expires: x",)])
def test_9_star_needs_expires_0(phones: Phones, headers: tuple[str, ...]) -> None:
    phones.send("<sip:a@h>")
    assert phones.send("*", headers=headers).status == 400
    assert phones.uris() == ["sip:a@h"]


def test_9_an_administrator_may_remove(phones: Phones) -> None:
    phones.send("<sip:a@h>, <sip:b@h>")
    phones.registrar.remove(AOR)
    phones.registrar.remove("unknown")
    assert phones.uris() == []
    assert phones.changes[-1] == (AOR, [])


# Order of requests (RFC 3261 §10.3 steps 6 and 7).


def test_9_a_late_request_of_the_same_call_id_changes_nothing(phones: Phones) -> None:
    phones.send("<sip:a@h>", cseq=5)
    for cseq in (4, 5):
        assert phones.send("<sip:a@h>;expires=0", cseq=cseq).status == 500
        assert phones.send("<sip:new@h>, <sip:a@h>;expires=600", cseq=cseq).status == 500
        assert phones.send("*", cseq=cseq, headers=("Expires: 0",)).status == 500
    assert phones.uris() == ["sip:a@h"]
    assert phones.send("<sip:a@h>;expires=0", cseq=6).status == 200


def test_9_a_restarted_phone_has_a_new_call_id_and_counts_anew(phones: Phones) -> None:
    phones.send("<sip:a@h>", cseq=500)
    assert phones.send("<sip:a@h>", cseq=1, call_id="after-reboot").status == 200
    assert phones.registrar.counts()["bindings"] == 1


# Limits.


def test_9_contacts_of_one_address_of_record_are_limited() -> None:
    phones = Phones(max_contacts=2)
    assert phones.send("<sip:a@h>, <sip:b@h>").status == 200
    assert phones.send("<sip:c@h>").status == 403
    assert phones.send("<sip:a@h>, <sip:b@h>").status == 200
    assert phones.send("<sip:c@h>, <sip:a@h>;expires=0").status == 200
    assert sorted(phones.uris()) == ["sip:b@h", "sip:c@h"]
    assert phones.send("<sip:a@h>, <sip:b@h>, <sip:c@h>").status == 403


def test_9_addresses_of_record_are_limited() -> None:
    phones = Phones(max_aors=1)
    assert phones.send("<sip:a@h>").status == 200
    response = phones.send("<sip:a@h>", aor="1002")
    assert (response.status, response.get("Retry-After")) == (503, "60")
    assert phones.send("<sip:b@h>").status == 200


def test_9_sizes_are_limited(phones: Phones) -> None:
    assert phones.send(f"<sip:{'a' * 600}@h>").status == 400
    assert phones.send("<sip:a@h>", headers=tuple(["Path: <sip:p;lr>"] * 9)).status == 400
    assert phones.send("<sip:a@h>", headers=(f"User-Agent: {'x' * 5000}",)).status == 200
    assert len(phones.only().user_agent) == 100


@pytest.mark.parametrize("contact", ["<mailto:a@h>", "<tel:+49301234567>", "<http://h/>"])
def test_9_what_cannot_be_called_is_refused(phones: Phones, contact: str) -> None:
    assert phones.send(contact).status == 400


def test_9_of_a_contact_given_twice_the_last_word_holds(phones: Phones) -> None:
    assert granted(phones.send("<sip:a@h>;expires=100, <sip:a@H>;expires=200")) == {"sip:a@H": "200"}
    assert phones.send("<sip:a@h>, <sip:a@H>;expires=0").contacts == ()
    assert phones.registrar.counts() == {"aors": 0, "bindings": 0}


# Path (RFC 3327) and the Request-URI.


def test_9_path_is_kept_and_returned(phones: Phones) -> None:
    paths = ("Path: <sip:edge2;lr>, <sip:edge1;lr;ob>", "Supported: path")
    response = phones.send("<sip:a@h>", headers=paths)
    assert phones.only().path == ("<sip:edge2;lr>", "<sip:edge1;lr;ob>")
    assert response.headers.get_all("Path") == ["<sip:edge2;lr>", "<sip:edge1;lr;ob>"]
    assert "Path" not in phones.send("<sip:a@h>").headers
    assert phones.only().path == ()


def test_9_what_may_not_stand_in_a_request_uri_is_left_out(phones: Phones) -> None:
    phones.send("<sip:a@h;method=BYE;transport=tcp?Route=%3Csip:evil%3E>")
    assert str(phones.only().request_uri) == "sip:a@h;transport=tcp"
    assert str(phones.only().uri) == "sip:a@h;method=BYE;transport=tcp?Route=%3Csip:evil%3E"


@pytest.mark.parametrize("name", ["regescrt", "cparam01", "cparam02", "escnull"])
def test_5_registers_of_rfc_4475(phones: Phones, name: str) -> None:
    request = parse_message(load(name))
    assert isinstance(request, Request)
    response = phones.registrar.register(request, UDP, AOR, 0.0)
    assert response.status == 200
    assert len(response.contacts) == len(request.contacts)


# Outbound (RFC 5626).


def outbound(uri: str, reg_id: int, instance: str = "<urn:uuid:1>") -> str:
    return f'<{uri}>;reg-id={reg_id};+sip.instance="{instance}"'


OB = ("Supported: outbound, path",)


def test_9_outbound_binds_by_instance_and_reg_id(phones: Phones) -> None:
    first = phones.send(outbound("sip:a@10.0.0.5:40000;ob", 1), flow=TCP, headers=OB)
    assert first.get("Require") == "outbound"
    assert phones.only().instance == "<urn:uuid:1>"
    assert phones.only().reg_id == 1
    # The phone moves to another network: new contact, new flow, new Call-ID, the same binding.
    phones.send(outbound("sip:a@10.9.9.9:50000;ob", 1), headers=OB, call_id="moved")
    assert phones.uris() == ["sip:a@10.9.9.9:50000;ob"]
    # A second flow of the same phone is a binding of its own, even with the same contact.
    phones.send(outbound("sip:a@10.9.9.9:50000;ob", 2), headers=OB)
    assert phones.registrar.counts()["bindings"] == 2
    phones.send(outbound("sip:a@10.9.9.9:50000;ob", 2, "<urn:uuid:2>"), headers=OB)
    assert phones.registrar.counts()["bindings"] == 3


def test_9_reg_id_counts_only_with_outbound_and_an_instance(phones: Phones) -> None:
    response = phones.send(outbound("sip:a@h", 1))
    assert phones.only().reg_id is None
    assert phones.only().instance == "<urn:uuid:1>"
    assert "Require" not in response.headers
    phones.send("<sip:b@h>;reg-id=1", headers=OB)
    phones.send(outbound("sip:c@h", 0), headers=OB)
    assert [binding.reg_id for binding in phones.registrar.bindings(AOR, phones.now)] == [None] * 3


def test_9_more_than_one_reg_id_at_once_is_refused(phones: Phones) -> None:
    assert phones.send(outbound("sip:a@h", 1), outbound("sip:a@h", 2), headers=OB).status == 400


def test_9_behind_a_proxy_outbound_needs_the_proxys_support(phones: Phones) -> None:
    assert phones.send(outbound("sip:a@h", 1), headers=OB, vias=2).status == 439
    path = (*OB, "Path: <sip:edge;lr>")
    assert phones.send(outbound("sip:a@h", 1), headers=path, vias=2).status == 439
    path = (*OB, "Path: <sip:edge;lr;ob>")
    assert phones.send(outbound("sip:a@h", 1), headers=path, vias=2).status == 200


# Connections that end.


def test_9_a_closed_connection_drops_what_nothing_else_reaches(phones: Phones) -> None:
    phones.send(outbound("sip:ob@192.0.2.10:40000;transport=tcp", 1), flow=TCP, headers=OB)
    phones.send("<sip:nat@10.0.0.5:5060;transport=tcp>", flow=TCP)
    phones.send("<sip:app@abc123.invalid;transport=ws>", flow=TCP)
    phones.send("<sip:direct@192.0.2.10:5060;transport=tcp>", flow=TCP)
    phones.send("<sip:named@phone.example;transport=tcp>", flow=TCP)
    other = Wire(("192.0.2.11", 40000), "TCP")
    phones.send("<sip:other@10.0.0.6;transport=tcp>", flow=other)
    phones.registrar.flow_closed(TCP)
    assert sorted(phones.uris()) == [
        "sip:direct@192.0.2.10:5060;transport=tcp",
        "sip:named@phone.example;transport=tcp",
        "sip:other@10.0.0.6;transport=tcp",
    ]
    assert len(phones.changes) == 7
    phones.registrar.flow_closed(TCP)
    assert len(phones.changes) == 7


def test_9_an_unknown_flow_that_closes_is_nobodys(phones: Phones) -> None:
    phones.registrar.flow_closed(Wire(("203.0.113.1", 1), "TCP"))
    assert phones.changes == []


# Everything at once.


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["set", "refresh", "drop", "star", "close", "wait", "fetch"]),
        st.integers(min_value=0, max_value=3),
        st.integers(min_value=60, max_value=300),
    ),
    max_size=40,
)


@settings(max_examples=60)
@given(ACTIONS)
def test_9_no_sequence_leaves_anything_behind(actions: list[tuple[str, int, int]]) -> None:
    phones = Phones(max_contacts=3)
    rng = random.Random(len(actions))
    flows = [Wire(("192.0.2.10", 40000 + number), "TCP", number) for number in range(2)]
    for action, number, seconds in actions:
        flow = rng.choice(flows)
        contact = outbound("sip:x@10.0.0.1", number + 1) if number % 2 else f"<sip:{number}@10.0.0.1>"
        if action in ("set", "refresh"):
            assert phones.send(f"{contact};expires={seconds}", flow=flow, headers=OB).status in (200, 403)
        elif action == "drop":
            assert phones.send(f"{contact};expires=0", flow=flow, headers=OB).status == 200
        elif action == "star":
            phones.send("*", headers=("Expires: 0",))
        elif action == "close":
            phones.registrar.flow_closed(flow)
            flows.remove(flow)
            flows.append(Wire(flow.remote, "TCP", flow.number + 10))
        elif action == "wait":
            phones.now += seconds
            phones.registrar.handle_timeout(phones.now)
        bindings = phones.registrar.bindings(AOR, phones.now)
        assert len(bindings) <= 3
        assert len(bindings) == phones.registrar.counts()["bindings"]
        assert all(binding.flow in flows for binding in bindings)
        assert all(Address.parse(str(binding.contact)) == binding.contact for binding in bindings)
    phones.registrar.handle_timeout(phones.now + 10_000)
    assert phones.registrar.counts() == {"aors": 0, "bindings": 0}
    assert phones.registrar._by_connection == {}
