"""The INVITE of an outgoing leg: points 10 and 16 of issue 2, conformance D5 to D8, D14 to D16 and G7."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.headers import Address
from sip.message import Request, parse_message
from sip.outgoing import AutoAnswer, BuiltInvite, CallIntent, Rewrites, build_invite
from sip.trunk import TrunkConfig, request_uri
from sip.uri import Uri

DOMAIN = "pbx.example"
CARRIER = TrunkConfig("carrier", ("sip:carrier.example:5070;transport=tcp",))
PHONE = Uri.parse("sip:1002-x7@192.0.2.50:5064;transport=tcp;ob")


def intent(**options: Any) -> CallIntent:
    fields: dict[str, Any] = {"caller": "1001", "callee": "0301234567", "caller_display_name": "Alice"}
    return CallIntent(**{**fields, **options})


def build(
    wanted: CallIntent, trunk: TrunkConfig | None = CARRIER, *, target: Uri | None = None, body: bytes = b""
) -> BuiltInvite:
    if target is None:
        target = PHONE if trunk is None else request_uri(trunk, wanted.callee, trunk.targets[0])
    return build_invite(
        wanted,
        trunk=trunk,
        target=target,
        domain=DOMAIN,
        contact="<sip:ringway@192.0.2.1:5060>",
        call_id="call-1",
        from_tag="tag1",
        body=body,
        reasons=True,
    )


def sent(built: BuiltInvite) -> Request:
    """The INVITE as a peer reads it."""
    request = built.request.copy()
    request.headers.insert("Via", "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1")
    message = parse_message(request.to_bytes())
    assert isinstance(message, Request)
    return message


def value(built: BuiltInvite, name: str) -> str | None:
    return sent(built).get(name)


def rule(built: BuiltInvite, name: str) -> str:
    return next(reason.rule for reason in built.reasons if reason.header == name)


# What every INVITE has.


def test_16_a_leg_to_a_phone() -> None:
    request = sent(build(intent(callee="1002"), None, body=b"v=0\r\n"))
    assert request.uri == str(PHONE)
    assert request.get("From") == '"Alice" <sip:1001@pbx.example>;tag=tag1'
    assert request.get("To") == "<sip:1002@pbx.example>"  # not its contact: that is where, not who
    assert request.get("Contact") == "<sip:ringway@192.0.2.1:5060>"
    assert request.get("Call-ID") == "call-1"
    assert request.get("CSeq") == "1 INVITE"
    assert request.get("Max-Forwards") == "70"
    assert request.get("Content-Type") == "application/sdp"
    assert request.body == b"v=0\r\n"
    assert "BYE" in request.allow
    for name in ("P-Asserted-Identity", "Remote-Party-ID", "Privacy", "Alert-Info", "Supported"):
        assert name not in request.headers


def test_16_a_leg_through_a_trunk() -> None:
    request = sent(build(intent()))
    assert request.uri == "sip:0301234567@carrier.example:5070;transport=tcp"
    assert request.get("To") == "<sip:0301234567@carrier.example:5070>"
    assert request.get("From") == '"Alice" <sip:1001@pbx.example>;tag=tag1'


def test_16_a_late_offer_has_no_content_type() -> None:
    request = sent(build(intent()))
    assert request.body == b""
    assert "Content-Type" not in request.headers


def test_16_a_caller_without_a_name_or_number() -> None:
    assert value(build(intent(caller_display_name=None)), "From") == "<sip:1001@pbx.example>;tag=tag1"
    assert value(build(intent(caller="", caller_display_name="")), "From") == "<sip:pbx.example>;tag=tag1"


def test_16_numbers_may_come_as_uris() -> None:
    built = build(intent(caller="sip:alice@elsewhere.example;x=y", callee="tel:+49-30-1234567;phone-context=x"))
    assert value(built, "From") == '"Alice" <sip:alice@pbx.example>;tag=tag1'
    assert sent(built).uri == "sip:+49301234567@carrier.example:5070;transport=tcp"
    direct = build(intent(callee="sip:bob@elsewhere.example:5080;x=y?Subject=z"), None)
    assert value(direct, "To") == "<sip:bob@elsewhere.example:5080>"


def test_16_what_the_grammar_forbids_in_a_user_part_is_escaped() -> None:
    built = build(intent(caller="al ice@home<>", callee="*72#"))
    assert sent(built).from_.uri.username == "al ice@home<>"
    assert sent(built).from_.uri.host == DOMAIN
    assert sent(built).target.username == "*72#"


def test_16_the_views_that_are_preset_are_what_the_text_says() -> None:
    built = build(intent())
    assert built.request.call_id == sent(built).call_id
    assert built.request.cseq == sent(built).cseq


def test_12_headers_that_cross_are_added_octet_for_octet() -> None:
    subject = "caf\xc3\xa9 \xc3\x89t\xc3\xa9"  # wire text
    request = sent(build(intent(extra_headers=(("Subject", subject), ("X-Tab", "a\tb"))), None))
    assert request.get("Subject") == subject
    assert "Subject: café Été".encode() in request.to_bytes()
    assert request.get("X-Tab") == "a\tb"


@pytest.mark.parametrize("name", ["Via", "v", "FROM", "Route", "Contact", "m", "Content-Length", "a b", "", "x:y"])
def test_12_headers_of_identity_and_routing_cannot_be_added(name: str) -> None:
    with pytest.raises(ValueError, match="extra header"):
        intent(extra_headers=((name, "x"),))


# Auto-answer (D5, D6).


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        (AutoAnswer.ANSWER_MODE, "Answer-Mode: Auto"),
        (AutoAnswer.CALL_INFO, "Call-Info: <sip:pbx.example>;answer-after=0"),
        (
            AutoAnswer.ALERT_INFO_AUTO_ANSWER_DELAY0,
            "Alert-Info: <sip:pbx.example>;info=alert-autoanswer;delay=0",
        ),
        (AutoAnswer.ALERT_INFO_AUTO_ANSWER, 'Alert-Info: <sip:pbx.example>;info="Auto Answer"'),
        (AutoAnswer.ALERT_INFO_INTERCOM, "Alert-Info: <sip:pbx.example>;info=intercom"),
    ],
)
def test_d5_each_auto_answer_header_has_its_wire_form(kind: AutoAnswer, line: str) -> None:
    built = build(intent(auto_answer=kind), None)
    assert f"\r\n{line}\r\n".encode() in built.request.to_bytes()
    assert kind.value in rule(built, line.partition(":")[0])
    assert len(AutoAnswer) == 5


def test_d5_no_auto_answer_header_unless_asked() -> None:
    request = sent(build(intent(), None))
    for name in ("Answer-Mode", "Call-Info", "Alert-Info"):
        assert name not in request.headers


def test_d5_the_names_are_those_of_the_api() -> None:
    assert AutoAnswer("ALERT_INFO_AUTO_ANSWER_DELAY0") is AutoAnswer.ALERT_INFO_AUTO_ANSWER_DELAY0
    with pytest.raises(ValueError, match="ALERT"):
        AutoAnswer("ALERT")


# Rewriting (D7, D14 to D16).


REWRITES = Rewrites("4930111", "4930112", "4930113")
SHOWING = replace(CARRIER, pai="caller", rpi="caller")


def test_d7_rewrite_changes_the_user_part_only() -> None:
    plain = sent(build(intent(), SHOWING))
    changed = sent(build(intent(rewrites=REWRITES, rewrites_trunk="carrier"), SHOWING))
    for name, user in (("From", "4930111"), ("P-Asserted-Identity", "4930112"), ("Remote-Party-ID", "4930113")):
        before, after = Address.parse(plain.get(name) or ""), Address.parse(changed.get(name) or "")
        assert before.uri.user == "1001"
        assert after == replace(before, uri=replace(before.uri, user=user))
    same = [name for name, _ in plain.headers.items() if name not in ("From", "P-Asserted-Identity", "Remote-Party-ID")]
    assert [(name, plain.get(name)) for name in same] == [(name, changed.get(name)) for name in same]
    assert plain.uri == changed.uri


@pytest.mark.parametrize("field", ["from_", "pai", "rpi"])
def test_d7_each_rewrite_touches_its_own_header(field: str) -> None:
    headers = {"from_": "From", "pai": "P-Asserted-Identity", "rpi": "Remote-Party-ID"}
    plain = sent(build(intent(), SHOWING))
    changed = sent(build(intent(rewrites=Rewrites(**{field: "555"}), rewrites_trunk="carrier"), SHOWING))
    for other, name in headers.items():
        if other == field:
            assert Address.parse(changed.get(name) or "").uri.user == "555"
        else:
            assert changed.get(name) == plain.get(name)


def test_d7_rewrites_apply_only_through_the_named_trunk() -> None:
    wanted = intent(rewrites=REWRITES, rewrites_trunk="other")
    built = build(wanted, SHOWING)
    assert sent(built).to_bytes() == sent(build(intent(), SHOWING)).to_bytes()
    assert "goes through trunk carrier, not other" in rule(built, "From")
    phone = build(wanted, None)
    assert sent(phone).to_bytes() == sent(build(intent(), None)).to_bytes()
    assert "does not go through trunk other" in rule(phone, "From")


def test_d7_a_rewritten_user_part_is_escaped() -> None:
    request = sent(build(intent(rewrites=Rewrites("a@b;c"), rewrites_trunk="carrier")))
    assert request.from_.uri.username == "a@b;c"
    assert request.from_.uri.host == DOMAIN


def test_d14_rewrites_without_a_trunk_are_ignored_and_said_so() -> None:
    built = build(intent(rewrites=REWRITES))
    assert sent(built).to_bytes() == sent(build(intent())).to_bytes()
    assert "rewrite_from, rewrite_pai, rewrite_rpi ignored: the request names no trunk" in rule(built, "From")


def test_d15_absent_headers_are_added_for_a_rewrite() -> None:
    built = build(intent(rewrites=Rewrites(None, "4930112", "4930113"), rewrites_trunk="carrier"))
    assert value(built, "P-Asserted-Identity") == "<sip:4930112@pbx.example>"
    assert value(built, "Remote-Party-ID") == "<sip:4930113@pbx.example>;party=calling;screen=yes;privacy=off"
    assert "rewrite_pai" in rule(built, "P-Asserted-Identity")
    assert "added" in rule(built, "Remote-Party-ID")


def test_d16_the_same_rewrites_apply_to_each_leg_through_the_trunk() -> None:
    wanted = intent(rewrites=REWRITES, rewrites_trunk="carrier")
    back = replace(wanted, callee="1001", caller="0301234567")
    assert sent(build(wanted, SHOWING)).from_.uri.user == sent(build(back, SHOWING)).from_.uri.user == "4930111"


# Caller-ID policy of a trunk (10).


def test_10_from_policy() -> None:
    trunk = replace(CARRIER, from_user="4930999", from_host="trunk", from_display="")
    assert value(build(intent(), trunk), "From") == "<sip:4930999@carrier.example>;tag=tag1"
    trunk = replace(CARRIER, from_host="our.example:5060", from_display="Example Ltd")
    assert value(build(intent(), trunk), "From") == '"Example Ltd" <sip:1001@our.example:5060>;tag=tag1'


def test_10_asserted_identity_policy() -> None:
    built = build(intent(), SHOWING)
    assert value(built, "P-Asserted-Identity") == '"Alice" <sip:1001@pbx.example>'
    assert value(built, "Remote-Party-ID") == ('"Alice" <sip:1001@pbx.example>;party=calling;screen=yes;privacy=off')
    fixed = build(intent(), replace(CARRIER, pai="4930999"))
    assert value(fixed, "P-Asserted-Identity") == '"Alice" <sip:4930999@pbx.example>'
    assert value(fixed, "Remote-Party-ID") is None
    assert value(build(intent(caller=""), SHOWING), "P-Asserted-Identity") is None


def test_10_privacy_hides_from_and_leaves_the_trusted_trunk_its_identity() -> None:
    built = build(intent(privacy=True), SHOWING)
    assert value(built, "From") == '"Anonymous" <sip:anonymous@anonymous.invalid>;tag=tag1'
    assert value(built, "Privacy") == "id"
    assert value(built, "P-Asserted-Identity") == "<sip:1001@pbx.example>"
    assert value(built, "Remote-Party-ID") == "<sip:1001@pbx.example>;party=calling;screen=yes;privacy=full"
    assert "RFC 3323" in rule(built, "From")
    assert "RFC 3323" in rule(built, "Privacy")


def test_10_privacy_towards_a_phone_asserts_nothing() -> None:
    built = build(intent(privacy=True), None)
    assert value(built, "From") == '"Anonymous" <sip:anonymous@anonymous.invalid>;tag=tag1'
    assert b"1001" not in built.request.to_bytes()
    assert b"Alice" not in built.request.to_bytes()


def test_10_privacy_policy_of_the_trunk() -> None:
    assert value(build(intent(), replace(CARRIER, privacy="always")), "Privacy") == "id"
    shown = build(intent(privacy=True), replace(CARRIER, privacy="never"))
    assert value(shown, "Privacy") is None
    assert value(shown, "From") == '"Alice" <sip:1001@pbx.example>;tag=tag1'


def test_10_rewrite_from_does_not_break_privacy() -> None:
    built = build(intent(privacy=True, rewrites=REWRITES, rewrites_trunk="carrier"), SHOWING)
    assert value(built, "From") == '"Anonymous" <sip:anonymous@anonymous.invalid>;tag=tag1'
    assert value(built, "P-Asserted-Identity") == "<sip:4930112@pbx.example>"
    assert "rewrite_from gives way" in rule(built, "From")


def test_10_numbers_go_out_in_the_trunks_format() -> None:
    trunk = replace(SHOWING, number_format="e164_plus", country_code="49", strip_prefix="9", add_prefix="77")
    built = build(intent(caller="0309876543", callee="90301234567"), trunk)
    assert sent(built).target.user == "77+49301234567"
    assert sent(built).from_.uri.user == "+49309876543"
    assert rule(built, "Request-URI") == (
        "callee of the request, prefix 9 stripped, E.164 with +, prefix 77 added, at a host of trunk carrier"
    )


# The dry run (16): every header has its reason.


def test_16_every_header_and_the_request_uri_are_explained() -> None:
    for trunk in (None, SHOWING):
        wanted = intent(
            privacy=True,
            rewrites=REWRITES,
            rewrites_trunk="carrier",
            auto_answer=AutoAnswer.ANSWER_MODE,
            extra_headers=(("Subject", "x"),),
            max_forwards=69,
        )
        built = build(wanted, trunk, body=b"v=0\r\n")
        assert [(reason.header, reason.value) for reason in built.reasons] == [
            ("Request-URI", built.request.uri),
            *built.request.headers.items(),
        ]
        assert all(len(reason.rule) > 10 for reason in built.reasons)
        assert rule(built, "Subject") == "carried over from the leg that came in"
        assert "one hop less" in rule(built, "Max-Forwards")


def test_16_reasons_cost_nothing_when_not_wanted() -> None:
    wanted = intent(rewrites=REWRITES, rewrites_trunk="carrier")
    built = build(wanted)
    plain = build_invite(
        wanted,
        trunk=CARRIER,
        target=built.request.target,
        domain=DOMAIN,
        contact="sip:ringway@192.0.2.1:5060",
        call_id="call-1",
        from_tag="tag1",
    )
    assert plain.reasons == ()
    assert plain.request.to_bytes() == built.request.to_bytes()


# G7: nothing breaks out of its header.

CONTROLS = [chr(code) for code in (*range(32), *range(127, 160), 0x2028, 0x2029, 0xD800)]
NASTY = st.text(
    st.one_of(st.sampled_from("\"\\<>@;,:?%#&=+ '[]()\t"), st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp"))),
    min_size=1,
    max_size=40,
).filter(lambda text: "\t" not in text)


@pytest.mark.parametrize("control", CONTROLS)
@pytest.mark.parametrize(
    "field",
    ["caller", "callee", "caller_display_name", "rewrite_from", "rewrite_pai", "rewrite_rpi", "extra", "trunk"],
)
def test_g7_no_field_takes_a_control_character(field: str, control: str) -> None:
    if field == "extra" and control == "\t":
        return  # white space, in a header value
    makers: dict[str, Callable[[str], object]] = {
        "rewrite_from": lambda text: Rewrites(from_=text),
        "rewrite_pai": lambda text: Rewrites(pai=text),
        "rewrite_rpi": lambda text: Rewrites(rpi=text),
        "extra": lambda text: intent(extra_headers=(("Subject", text),)),
        "trunk": lambda text: replace(CARRIER, from_display=text),
    }

    def by_field(text: str) -> CallIntent:
        return intent(**{field: text})

    make = makers.get(field, by_field)
    with pytest.raises(ValueError, match=r"control characters|wire text"):
        make(f"1001{control}X-Evil: 1")


@pytest.mark.parametrize("bad", ["a\r\nb", "a b", "a<b", "a>b", 'a"b', "a\0b", ""])
def test_g7_our_own_texts_are_checked_too(bad: str) -> None:
    options: dict[str, Any] = {
        "trunk": None,
        "target": PHONE,
        "domain": DOMAIN,
        "contact": "sip:x@y",
        "call_id": "c",
        "from_tag": "t",
    }
    for name in ("domain", "contact", "call_id", "from_tag"):
        with pytest.raises(ValueError, match=r"\w"):
            build_invite(intent(), **{**options, name: bad})
    with pytest.raises(ValueError, match=r"target|Request-URI"):
        build_invite(intent(), **{**options, "target": Uri("sip", f"x{bad} ", None, "h")})


@given(caller=NASTY, callee=NASTY, display=NASTY, user=NASTY, policy=NASTY, private=st.booleans())
def test_g7_any_text_stays_inside_its_header_and_parses_back_the_same(
    caller: str, callee: str, display: str, user: str, policy: str, private: bool
) -> None:
    rng = random.Random(caller + callee)
    trunk = replace(SHOWING, from_display=rng.choice(("caller", policy)), from_user=rng.choice(("caller", policy)))
    try:
        wanted = intent(
            caller=caller,
            callee=callee,
            caller_display_name=display,
            rewrites=Rewrites(None, user, user),
            rewrites_trunk="carrier",
            privacy=private,
        )
    except ValueError:  # what looks like a URI must be one
        assert ":" in caller + callee
        return
    for through in (trunk, None):
        built = build(wanted, through)
        request = sent(built)
        names = [name for name, _ in request.headers.items()]
        assert len(names) == len(set(names)) == len(built.request.headers) + 2  # Via, Content-Length
        assert set(names) <= {
            *("Via", "Max-Forwards", "From", "To", "Call-ID", "CSeq", "Contact", "Allow", "Content-Length"),
            *("P-Asserted-Identity", "Remote-Party-ID", "Privacy"),
        }
        if not private:
            shown = display if through is None or trunk.from_display == "caller" else trunk.from_display
            assert request.from_.display == shown
            if ":" not in caller:
                name = caller if through is None or trunk.from_user == "caller" else trunk.from_user
                assert request.from_.uri.username == name
        assert request.from_.tag == "tag1"
        if ":" not in callee:
            assert request.to.uri.username == callee
        if through is not None:
            asserted = Address.parse(request.get("P-Asserted-Identity") or "")
            assert asserted.uri.username == user
            assert asserted.uri.host == DOMAIN
            assert asserted.display == (None if private else request.from_.display)


def test_faults_of_an_intent() -> None:
    with pytest.raises(ValueError, match="callee"):
        intent(callee="")
    with pytest.raises(ValueError, match="URI"):
        intent(callee="sip:a b")
    with pytest.raises(ValueError, match="max_forwards"):
        intent(max_forwards=0)
    with pytest.raises(ValueError, match="rewrite_pai"):
        Rewrites(pai="")
