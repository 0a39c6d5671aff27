"""The tables of the transaction layer: what a closed flow touches, and what is given back."""

from __future__ import annotations

from sip.stack import SipStack
from tests.sip.ladder import Network, RecordingClient, RecordingServer, answer, request


def test_a_closed_flow_touches_only_its_own() -> None:
    net = Network(transport="TCP")
    user = RecordingServer()
    stack = SipStack(user)
    us, first, second = net.node("us", stack), net.node("first"), net.node("second")
    users = [RecordingClient(), RecordingClient()]
    for peer, client in zip((first, second), users, strict=True):
        stack.send_request(request("OPTIONS", with_via=False), us.flow_to(peer), net.now, client)
        peer.send(request("INVITE", call_id=peer.name, via=f"SIP/2.0/TCP {peer.address[0]}"), us)
    assert stack.counts()["flows"] == 2
    us.close_flow(first)
    assert [client.events for client in users] == [["transport"], []]
    assert user.events == ["INVITE", "INVITE", "flow closed"]
    assert stack.counts() == {
        "client_transactions": 1,
        "server_transactions": 1,
        "merge_keys": 1,
        "timers": 1,
        "flows": 1,
        "dialogs": 0,
    }
    us.close_flow(second)
    us.close_flow(second)
    assert not any(stack.counts().values())


def test_a_lost_socket_touches_only_its_own() -> None:
    """UDP flows never close one by one; their socket may."""
    net = Network()
    user = RecordingServer()
    stack = SipStack(user)
    us, first, second = net.node("us", stack), net.node("first"), net.node("second")
    client = RecordingClient()
    stack.send_request(request("OPTIONS", with_via=False), us.flow_to(first), net.now, client)
    first.send(request("INVITE", call_id="1"), us)
    second.send(request("INVITE", call_id="2", via="SIP/2.0/UDP 192.0.2.3"), us)
    us.close_flow(first)
    assert client.events == ["transport"]
    assert user.events == ["INVITE", "INVITE", "flow closed"]
    assert stack.counts()["server_transactions"] == 1


def test_a_thousand_calls_leave_nothing_in_the_heap() -> None:
    """On a reliable flow all is given back with the last message; dead timers do not pile up."""
    net = Network(transport="TCP")
    stack = SipStack(RecordingServer())
    us, peer = net.node("us", stack), net.node("peer")
    for number in range(1000):
        client = RecordingClient()
        message = request("INVITE", with_via=False, cseq=number)
        stack.send_request(message, us.flow_to(peer), net.now, client)
        peer.send(answer(peer.got_request("INVITE"), 486), us)
        peer.inbox.clear()
        us.inbox.clear()
    assert not any(stack.counts().values())
    assert len(stack._layer.timers._heap) <= 65
