"""Which IP version a stage is reached by, as far as that is known before DNS is asked."""

from __future__ import annotations

from typing import cast

import pytest

from signalling.dialing import Destination, Stage
from sip import CallIntent, Flow, Uri


class Way:
    """As much of a flow as is asked for here."""

    def __init__(self, host: str, transport: str) -> None:
        self.remote, self.transport = (host, 5060), transport


def phone(host: str, transport: str = "UDP") -> Destination:
    uri = Uri.parse("sip:1001@phone.example")
    return Destination(uri, uri, cast(Flow, Way(host, transport)))


def gateway(host: str) -> Destination:
    return Destination(Uri.parse(f"sip:+33123@{host}"), Uri.parse(f"sip:{host}"))


@pytest.mark.parametrize(
    ("destinations", "ipv6"),
    [
        ([phone("192.0.2.1"), phone("192.0.2.2")], False),
        ([phone("2001:db8::1"), phone("2001:db8::2", "TCP")], True),
        ([phone("192.0.2.1"), phone("2001:db8::1")], None),
        ([phone("192.0.2.1"), phone("2001:db8::1", "WSS")], False),  # a browser has both, by ICE
        ([phone("2001:db8::1", "WSS")], None),
        ([gateway("192.0.2.1:5070")], False),
        ([gateway("[2001:db8::1]")], True),
        ([gateway("sip.example.com")], None),
        ([], None),
    ],
)
def test_the_ip_version_of_a_stage(destinations: list[Destination], ipv6: bool | None) -> None:
    stage = Stage("x", tuple(destinations), cast(CallIntent, None), "")
    assert stage.ipv6 is ipv6
