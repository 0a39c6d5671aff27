"""The page behind a link to a session: an invitation's answer, and the way into the session with sound.

An invitation is accepted or declined without an account or a script; the page tells who invites, and until when, never
the context (C10). Who accepted it as a guest, or has a token of his own, joins by the signalling channel.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import parse_qs

from pydantic import Field

from signalling import Invitation, Session, SignallingError, UnknownUser, session_id_of

from ..api.health import PlainError, plain_error
from ..api.invitation_models import MAX_DECLINE_REASON, MAX_NAME
from ..api.model import Model
from ..api.openapi import FORM_TYPE, Call, Dialect, Raw, operation, operations_of
from ..auth import JOIN
from ..errors import ApiError, bad_request
from ..fields import CONTROLS
from ..invitations import Inviting
from ..tokens import ApiKey, TokenBook
from .phone import policy_with

TAG = "Join page"
HTML = "text/html"
HTML_UTF8 = "text/html; charset=utf-8"
MAX_FIELDS = 8
GUEST = "guest_"
"Begins the user id of who accepted on the page."
GUEST_TOKEN_S = 12 * 3600.0
MAX_GUESTS = 1000  # tokens of guests at a time; who is beyond gets another one by loading the page again
SCRIPTS = Path(__file__).parent.parent / "console" / "join"
KINDS = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}
FILES = {
    path.name: (path.read_bytes(), KINDS[path.suffix])
    for path in (Path(__file__).parent / "join.css", *SCRIPTS.iterdir())
    if path.suffix in KINDS
}
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
TIMES_HEADERS = {
    **HEADERS,
    "Content-Security-Policy": HEADERS["Content-Security-Policy"].replace("'none';", "'none'; script-src 'self';", 1),
}


class AnswerForm(Model):
    """The fields of the page's form."""

    answer: Literal["accept", "decline"]
    name: Annotated[str, Field(max_length=MAX_NAME, description="Of who accepts.")] = ""
    reason: Annotated[str, Field(max_length=MAX_DECLINE_REASON, description="Why it is declined.")] = ""


class JoinPage:
    """Shows an invitation and takes its answer from somebody who has nothing but the link."""

    def __init__(self, inviting: Inviting, tokens: TokenBook) -> None:
        self._inviting = inviting
        self._guests = Guests(tokens)

    def dialect(self) -> Dialect:
        """The routes of the page."""
        return Dialect(TAG, "What an invitation's link leads to.", operations_of(self), plain_error, PlainError)

    @operation(
        "GET",
        "/pages/{file}",
        summary="File of the page",
        tag=TAG,
        permission="join.page",
        errors=(404,),
        media_type="text/javascript",
    )
    async def file(self, call: Call) -> Raw:
        """Script or style, the same for everybody."""
        known = FILES.get(call.path["file"])
        if known is None:
            raise ApiError(404, "NOT_FOUND", "there is no such file")
        return Raw(*known, {"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"})

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
        """Looking changes nothing, so that a program that follows links in mails answers for nobody.

        An id of a session, whether there is one or not, shows the way into it for who has a token.
        """
        host = call.headers.get("Host", "")
        invitation = await self._inviting.find(call.path["id"])
        if invitation is not None:
            return self._shown(invitation, host)
        session = session_id_of(call.path["id"])
        if session is None:
            return _nobody()
        return _sitting("Join the conversation", session, host)

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
            return _nobody()
        try:
            if fields.get("answer") == "accept":
                name = _text(fields, "name", MAX_NAME) or invitation.invitee.name
                await self._inviting.accept(invitation, f"{GUEST}{secrets.token_hex(8)}", display_name=name)
            elif fields.get("answer") == "decline":
                await self._inviting.decline(invitation, None, _text(fields, "reason", MAX_DECLINE_REASON))
            else:
                raise bad_request("answer: accept or decline")
        except SignallingError as error:
            words = "Only users of this server can accept." if isinstance(error, UnknownUser) else error.message
            return _page("That did not work", _bad(f"{words[:1].upper()}{words[1:]}."), status=_status(error))
        return Raw("", HTML_UTF8, {**HEADERS, "Location": f"/join/{invitation.id}"})

    def _shown(self, invitation: Invitation, host: str) -> Raw:
        """The page in the invitation's present state."""
        inviter = escape(self._inviting.name_of_inviter(invitation))
        title = f"{inviter} invites you to a conversation"
        if self._inviting.expired(invitation):
            return _page(title, _bad("The invitation has expired.") + _quiet(f"Ask {inviter} for a new one."))
        if invitation.status == "ACCEPTED":
            accepted = '<p class="good" role="status">The invitation is accepted.</p>'
            session = self._inviting.registry.get(invitation.session_id)
            if session is None or session.ended:
                return _page(title, accepted + "<p>The conversation is over.</p>")
            return _sitting(title, session.id, host, accepted, self._guests.token(invitation, session))
        if invitation.status == "DECLINED":
            return _page(title, '<p role="status">The invitation was declined.</p>')
        until = datetime.fromtimestamp(invitation.expires_at, UTC)
        open_until = _quiet(f'Open until <time datetime="{until:%Y-%m-%dT%H:%MZ}">{until:%d %B %Y, %H:%M} UTC</time>.')
        if invitation.invitee.person_id is not None:
            rest = "<p>It is for a user of this server: answer it in your application.</p>"
        elif self._inviting.registry.people.strict:
            rest = "<p>Accept it in your application.</p>" + DECLINE
        else:
            rest = ACCEPT + DECLINE
        return _page(title, open_until + rest + TIMES, headers=TIMES_HEADERS)


