"""The page behind an invitation's link, as a browser without scripts uses it."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from server.sections import Config
from signalling import Session, session_id_of
from tests.server.house import TENANT, House, open_house
from tests.server.test_ws import browser

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
VOID = {"meta", "link", "input", "br"}


class Reader(HTMLParser):
    """Checks that tags are closed in order, and keeps what a test asks for."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


async def invite(house: House, **body: Any) -> tuple[Session, str]:
    """A new session, and the path of the page."""
    body = body or {"inviteEmail": "partner@example.com", "inviteName": "Alex", "context": "between us"}
    status, answer = await house.post("/api/v1/sessions", body)
    assert status == 201, answer
    session = house.registry.get(session_id_of(answer["data"]["session"]["id"]) or "")
    assert session is not None
    return session, f"/join/{answer['data']['invitationId']}"


async def page(house: House, path: str, status: int = 200) -> Reader:
    got, body, response = await house.call("GET", path, token=None)
    assert got == status
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    return Reader(body)


async def answer(house: House, path: str, **fields: str) -> tuple[int, str]:
    """Send the form; status and page."""
    status, body, response = await house.call("POST", path, token=None, raw=urlencode(fields).encode(), headers=FORM)
    if status == 303:
        assert response.headers["Location"] == path
    return status, body or ""


async def test_the_page_says_who_invites_and_until_when_and_no_more(house: House) -> None:
    house.registry.people.see(TENANT, "alice", display_name="Alice")
    _, path = await invite(house)
    shown = await page(house, path)
    assert "Alice invites you to a conversation" in shown.words
    (until,) = shown.all("time")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\dZ", until["datetime"] or "")
    assert " UTC." in shown.words, "what is read where there are no scripts"
    assert "between us" not in shown.words
    assert "partner@example.com" not in shown.words
    assert [form["method"] for form in shown.all("form")] == ["post", "post"]
    assert {field.get("value") for field in shown.all("input")} >= {"accept", "decline"}


async def test_every_field_has_a_label_and_the_page_a_language(house: House) -> None:
    _, path = await invite(house)
    shown = await page(house, path)
    labels = {label["for"] for label in shown.all("label")}
    fields = [*shown.all("textarea"), *(field for field in shown.all("input") if field.get("type") != "hidden")]
    assert {field["id"] for field in fields} == labels
    assert shown.all("html") == [{"lang": "en"}]
    assert [meta for meta in shown.all("meta") if meta.get("name") == "viewport"]
    assert len(shown.all("h1")) == len(shown.all("main")) == 1


async def test_nothing_comes_from_elsewhere_and_the_address_is_told_to_nobody(house: House) -> None:
    _, path = await invite(house)
    _, _, response = await house.call("GET", path, token=None)
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "frame-ancestors 'none'" in policy
    assert response.headers["Referrer-Policy"] == "no-referrer"
    assert response.headers["Cache-Control"] == "no-store"
    shown = await page(house, path)
    (script,) = shown.all("script")
    status, _, response = await house.call("GET", str(script["src"]), token=None)
    assert (status, response.headers["Content-Type"]) == (200, "text/javascript; charset=utf-8")
    (style,) = shown.all("link")
    status, _, response = await house.call("GET", str(style["href"]), token=None)
    assert (status, response.headers["Content-Type"]) == (200, "text/css; charset=utf-8")


async def test_names_are_text_on_the_page(house: House) -> None:
    house.registry.people.see(TENANT, "alice", display_name="<script>alert(1)</script>")
    _, path = await invite(house)
    shown = await page(house, path)
    assert shown.all("script") == [{"type": "module", "src": "/pages/times.js"}], "no other"
    assert "<script>alert(1)</script> invites you" in shown.words


async def test_c17_looking_changes_nothing(house: House) -> None:
    session, path = await invite(house)
    for method in ("GET", "HEAD", "GET"):
        assert (await house.call(method, path, token=None))[0] == 200
    assert session.status == "INVITED"


async def test_c17_who_has_the_link_accepts_as_a_guest(house: House) -> None:
    session, path = await invite(house)
    assert await answer(house, path, answer="accept", name="Pat") == (303, "")
    assert session.status == "ACTIVE"
    guest = session.present()[1]
    assert guest.user.startswith("guest_")
    assert guest.display_name == "Pat"
    shown = await page(house, path)
    assert "The invitation is accepted." in shown.words
    assert [form.get("method") for form in shown.all("form")] == [None]  # nothing to answer any more
    _, found = await house.get(f"/api/v1/sessions/{session.id}")
    assert found["data"]["partner"] == {"id": guest.user, "name": "Pat"}


def sitting(shown: Reader) -> dict[str, str | None]:
    """The part of the page that joins."""
    return next(part for part in shown.all("div") if part.get("id") == "join")


async def test_13_a_guest_joins_with_a_token_that_is_good_for_this_session_alone(house: House) -> None:
    session, path = await invite(house)
    await answer(house, path, answer="accept", name="Pat")
    other, _ = await invite(house, inviteEmail="somebody@example.com")
    token = sitting(await page(house, path))["data-token"]
    assert token == sitting(await page(house, path))["data-token"], "one for an invitation, however often it is loaded"
    house.tokens["guest"] = str(token)
    async with browser(house, "guest") as guest:
        assert (await guest.result("join", session=session.id))["participant"] == 1
        await guest.result("chat", text="hello")
        for kind, fields in (
            ("call", {"number": "1001", "sdp": "v=0"}),
            ("join", {}),
            ("join", {"session": other.id}),
            ("end", {"session": session.id}),
            ("hold", {"session": session.id, "on": True}),
        ):
            assert await guest.refusal(kind, **fields) == "FORBIDDEN", kind
        await guest.result("leave", session=session.id)
    for path in ("/api/v1/sessions", "/api/sessions", "/channels"):
        assert (await house.post(path, {}, token="guest"))[0] in (400, 403)
    assert (await house.get(f"/api/v1/sessions/{session.id}", token="guest"))[0] == 403


