"""Keys of transactions: RFC 3261 §17.2.3 and §8.2.2.2. What the stack makes of them is in tests/sip/test_stack.py."""

from __future__ import annotations

import pytest

from sip.transactions.key import ack_key, merge_key, server_key
from tests.sip.ladder import request


def test_a_branch_of_rfc_3261_with_sent_by_and_method_is_the_key() -> None:
    message = request("INVITE", branch="z9hG4bK-Ab", via="SIP/2.0/UDP PC.Example.org:5062")
    assert server_key(message, "INVITE") == ("z9hG4bK-Ab", "pc.example.org:5062", "INVITE")


def test_ack_and_cancel_look_for_their_invite() -> None:
    invite = server_key(request("INVITE"), "INVITE")
    assert server_key(request("ACK", to_tag="bob"), "INVITE") == invite
    assert server_key(request("CANCEL"), "INVITE") == invite
    assert server_key(request("CANCEL"), "CANCEL") != invite
    assert ack_key(request("ACK", to_tag="bob")) is None


@pytest.mark.parametrize("branch", [None, "", "1", "z9hG4bK"])
def test_other_branches_make_the_whole_request_the_key(branch: str | None) -> None:
    invite = server_key(request("INVITE", branch=branch), "INVITE")
    assert len(invite) == 8
    assert server_key(request("CANCEL", branch=branch), "INVITE") == invite
    assert ack_key(request("ACK", branch=branch, to_tag="bob")) == invite
    assert server_key(request("INVITE", branch=branch, call_id="other"), "INVITE") != invite


def test_the_source_recorded_in_via_is_no_part_of_it() -> None:
    message = request("INVITE", branch="1")
    before = server_key(message, "INVITE")
    message.headers.set("Via", f"{message.get('Via')};received=192.0.2.9;rport=9")
    assert server_key(message, "INVITE") == before


def test_merged_requests_share_from_tag_call_id_and_cseq() -> None:
    first = merge_key(request("INVITE", branch="z9hG4bK-1"), "alice")
    assert merge_key(request("INVITE", branch="z9hG4bK-2", via="SIP/2.0/TCP 192.0.2.7"), "alice") == first
    assert merge_key(request("OPTIONS"), "alice") != first
    assert merge_key(request("INVITE", cseq=2), "alice") != first