class Guests:
    """Tokens of those who accepted on the page: to take part in that session, for some hours, and kept nowhere."""

    def __init__(self, tokens: TokenBook) -> None:
        self._tokens = tokens
        self._lent: dict[str, tuple[ApiKey, str]] = {}
        "By invitation."

    def token(self, invitation: Invitation, session: Session) -> str | None:
        """The guest's; None for who accepted by an application, and has a token of its own."""
        user = invitation.responded_by
        if user is None or not user.startswith(GUEST):
            return None
        known = self._lent.get(invitation.id)
        if known is not None:
            if self._tokens.principal(known[0].digest) is not None:
                return known[1]
            self._forget(invitation.id)
        while len(self._lent) >= MAX_GUESTS:
            self._forget(next(iter(self._lent)))
        lent = self._lent[invitation.id] = self._tokens.lend(
            invitation.tenant,
            user,
            user=user,
            scopes=[JOIN],
            channel_roles={session.channel_id: "member"},
            lasts_s=GUEST_TOKEN_S,
        )
        return lent[1]

    def _forget(self, invitation: str) -> None:
        self._tokens.drop(self._lent.pop(invitation)[0].id)


ACCEPT = f"""
<form method="post">
  <input type="hidden" name="answer" value="accept">
  <label for="name">Your name <span class="quiet">(optional)</span></label>
  <input id="name" name="name" maxlength="{MAX_NAME}" autocomplete="name">
  <button>Accept</button>
</form>"""
DECLINE = f"""
<details>
  <summary>Decline instead</summary>
  <form method="post">
    <input type="hidden" name="answer" value="decline">
    <label for="reason">Reason <span class="quiet">(optional)</span></label>
    <textarea id="reason" name="reason" rows="3" maxlength="{MAX_DECLINE_REASON}"></textarea>
    <button class="second">Decline</button>
  </form>
</details>"""

TIMES = """
<script type="module" src="/pages/times.js"></script>"""
"Shows times in the reader's zone; they are in UTC without it."

NAME = """
    <label for="name">Your name <span class="quiet">(optional)</span></label>
    <input id="name" maxlength="256" autocomplete="name">"""
TOKEN = """
    <div id="with-token">
      <label for="token">Access token</label>
      <input id="token" type="password" autocomplete="off" maxlength="4096" required>
    </div>"""


def _sitting(title: str, session: str, host: str, before: str = "", token: str | None = None) -> Raw:
    """The page that joins; `title` and `before` are HTML."""
    given = "" if token is None else f' data-token="{escape(token)}"'
    content = f"""{before}
<div id="join" data-session="{session}" data-state="out"{given}>
  <p id="state" role="status" tabindex="-1">This page joins the conversation with your microphone.</p>
  <p id="notice" class="bad" role="alert" hidden></p>
  <noscript><p class="bad">Switch scripts on to join the conversation in this browser.</p></noscript>
  <form id="enter">{TOKEN if token is None else ""}{NAME if token is None else '<input id="name" type="hidden">'}
    <button>Join</button>
  </form>
  <section id="inside" aria-labelledby="who" hidden>
    <h2 id="who">Who takes part</h2>
    <ul id="people"></ul>
    <p id="said" class="unseen" role="status"></p>
    <div class="actions">
      <button id="mute" type="button">Mute</button>
      <button id="again" type="button" class="second" hidden>Connect the sound again</button>
      <button id="leave" type="button" class="second">Leave</button>
    </div>
  </section>
  <audio id="sound" autoplay></audio>
</div>
<script type="module" src="/pages/join.js"></script>"""
    page = _page(title, content)
    rules = {"default-src": "'none'", "script-src": "'self'", "style-src": "'self'", "form-action": "'self'"}
    headers = {
        **HEADERS,
        "Content-Security-Policy": policy_with(rules, host),
        "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    }
    return Raw(page.body, HTML_UTF8, headers)


def _page(title: str, content: str, *, status: int | None = None, headers: Mapping[str, str] = HEADERS) -> Raw:
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
    return Raw(body, HTML_UTF8, headers, status)


def _nobody() -> Raw:
    words = _bad("This link leads to no invitation.") + _quiet("Use all of the link, or ask who sent it for a new one.")
    return _page("No such invitation", words, status=404)


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
