"""Each channel against a local server that keeps what it is sent: requests field by field, answers by their meaning."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from server.delivery.email import ResendMail
from server.delivery.hook import InvitationHook
from server.delivery.link import MAX_NAME, link_of, short
from server.delivery.outbox import Refused, RetryLater
from server.delivery.sms import TwilioSms
from server.delivery.smtp import SmtpMail, SmtpServer, letter_of
from server.delivery.vendor import retry_after_s

from .vendors import MESSAGE, Vendor, certificate, mailbox, vendor

SENDER = "Ringway <calls@example.com>"
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


@pytest.fixture
async def api() -> AsyncIterator[Vendor]:
    async with vendor() as made:
        yield made


@pytest.fixture
async def resend(api: Vendor) -> AsyncIterator[ResendMail]:
    channel = ResendMail("re_123", SENDER, base_url=api.url)
    yield channel
    await channel.close()


@pytest.fixture
async def twilio(api: Vendor) -> AsyncIterator[TwilioSms]:
    channel = TwilioSms("AC0123", "the token", "+15005550006", base_url=api.url)
    yield channel
    await channel.close()


# The words.


def test_a_mail_says_who_and_until_when_and_where_to_answer() -> None:
    for text in (MESSAGE.text, MESSAGE.html):
        assert "Hello Alex," in text
        assert "Alice" in text
        assert MESSAGE.url in text
        assert "2027-01-15 08:00 UTC" in text
    assert MESSAGE.url in MESSAGE.sms


def test_names_are_text_in_a_mail_with_markup_and_never_too_long() -> None:
    tricky = replace(MESSAGE, inviter_name='<a href="x">', invitee_name="</p>" + "a" * 100)
    assert '<a href="x">' not in tricky.html
    assert "&lt;a href=&quot;x&quot;&gt;" in tricky.html
    assert len(short("a" * 500)) == MAX_NAME
    assert short("a\r\nBcc: b") == "a  Bcc: b"
    assert "\n" not in replace(MESSAGE, inviter_name="a\nb").subject


def test_c4_the_link_is_a_template() -> None:
    assert link_of("beheard://invite/{id}", "inv_1") == "beheard://invite/inv_1"


# Resend.


async def test_c3_resend_gets_the_request_that_its_document_asks_for(api: Vendor, resend: ResendMail) -> None:
    await resend.send(MESSAGE)
    (request,) = api.requests
    assert (request.method, request.path) == ("POST", "/emails")
    assert request.headers["Authorization"] == "Bearer re_123"
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["Idempotency-Key"] == "inv_1/email/0"
    assert request.headers["User-Agent"]
    assert json.loads(request.body) == {
        "from": SENDER,
        "to": ["partner@example.com"],
        "subject": "Alice invites you to a conversation",
        "html": MESSAGE.html,
        "text": MESSAGE.text,
    }


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
async def test_what_resend_will_never_take_is_refused(api: Vendor, resend: ResendMail, status: int) -> None:
    api.answer(status, {"statusCode": status, "name": "validation_error", "message": "The `to` field is wrong.\n"})
    with pytest.raises(Refused, match=rf"{status} The `to` field is wrong\."):
        await resend.send(MESSAGE)


@pytest.mark.parametrize(
    ("status", "header", "after_s"), [(429, "7", 7.0), (409, None, None), (500, None, None), (503, "x", None)]
)
async def test_what_resend_may_take_later_is_tried_again(
    api: Vendor, resend: ResendMail, status: int, header: str | None, after_s: float | None
) -> None:
    api.answer(status, {"message": "later"}, **({} if header is None else {"Retry_After": header}))
    with pytest.raises(RetryLater) as later:
        await resend.send(MESSAGE)
    assert later.value.after_s == after_s


@pytest.mark.parametrize("body", ["<html>", "", "[1]", '{"message": 5}'])
async def test_an_answer_that_is_no_json_explains_nothing_and_breaks_nothing(
    api: Vendor, resend: ResendMail, body: str
) -> None:
    api.answer(502, body)
    with pytest.raises(RetryLater, match=r"^502$"):
        await resend.send(MESSAGE)


async def test_no_redirect_is_followed(api: Vendor, resend: ResendMail) -> None:
    api.answer(307, "", Location="http://192.0.2.1/")
    with pytest.raises(Refused):
        await resend.send(MESSAGE)
    assert len(api.requests) == 1


async def test_nobody_there_is_tried_again() -> None:
    channel = ResendMail("re_123", SENDER, base_url="http://127.0.0.1:9")
    with pytest.raises(RetryLater, match="no answer"):
        await channel.send(MESSAGE)
    await channel.close()


# Twilio.


async def test_c3_twilio_gets_the_request_that_its_document_asks_for(api: Vendor, twilio: TwilioSms) -> None:
    api.answer(201, {"sid": "SM1", "status": "queued"})
    await twilio.send(replace(MESSAGE, to="+33199001234"))
    (request,) = api.requests
    assert (request.method, request.path) == ("POST", "/2010-04-01/Accounts/AC0123/Messages.json")
    scheme, _, credentials = request.headers["Authorization"].partition(" ")
    assert (scheme, base64.b64decode(credentials)) == ("Basic", b"AC0123:the token")
    assert request.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert parse_qs(request.body.decode(), strict_parsing=True) == {
        "To": ["+33199001234"],
        "From": ["+15005550006"],
        "Body": [f"Alice invites you to a conversation: {MESSAGE.url}"],
    }


async def test_twilio_takes_a_messaging_service_in_the_place_of_a_number(api: Vendor) -> None:
    channel = TwilioSms("AC0123", "the token", "MG0123", base_url=api.url)
    await channel.send(MESSAGE)
    await channel.close()
    fields = parse_qs(api.requests[0].body.decode())
    assert fields["MessagingServiceSid"] == ["MG0123"]
    assert "From" not in fields


async def test_what_twilio_refuses_is_refused_with_its_words(api: Vendor, twilio: TwilioSms) -> None:
    api.answer(400, {"code": 21211, "message": "The 'To' number is not a valid phone number.", "status": 400})
    with pytest.raises(Refused, match="is not a valid phone number"):
        await twilio.send(MESSAGE)


async def test_twilio_at_its_limit_is_tried_again(api: Vendor, twilio: TwilioSms) -> None:
    api.answer(429, {"code": 20429, "message": "Too many requests", "status": 429}, Retry_After="3")
    with pytest.raises(RetryLater) as later:
        await twilio.send(MESSAGE)
    assert later.value.after_s == 3.0


# A program of the operator's.


async def test_the_hook_gets_signed_json(api: Vendor) -> None:
    channel = InvitationHook(f"{api.url}/invite", "a secret", clock=lambda: 1_700_000_000.9)
    await channel.send(MESSAGE)
    await channel.close()
    (request,) = api.requests
    assert (request.method, request.path) == ("POST", "/invite")
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["Ringway-Id"] == MESSAGE.id
    assert request.headers["Ringway-Timestamp"] == "1700000000"
    expected = hmac.new(b"a secret", b"1700000000." + request.body, hashlib.sha256).hexdigest()
    assert request.headers["Ringway-Signature"] == f"v1={expected}"
    assert json.loads(request.body) == {
        "id": "inv_1/email/0",
        "kind": "invitation",
        "invitation": "inv_1",
        "to": "partner@example.com",
        "inviterName": "Alice",
        "inviteeName": "Alex",
        "url": MESSAGE.url,
        "expiresAt": "2027-01-15T08:00:00.000Z",
    }


# SMTP.


def plain(port: int) -> SmtpServer:
    return SmtpServer("localhost", port, "none")


async def test_a_mail_goes_by_smtp_with_and_without_markup() -> None:
    async with mailbox() as box:
        await SmtpMail(plain(box.port), SENDER).send(MESSAGE)
    (letter,) = box.letters
    assert box.envelopes == [("calls@example.com", ["partner@example.com"])]
    assert letter["From"] == SENDER
    assert letter["To"] == "partner@example.com"
    assert letter["Subject"] == MESSAGE.subject
    assert letter["Message-ID"] == "<inv_1.email.0@example.com>"
    assert letter["Auto-Submitted"] == "auto-generated"
    assert letter["Date"]
    text, html = letter.iter_parts()
    assert isinstance(text, EmailMessage)
    assert isinstance(html, EmailMessage)
    assert text.get_content().replace("\r\n", "\n") == MESSAGE.text
    assert html.get_content().strip() == MESSAGE.html
    assert [part.get_content_type() for part in (text, html)] == ["text/plain", "text/html"]


def test_a_name_cannot_add_a_header() -> None:
    letter = letter_of(replace(MESSAGE, inviter_name="Eve\r\nBcc: victim@example.com", invitee_name="x\ny"), SENDER)
    assert letter["Bcc"] is None
    assert b"\nBcc:" not in bytes(letter)


@pytest.mark.parametrize("implicit", [False, True])
async def test_tls_and_login(tmp_path: Path, implicit: bool) -> None:
    context, trusted = certificate(tmp_path)
    async with mailbox(context, implicit=implicit) as box:
        server = SmtpServer("localhost", box.port, "tls" if implicit else "starttls", "calls", "right", ca_file=trusted)
        await SmtpMail(server, SENDER).send(MESSAGE)
        assert box.logins[0] == ("calls", "right")
        assert box.encrypted == [True]
        with pytest.raises(Refused, match="535"):
            await SmtpMail(replace(server, password="wrong"), SENDER).send(MESSAGE)
        with pytest.raises(RetryLater, match="certificate"):
            await SmtpMail(replace(server, ca_file=None), SENDER).send(MESSAGE)
    assert len(box.letters) == 1


async def test_without_the_tls_that_was_asked_for_nothing_is_sent() -> None:
    async with mailbox() as box:
        with pytest.raises(Refused, match="STARTTLS"):
            await SmtpMail(SmtpServer("localhost", box.port, "starttls"), SENDER).send(MESSAGE)
    assert box.letters == []


@pytest.mark.parametrize(
    ("answer", "error"), [("550 no such user", Refused), ("450 mailbox busy", RetryLater), ("554 spam", Refused)]
)
async def test_what_the_mail_server_says_decides(answer: str, error: type[Exception]) -> None:
    async with mailbox() as box:
        box.answer_to_recipient = answer
        with pytest.raises(error, match=answer):
            await SmtpMail(plain(box.port), SENDER).send(MESSAGE)
        box.answer_to_recipient, box.answer = "250 OK", answer
        with pytest.raises(error, match=answer):
            await SmtpMail(plain(box.port), SENDER).send(MESSAGE)


async def test_no_mail_server_is_tried_again() -> None:
    with pytest.raises(RetryLater, match="no answer"):
        await SmtpMail(SmtpServer("localhost", 9, "none"), SENDER).send(MESSAGE)


# Retry-After.


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("0", 0.0),
        ("120", 120.0),
        ("99999999999999", 86_400.0),
        ("-5", None),
        ("soon", None),
        ("Sun, 22 Nov 2026 12:01:00 GMT", 60.0),
        ("Sun, 22 Nov 2026 11:00:00 GMT", 0.0),
        ("Sun, 22 Nov 2026 12:01:00 -0000", 60.0),
        ("Sun, 99 Nov 2026 12:01:00 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str | None, seconds: float | None) -> None:
    assert retry_after_s(value, now=NOW) == seconds