async def test_13_who_accepted_by_an_application_gets_no_token_of_the_page(house: House) -> None:
    session, path = await invite(house)
    invitation = path.rpartition("/")[2]
    assert (await house.post(f"/api/v1/invitations/{invitation}/accept", {}, token="bob"))[0] == 200
    assert session.status == "ACTIVE"
    assert "data-token" not in sitting(await page(house, path))


async def test_13_a_link_to_a_session_says_nothing_of_it(house: House) -> None:
    session, _ = await invite(house)
    shown, other = await page(house, f"/join/{session.id}"), await page(house, f"/join/{int(session.id) + 1}")
    assert shown.words == other.words
    assert sitting(shown)["data-session"] == session.id
    assert "data-token" not in sitting(shown)
    labels = {label["for"] for label in shown.all("label")}
    assert {field["id"] for field in shown.all("input")} == labels
    _, _, response = await house.call("GET", f"/join/{session.id}", token=None)
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert " ws://127.0.0.1:" in policy
    for path in (*(script["src"] for script in shown.all("script")), "/pages/channel.js", "/pages/words.js"):
        status, _, response = await house.call("GET", str(path), token=None)
        assert (status, response.headers["Content-Type"]) == (200, "text/javascript; charset=utf-8")
    assert (await house.call("GET", "/pages/join.py", token=None))[0] == 404


async def test_a_guest_without_a_name_has_the_one_of_the_invitation(house: House) -> None:
    session, path = await invite(house)
    await answer(house, path, answer="accept", name=" ")
    assert session.present()[1].display_name == "Alex"


async def test_c17_declining_on_the_page(house: House) -> None:
    session, path = await invite(house)
    assert await answer(house, path, answer="decline", reason="no time\r\nat all") == (303, "")
    assert session.status == "ABANDONED"
    assert "was declined" in (await page(house, path)).words
    _, found = await house.get(f"/api/v1/sessions/{session.id}")
    assert found["data"]["invitation"]["declineReason"] == "no time  at all"


async def test_c17_a_second_answer_is_refused_in_words(house: House) -> None:
    _, path = await invite(house)
    await answer(house, path, answer="accept")
    status, body = await answer(house, path, answer="decline")
    assert status == 409
    assert "was accepted already" in Reader(body).words


async def test_c17_an_expired_invitation_says_so(house: House) -> None:
    _, path = await invite(house)
    real = house.services.inviting.clock
    house.services.inviting.clock = lambda: real() + 8 * 86_400
    assert "has expired" in (await page(house, path)).words
    status, body = await answer(house, path, answer="accept")
    assert status == 410
    assert "has expired" in Reader(body).words


async def test_c17_what_is_for_a_person_is_not_answered_by_the_link_alone(house: House) -> None:
    house.registry.people.see(TENANT, "bob")
    session, path = await invite(house, personId="bob")
    assert (await page(house, path)).all("form") == []
    for given in ("accept", "decline"):
        assert (await answer(house, path, answer=given))[0] == 403
    assert session.status == "INVITED"


async def test_strict_users_have_no_guests_but_anybody_may_decline(tmp_path: Path) -> None:
    async for house in open_house(tmp_path, config=Config()):
        people = house.registry.people
        people.see(TENANT, "alice")
        people.strict = True
        session, path = await invite(house)
        assert len((await page(house, path)).all("form")) == 1
        status, body = await answer(house, path, answer="accept")
        assert status == 403
        assert "Only users of this server can accept." in Reader(body).words
        assert session.status == "INVITED"
        assert (await answer(house, path, answer="decline"))[0] == 303


@pytest.mark.parametrize("path", ["/join/x", "/join/inv_" + "0" * 32, "/join/%3Cscript%3E"])
async def test_an_unknown_link_is_a_page_of_its_own(house: House, path: str) -> None:
    shown = await page(house, path, status=404)
    assert "leads to no invitation" in shown.words
    assert (await answer(house, path, answer="accept"))[0] == 404


@pytest.mark.parametrize(
    ("raw", "headers"),
    [
        (b"answer=perhaps", FORM),
        (b"", FORM),
        (b"answer=accept&name=" + b"a" * 101, FORM),
        (b"answer=decline&reason=" + b"a" * 501, FORM),
        (b"answer=%ff&x=\xff", FORM),
        (b"&".join(b"a=b" for _ in range(100)), FORM),
        (b'{"answer": "accept"}', {"Content-Type": "application/json"}),
        (b"answer=accept", {"Content-Type": "text/plain"}),
    ],
)
async def test_a_form_that_is_none_is_refused(house: House, raw: bytes, headers: dict[str, str]) -> None:
    session, path = await invite(house)
    status, body, _ = await house.call("POST", path, token=None, raw=raw, headers=headers)
    assert status == 400
    assert body["message"]
    assert session.status == "INVITED"


async def test_a_form_has_a_bounded_size(house: House) -> None:
    _, path = await invite(house)
    status, _, _ = await house.call("POST", path, token=None, raw=b"answer=" + b"a" * 100_000, headers=FORM)
    assert status == 413
