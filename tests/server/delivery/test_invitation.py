"""Invitations from the request to the vendor and back: through the outbox, with retries, and what is shown of it."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, MutableMapping
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs

import pytest
import structlog

from server.delivery import invitation as invitation_delivery
from server.delivery.invitation import base_url_of, ways_of
from server.delivery.outbox import Backoff
from server.sections import Config
from signalling import Happening, Session, event_body, session_id_of
from tests.server.house import TENANT, House, open_house
from tests.sim.phones import SimPhone

from .vendors import Vendor, mailbox, vendor

SESSIONS = "/api/v1/sessions"
INVITATIONS = "/api/v1/invitations"
SENDER = "Ringway <calls@example.com>"
QUICK = Backoff(first_s=0.01, factor=1.0, limit_s=0.01, attempts=3)
DAY = 86_400.0


@asynccontextmanager
async def sending(folder: Path, **sections: Mapping[str, Any]) -> AsyncIterator[tuple[House, list[str]]]:
    """A house with these sections in its configuration, and the kinds of events that happen in it."""
    made = cast(AsyncGenerator[House, None], open_house(folder, config=Config.model_validate(sections)))
    async with aclosing(made) as opened:
        house = await anext(opened)
        happened: list[str] = []

        def note(happening: Happening) -> None:
            happened.append(event_body(happening)["kind"])

        house.registry.bus.follow(note)
        yield house, happened


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries without the waiting."""
    monkeypatch.setattr(invitation_delivery, "BACKOFF", QUICK)
    monkeypatch.setattr(invitation_delivery, "RING_BACKOFF", QUICK)


@pytest.fixture
def lines() -> Iterator[list[MutableMapping[str, Any]]]:
    """Every line that is logged, whatever its level."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("debug"))
    with structlog.testing.capture_logs() as logged:
        yield logged
    structlog.configure(**before)


@pytest.fixture
async def api() -> AsyncIterator[Vendor]:
    async with vendor() as made:
        yield made


def by_resend(api: Vendor) -> dict[str, Any]:
    return {
        "invitations": {"email": "resend", "link": "https://calls.example.com/join/{id}"},
        "resend": {"api_key": "re_123", "sender": SENDER, "base_url": api.url},
    }


def by_twilio(api: Vendor) -> dict[str, Any]:
    return {
        "invitations": {"phone": "twilio"},
        "twilio": {"account_sid": "AC0123", "auth_token": "secret", "sender": "+15005550006", "base_url": api.url},
    }


async def invite(house: House, **body: Any) -> tuple[str, str]:
    """Ids of a new session and its invitation."""
    status, answer = await house.post(SESSIONS, body)
    assert status == 201, answer
    return answer["data"]["session"]["id"], answer["data"]["invitationId"]


async def deliveries(house: House, session: str) -> list[dict[str, Any]]:
    """What the inviter is shown, without the instants."""
    _, answer = await house.get(f"{SESSIONS}/{session}")
    found: list[dict[str, Any]] = answer["data"]["invitation"]["deliveries"]
    for delivery in found:
        del delivery["at"]
    return found


async def state(house: House, session: str) -> list[str]:
    return [delivery["state"] for delivery in await deliveries(house, session)]


async def until_state(house: House, session: str, *wanted: str) -> None:
    """Wait until the deliveries of a session's invitation are in these states."""
    live = house.registry.get(session_id_of(session) or "")
    assert live is not None

    def reached() -> bool:
        invitation = house.services.inviting.invitations.of_session(live.id)
        return invitation is not None and [d.state for d in invitation.deliveries.values()] == list(wanted)

    await house.until(reached)


