"""Caller id (point 10, conformance D7 and D15); its wire forms are in test_outgoing.py."""

from __future__ import annotations

import pytest

from sip.caller_id import Identity, Rewrites, identity_of
from sip.trunk import TrunkConfig
from sip.uri import Uri

TARGET = Uri.parse("sip:123@carrier.example:5070")


def identity(trunk: TrunkConfig | None, *, private: bool = False, rewrites: Rewrites | None = None) -> Identity:
    return identity_of(
        "1001", "Alice", private=private, rewrites=rewrites, trunk=trunk, domain="pbx.example", target=TARGET
    )


def trunk(**options: str) -> TrunkConfig:
    return TrunkConfig("carrier", ("sip:carrier.example:5070",), **options)  # type: ignore[arg-type]  # the tests' own


def test_10_a_phone_sees_from_alone() -> None:
    assert identity(None) == Identity('"Alice" <sip:1001@pbx.example>')
    assert identity(None, private=True) == Identity('"Anonymous" <sip:anonymous@anonymous.invalid>')


def test_10_a_trunk_sees_what_its_policy_says() -> None:
    assert identity(trunk()) == Identity('"Alice" <sip:1001@pbx.example>')
    assert identity(trunk(from_host="trunk", from_display="", pai="caller")) == Identity(
        "<sip:1001@carrier.example>", pai="<sip:1001@carrier.example>"
    )
    assert identity(trunk(pai="999", privacy="always")) == Identity(
        '"Anonymous" <sip:anonymous@anonymous.invalid>', pai="<sip:999@pbx.example>", privacy="id"
    )


def test_d15_a_header_that_only_a_rewrite_makes_has_no_display_name() -> None:
    assert identity(trunk(), rewrites=Rewrites(pai="555")).pai == "<sip:555@pbx.example>"
    assert identity(trunk(pai="caller"), rewrites=Rewrites(pai="555")).pai == '"Alice" <sip:555@pbx.example>'


@pytest.mark.parametrize("domain", ["", "a b", "a>b", "a\r\nb", "a:b:c", "a@b"])
def test_g7_our_domain_must_be_a_host(domain: str) -> None:
    with pytest.raises(ValueError, match=r"host|port"):
        identity_of("1", None, private=False, rewrites=None, trunk=None, domain=domain, target=TARGET)
