"""The page behind an invitation's link: accept or decline, without an account, a script or a build step.

It tells who invites, and until when; never the context (C10). `SITTING` marks where an accepted invitation will let a
browser into the session with sound.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import parse_qs

from pydantic import Field

from signalling import Invitation, SignallingError, UnknownUser

from ..api.health import PlainError, plain_error
from ..api.invitation_models import MAX_DECLINE_REASON, MAX_NAME
from ..api.model import Model
from ..api.openapi import FORM_TYPE, Call, Dialect, Raw, operation, operations_of
from ..errors import bad_request
from ..fields import CONTROLS
from ..invitations import Inviting

TAG = "Join page"
HTML = "text/html"
HTML_UTF8 = "text/html; charset=utf-8"
MAX_FIELDS = 8
STYLE = (Path(__file__).parent / "join.css").read_bytes()
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex",
}
"The address is a secret that opens the invitation: nobody stores it, nobody is told of it."

SITTING = '<section id="sitting"></section>'
"Where a browser will take part; empty until browsers can."


class AnswerForm(Model):
    """The fields of the page's form."""

    answer: Literal["accept", "decline"]
    name: Annotated[str, Field(max_length=MAX_NAME, description="Of who accepts.")] = ""
    reason: Annotated[str, Field(max_length=MAX_DECLINE_REASON, description="Why it is declined.")] = ""


class JoinPage:
    """Shows an invitation and takes its answer from somebody who has nothing but the link."""

    def __init__(self, inviting: Inviting) -> None:
        self._inviting = inviting

    def dialect(self) -> Dialect:
        """The routes of the page."""
        return Dialect(TAG, "What an invitation's link leads to.", operations_of(self), plain_error, PlainError)

    @operation(
        "GET", "/pages/join.css", summary="Style of the page", tag=TAG, permission="join.page", media_type="text/css"
    )
    async def style(self, call: Call) -> Raw:
        """The same for every invitation."""
        return Raw(STYLE, "text/css; charset=utf-8", {"Cache-Control": "max-age=3600"})

    @operation(
        "GET",
        "/join/{id}",
        summary="Page of an invitation",
        tag=TAG,
        permission="join.page",
        errors=(400, 404, 503),
        media_type=HTML,
    )
    async def show(self, call: Call) -> Raw:
        """Looking changes nothing, so that a program that follows links in mails answers for nobody."""
        invitation = await self._inviting.find(call.path["id"])
        if invitation is None:
            return _page("No such invitation", _bad("This link leads to no invitation."), status=404)
        return self._shown(invitation)

    @operation(
        "POST",
        "/join/{id}",
        summary="Answer an invitation on its page",
        tag=TAG,
        permission="join.answer",
        status=303,
        errors=(400, 403, 404, 409, 410, 413, 503),
        media_type=HTML,
        form=AnswerForm,
    )
    async def answer(self, call: Call) -> Raw:
        """A form with `answer` (accept or decline), and `name` or `reason`. Who accepts becomes a guest user."""
        fields = await _form(call)
        invitation = await self._inviting.find(call.path["id"])
        if invitation is None:
            return _page("No such invitation", _bad("This link leads to no invitation."), status=404)
        try:
            if fields.get("answer") == "accept":
                name = _text(fields, "name", MAX_NAME) or invitation.invitee.name
                await self._inviting.accept(invitation, f"guest_{secrets.token_hex(8)}", display_name=name)
            elif fields.get("answer") == "decline":
                await self._inviting.decline(invitation, None, _text(fields, "reason", MAX_DECLINE_REASON))
            else:
                raise bad_request("answer: accept or decline")
        except SignallingError as error:
            words = "Only users of this server can accept." if isinstance(error, UnknownUser) else error.message
            return _page("That did not work", _bad(f"{words[:1].upper()}{words[1:]}."), status=_status(error))
        return Raw("", HTML_UTF8, {**HEADERS, "Location": f"/join/{invitation.id}"})

    def _shown(self, invitation: Invitation) -> Raw:
        """The page in the invitation's present state."""
        inviter = escape(self._inviting.name_of_inviter(invitation))
        title = f"{inviter} invites you to a conversation"
        if self._inviting.expired(invitation):
            return _page(title, _bad("The invitation has expired.") + _quiet(f"Ask {inviter} for a new one."))
        if invitation.status == "ACCEPTED":
            return _page(title, f'<p class="good" role="status">The invitation is accepted.</p>{SITTING}')
        if invitation.status == "DECLINED":
            return _page(title, '<p role="status">The invitation was declined.</p>')
        until = datetime.fromtimestamp(invitation.expires_at, UTC)
        open_until = _quiet(f'Open until <time datetime="{until:%Y-%m-%dT%H:%MZ}">{until:%d %B %Y, %H:%M} UTC</time>.')
        if invitation.invitee.person_id is not None:
            return _page(title, open_until + "<p>It is for a user of this server: answer it in your application.</p>")
        if self._inviting.registry.people.strict:
            return _page(title, open_until + "<p>Accept it in your application.</p>" + DECLINE)
        return _page(title, open_until + ACCEPT + DECLINE)


ACCEPT = f"""
<form method="post">
  <input type="hidden" name="answer" value="accept">
  <label for="name">Your name <span class="quiet">(if you like)</span></label>
  <input id="name" name="name" maxlength="{MAX_NAME}" autocomplete="name">
  <button>Accept</button>
</form>"""
DECLINE = f"""
<details>
  <summary>Decline instead</summary>
  <form method="post">
    <input type="hidden" name="answer" value="decline">
    <label for="reason">Reason <span class="quiet">(if you like)</span></label>
    <textarea id="reason" name="reason" rows="3" maxlength="{MAX_DECLINE_REASON}"></textarea>
    <button class="second">Decline</button>
  </form>
</details>"""


def _page(title: str, content: str, *, status: int | None = None) -> Raw:
    """A whole page; `title` and `content` are HTML, escaped where they came from elsewhere."""
    body = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="stylesheet" href="/pages/join.css">
</head>
<body>
<main>
<h1>{title}</h1>
{content}
</main>
</body>
</html>
"""
    return Raw(body, HTML_UTF8, HEADERS, status)


def _bad(text: str) -> str:
    return f'<p class="bad" role="alert">{escape(text)}</p>'


def _quiet(markup: str) -> str:
    return f'<p class="quiet">{markup}</p>'


async def _form(call: Call) -> dict[str, str]:
    """The fields of a form, the first of each name. ApiError 400."""
    if call.request.content_type != FORM_TYPE:
        raise bad_request(f"the body is a form: {FORM_TYPE}")
    data = await call.request.read()
    try:
        fields = parse_qs(data.decode("utf-8"), keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError as error:
        raise bad_request("the form is not written as forms are") from error
    return {name: values[0] for name, values in fields.items()}


def _text(fields: dict[str, str], name: str, limit: int) -> str | None:
    """What was written into a field, on one line; None when it was left empty."""
    text = fields.get(name, "").translate(SPACES).strip()
    if len(text) > limit:
        raise bad_request(f"{name}: at most {limit} characters")
    return text or None


SPACES = dict.fromkeys(CONTROLS, " ")


def _status(error: SignallingError) -> int:
    return 403 if isinstance(error, UnknownUser) else error.status