async def test_c3_an_invited_address_gets_a_mail(tmp_path: Path, api: Vendor) -> None:
    async with sending(tmp_path, **by_resend(api)) as (house, happened):
        user = house.registry.people.see(TENANT, "alice", display_name="Alice")
        assert user.display_name
        session, invitation = await invite(
            house, inviteEmail="Partner@EXAMPLE.com", inviteName="Alex", context="between us"
        )
        await until_state(house, session, "SENT")
        (request,) = api.requests
        mail = json.loads(request.body)
        assert mail["to"] == ["Partner@example.com"]
        assert mail["subject"] == "Alice invites you to a conversation"
        assert f"https://calls.example.com/join/{invitation}" in mail["text"]
        assert "between us" not in request.body.decode()
        assert request.headers["Idempotency-Key"] == f"{invitation}/email/0"
        assert await deliveries(house, session) == [{"to": "email", "by": "email", "state": "SENT", "error": None}]
        assert happened == [
            "session.started", "participant.joined", "invitation.created", "invitation.sent",
        ]  # fmt: skip


async def test_c3_an_invited_number_gets_a_text_message(tmp_path: Path, api: Vendor) -> None:
    async with sending(tmp_path, **by_twilio(api)) as (house, _):
        session, _ = await invite(house, invitePhone="+33 1 99 00 12 34")
        await until_state(house, session, "SENT")
        assert parse_qs(api.requests[0].body.decode())["To"] == ["+33199001234"]


async def test_c3_by_smtp(tmp_path: Path) -> None:
    async with mailbox() as box:
        smtp = {"host": "localhost", "port": box.port, "security": "none", "sender": SENDER}
        async with sending(tmp_path, invitations={"email": "smtp"}, smtp=smtp) as (house, _):
            session, _ = await invite(house, inviteEmail="partner@example.com")
            await until_state(house, session, "SENT")
    assert box.envelopes == [("calls@example.com", ["partner@example.com"])]


async def test_c19_a_mail_and_a_text_message_for_who_has_both(tmp_path: Path, api: Vendor) -> None:
    sections = {**by_resend(api), **by_twilio(api), "invitations": {"email": "resend", "phone": "twilio"}}
    async with sending(tmp_path, **sections) as (house, happened):
        session, _ = await invite(house, inviteEmail="a@example.com", invitePhone="+33199001234")
        await until_state(house, session, "SENT", "SENT")
        assert {request.path.rpartition("/")[2] for request in api.requests} == {"emails", "Messages.json"}
        assert happened.count("invitation.sent") == 2


async def test_both_by_the_same_program(tmp_path: Path, api: Vendor) -> None:
    hook = {"email": "webhook", "phone": "webhook", "webhook_url": f"{api.url}/invite"}
    async with sending(tmp_path, invitations=hook) as (house, _):
        session, _ = await invite(house, inviteEmail="a@example.com", invitePhone="+33199001234")
        await until_state(house, session, "SENT", "SENT")
        assert {json.loads(request.body)["to"] for request in api.requests} == {"a@example.com", "+33199001234"}


async def test_a_person_of_ours_is_told_at_the_address_in_the_directory(tmp_path: Path, api: Vendor) -> None:
    async with sending(tmp_path, **by_resend(api)) as (house, _):
        user = house.registry.people.see(TENANT, "bob")
        house.registry.people.put(
            type(user)(TENANT, "bob", user.number, "bob", email="bob@example.com", phone="+33199001234")
        )
        session, _ = await invite(house, personId="bob")
        await until_state(house, session, "SENT")
        assert json.loads(api.requests[0].body)["to"] == ["bob@example.com"]


async def test_c3_the_answer_does_not_wait_for_a_slow_vendor(tmp_path: Path, api: Vendor) -> None:
    api.delay_s = 0.5
    async with sending(tmp_path, **by_resend(api)) as (house, _):
        session, _ = await invite(house, inviteEmail="a@example.com")
        assert await state(house, session) == ["PENDING"]
        await until_state(house, session, "SENT")


async def test_c3_what_fails_for_now_is_tried_again(tmp_path: Path, api: Vendor) -> None:
    api.answers = [(503, {"message": "later"}, {}), (500, "<html>", {}), (200, {"id": "x"}, {})]
    async with sending(tmp_path, **by_resend(api)) as (house, happened):
        session, _ = await invite(house, inviteEmail="a@example.com")
        await until_state(house, session, "SENT")
        assert len(api.requests) == 3
        assert len({request.headers["Idempotency-Key"] for request in api.requests}) == 1
        assert len({request.body for request in api.requests}) == 1
        assert happened.count("invitation.sent") == 1


