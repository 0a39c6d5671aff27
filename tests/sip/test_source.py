"""Addresses that packets come from."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from sip.source import address_of


@pytest.mark.parametrize(
    ("ip", "expected"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:DB8::1", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::1%eth0"),
    ],
)
def test_addresses(ip: str, expected: str) -> None:
    assert address_of(ip) == ip_address(expected)


@pytest.mark.parametrize("text", ["", "phone.example", "192.0.2.256", "[2001:db8::1]", "192.0.2.1:5060"])
def test_what_is_no_address(text: str) -> None:
    assert address_of(text) is None