@pytest.mark.parametrize(("status", "attempts"), [(422, 1), (503, 3)])
async def test_c3_a_failed_delivery_loses_nothing_and_shows(
    tmp_path: Path, api: Vendor, lines: list[MutableMapping[str, Any]], status: int, attempts: int
) -> None:
    api.answer(status, {"message": "no such address"})
    async with sending(tmp_path, **by_resend(api)) as (house, happened):
        session, invitation = await invite(house, inviteEmail="a@example.com")
        await until_state(house, session, "FAILED")
        assert len(api.requests) == attempts
        (failed,) = await deliveries(house, session)
        assert failed == {"to": "email", "by": "email", "state": "FAILED", "error": f"{status} no such address"}
        assert happened[-1] == "invitation.failed"
        assert [entry["invitation"] for entry in lines if entry["event"] == "invitation_failed"] == [invitation]
        assert (await house.post(f"{INVITATIONS}/{invitation}/accept", token="bob"))[0] == 200


async def test_c17_one_that_failed_is_sent_again_at_once(tmp_path: Path, api: Vendor) -> None:
    api.answer(422, {"message": "no such address"})
    async with sending(tmp_path, **by_resend(api)) as (house, _):
        session, invitation = await invite(house, inviteEmail="a@example.com")
        await until_state(house, session, "FAILED")
        api.answer(200, {"id": "x"})
        assert (await house.post(f"{INVITATIONS}/{invitation}/resend"))[0] == 200
        await until_state(house, session, "SENT")
        assert [request.headers["Idempotency-Key"][-1] for request in api.requests] == ["0", "1"]


async def test_one_that_was_answered_meanwhile_is_not_sent(tmp_path: Path, api: Vendor) -> None:
    api.answer(503)
    async with sending(tmp_path, **by_resend(api)) as (house, _):
        session, invitation = await invite(house, inviteEmail="a@example.com")
        await house.post(f"{INVITATIONS}/{invitation}/accept", token="bob")
        sent = len(api.requests)
        live = house.registry.get(session_id_of(session) or "")
        assert live is not None
        await live.end()
        await house.services.writer.settled()
        assert len(api.requests) <= sent + 1


async def test_none_configured_leaves_the_link_in_the_answer_and_the_log(
    tmp_path: Path, lines: list[MutableMapping[str, Any]]
) -> None:
    async with sending(tmp_path) as (house, happened):
        session, invitation = await invite(house, inviteEmail="a@example.com", context="between us")
        (entry,) = [entry for entry in lines if entry["event"] == "invitation_sent"]
        assert entry["by"] == ["link"]
        assert entry["link"].endswith(f"/join/{invitation}")
        assert "between us" not in repr(lines)
        assert await deliveries(house, session) == []
        assert happened[-1] == "invitation.sent"


# Ringing the phone.


class Line:
    """alice's phone, and one that stands for the number that is invited."""

    def __init__(self, house: House, inviter: SimPhone, invited: SimPhone) -> None:
        self.house = house
        self.inviter = inviter
        self.invited = invited

    async def ring(self) -> tuple[Session, str]:
        """Invite the number."""
        session, invitation = await invite(self.house, invitePhone="+33199001234")
        live = self.house.registry.get(session_id_of(session) or "")
        assert live is not None
        return live, invitation


@pytest.fixture
async def line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Line]:
    """The invited number is extension 1002 of this house: there is no trunk in it."""
    from server.api import invitation_models

    monkeypatch.setattr(invitation_models, "normal_phone", lambda text, region: "1002")
    async with sending(tmp_path, invitations={"phone": "ring"}) as (house, _):
        user = house.registry.people.see(TENANT, "alice", display_name="Alice")
        house.registry.people.put(type(user)(TENANT, "alice", user.number, "alice", "Alice", extensions=("1001",)))
        inviter, invited = await house.phone("1001"), await house.phone("1002")
        yield Line(house, inviter, invited)


async def test_c3_a_phone_that_is_rung_and_answered_accepts(line: Line) -> None:
    line.inviter.script.answer_after_s = line.invited.script.answer_after_s = 0.0
    session, invitation = await line.ring()
    await line.house.until(lambda: session.status == "ACTIVE")
    assert [one.user for one in session.present()] == ["alice", "1002"]
    status, answer = await line.house.get(f"{INVITATIONS}/{invitation}", token=None)
    assert (status, answer["data"]["status"]) == (200, "ACCEPTED")
    _, found = await line.house.get(f"{SESSIONS}/{session.id}")
    assert found["data"]["partner"]["id"] == "1002"
    line.invited.call.bye()
    await line.house.until(lambda: session.ended)
    assert session.status == "RESOLVED"


@pytest.mark.parametrize("busy", ["inviter", "invited"])
async def test_c3_a_phone_that_does_not_answer_loses_nothing_and_shows(line: Line, busy: str) -> None:
    line.inviter.script.answer_after_s = line.invited.script.answer_after_s = 0.0
    (line.inviter if busy == "inviter" else line.invited).script.refuse = 486
    session, invitation = await line.ring()
    await until_state(line.house, session.id, "FAILED")
    assert not session.ended
    assert session.status == "INVITED"
    (failed,) = await deliveries(line.house, session.id)
    assert failed["by"] == "ring"
    assert failed["error"].startswith("486 ")
    line.inviter.script.refuse = line.invited.script.refuse = 0
    assert (await line.house.post(f"{INVITATIONS}/{invitation}/resend"))[0] == 200
    await line.house.until(lambda: session.status == "ACTIVE")


async def test_c3_who_has_no_extension_cannot_ring_anybody(line: Line) -> None:
    user = line.house.registry.people.get(TENANT, "alice")
    assert user is not None
    line.house.registry.people.put(type(user)(TENANT, "alice", user.number, "alice"))
    session, _ = await line.ring()
    await until_state(line.house, session.id, "FAILED")
    (failed,) = await deliveries(line.house, session.id)
    assert failed["error"] == "the inviter has no extension to call from"


async def test_resolving_while_it_rings_hangs_up(line: Line) -> None:
    line.inviter.script.answer_after_s = 0.0
    session, _ = await line.ring()
    await line.house.until(lambda: line.invited.calls and line.invited.call.state == "ringing")
    assert (await line.house.post(f"{SESSIONS}/{session.id}/resolve"))[0] == 200
    await line.house.until(lambda: line.invited.call.state == line.inviter.call.state == "ended")
    assert session.status == "ABANDONED"


# The configuration.


@pytest.mark.parametrize(
    "sections",
    [
        {"invitations": {"email": "resend"}},
        {"invitations": {"email": "smtp"}},
        {"invitations": {"phone": "twilio"}},
        {"invitations": {"phone": "webhook"}},
        {"invitations": {"link": "https://calls.example.com/join/"}},
        {"invitations": {"default_region": "FRANCE"}},
        {"invitations": {"email": "pigeon"}},
        {"resend": {"base_url": "ftp://example.com"}},
        {"smtp": {"sender": "nobody"}},
        {"twilio": {"account_sid": "../../x"}},
    ],
)
def test_a_channel_that_lacks_something_is_refused_at_once(sections: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"needs|give|Input should be|String should match"):
        Config.model_validate(sections)


def test_secrets_are_not_in_what_a_configuration_prints() -> None:
    api_key = "re_very_secret"
    config = Config.model_validate({"resend": {"api_key": api_key, "sender": SENDER}})
    assert api_key not in repr(config)


@pytest.mark.parametrize(
    ("sections", "link"),
    [
        ({}, "http://127.0.0.1:8080/join/{id}"),
        ({"server": {"host": "::1", "http_port": 81}}, "http://[::1]:81/join/{id}"),
        ({"api": {"public_url": "https://calls.example.com/"}}, "https://calls.example.com/join/{id}"),
        ({"invitations": {"link": "beheard://invite/{id}"}}, "beheard://invite/{id}"),
    ],
)
def test_c4_where_the_link_leads(sections: dict[str, Any], link: str) -> None:
    config = Config.model_validate(sections)
    assert ways_of(config, base_url=base_url_of(config)).link == link
