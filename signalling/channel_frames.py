"""Frames of the signalling channel: what a client may say, and what it is told. Text, one JSON object a frame."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args
from unicodedata import category

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import from_json

from .errors import BadRequest, ChannelError, SignallingError
from .session import MAX_CHAT

VERSION = 1
SUBPROTOCOL = "ringway.v1"
TOKEN_SUBPROTOCOL = "token."
"What stands before a token that comes as a second sub-protocol: a browser cannot send headers."

MAX_FRAME = 64 * 1024  # bytes; a session description with every candidate of a machine has a tenth of it
MAX_REQUEST_ID = 64  # characters, as a UUID and more
MAX_TOKEN = 4096
MAX_NAME = 256
MAX_SDP = 32 * 1024
MAX_DIGITS = 32

# Why the server closes (RFC 6455 §7.4).
CLOSE_GOING_AWAY = 1001
CLOSE_NO_TEXT = 1003
CLOSE_TOO_BIG = 1009
CLOSE_TRY_LATER = 1013
CLOSE_VERSION = 4400
CLOSE_UNAUTHORIZED = 4401
CLOSE_SILENT = 4408
CLOSE_TOO_FAST = 4429

CLOSE_CODES: Mapping[int, str] = {
    CLOSE_GOING_AWAY: "The server stops.",
    CLOSE_NO_TEXT: "A binary frame: the channel has text alone.",
    CLOSE_TOO_BIG: f"A frame of more than {MAX_FRAME} bytes.",
    CLOSE_TRY_LATER: "Whether the token is valid cannot be found out at the moment.",
    CLOSE_VERSION: "The client speaks a version that the server does not.",
    CLOSE_UNAUTHORIZED: "The token is not valid, has expired, or was revoked.",
    CLOSE_SILENT: "No hello in time, or no answer to a ping.",
    CLOSE_TOO_FAST: "Far more frames than the rate allows.",
}


ERROR_CODES: Mapping[str, str] = {
    "BAD_REQUEST": "The frame is no JSON object, or a field is missing or wrong; the message names it.",
    "UNKNOWN_COMMAND": "No command is called that.",
    "HELLO_FIRST": "The first frame was no hello.",
    "HELLO_AGAIN": "A second hello.",
    "VERSION_NOT_SUPPORTED": "The version of hello; the connection closes.",
    "UNAUTHORIZED": "The token is not valid, or no longer; the connection closes.",
    "FORBIDDEN": "The token may not do this.",
    "RATE_LIMITED": "Too many frames; the command was not carried out. `retry_after_s` says when to try again.",
    "TOO_MANY_PENDING": "Too many commands wait for their results.",
    "GLARE": "Both sides offered: answer the server's offer, then offer again after `retry_after_s`.",
    "MEDIA_REFUSED": "The session description is malformed, or has nothing that the server or the other party can do.",
    "UNKNOWN_CALL": "No such call rings here, or no longer.",
    "INTERNAL": "An error of the server.",
}
"What the channel itself refuses. The others are those of the REST API, such as UNKNOWN_SESSION or WRONG_STATE."


def _clean(text: str) -> str:
    """`text`; ValueError for control characters other than line breaks and tabs."""
    if any(ord(char) < 32 and char not in "\n\r\t" for char in text):
        raise ValueError("control characters are not allowed")
    return text


def _line(text: str) -> str:
    """`text`; ValueError for control characters and Unicode's line separators, which names may carry to SIP (G7)."""
    if any(category(char) in ("Cc", "Zl", "Zp") for char in text):
        raise ValueError("control characters are not allowed")
    return text


Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME), AfterValidator(_line)]
SessionRef = Annotated[str, Field(min_length=1, max_length=64)]
CallRef = Annotated[str, Field(min_length=1, max_length=64, description="Of `incoming`.")]
Sdp = Annotated[str, Field(min_length=1, max_length=MAX_SDP)]


class Frame(BaseModel):
    """Base of all frames: strict types, unknown fields ignored."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, defer_build=True)


class Command(Frame):
    """What a client says."""

    id: Annotated[
        str | None, Field(min_length=1, max_length=MAX_REQUEST_ID, description="Comes back with the result or error.")
    ] = None


class SessionCommand(Command):
    """A command about a session that the client takes part in."""

    session: Annotated[
        SessionRef | None, Field(description="In any form of its id; may be left out while there is one alone.")
    ] = None


class Hello(Command):
    """Who speaks. The first frame, within 10 seconds."""

    type: Literal["hello"]
    version: Annotated[int, Field(description=f"{VERSION}.")]
    token: Annotated[
        str | None, Field(max_length=MAX_TOKEN, description="An API key or a JWT; not where the handshake had it.")
    ] = None
    user: Annotated[Name | None, Field(description="With an admin's token: the user to act for.")] = None


class Ping(Command):
    """Ask for a result without any effect."""

    type: Literal["ping"]


class Pong(Command):
    """Answer a ping of the server's. There is no result."""

    type: Literal["pong"]


class Join(Command):
    """Take part in a session, or in a new one. What happens in it comes as events from then on."""

    type: Literal["join"]
    session: Annotated[SessionRef | None, Field(description="In any form of its id; left out: a new session.")] = None
    name: Annotated[Name | None, Field(description="By which the others see the user.")] = None
    title: Annotated[Name | None, Field(description="Name of a new session.")] = None


class Resume(Command):
    """Go on after a lost connection, or on another one: what was missed comes again."""

    type: Literal["resume"]
    session: SessionRef
    seq: Annotated[int, Field(ge=0, le=2**53, description="Of the last event that was seen; 0 for none.")]


class Leave(SessionCommand):
    """Take part no more; the session goes on."""

    type: Literal["leave"]


class End(SessionCommand):
    """End the session for everybody. For its host, who need not take part."""

    type: Literal["end"]


class Chat(SessionCommand):
    """Write to everybody in the session."""

    type: Literal["chat"]
    text: Annotated[str, Field(min_length=1, max_length=MAX_CHAT), AfterValidator(_clean)]


class HoldCall(SessionCommand):
    """Put the call of the session on hold, or let it go on."""

    type: Literal["hold"]
    on: bool


class PressDigits(SessionCommand):
    """Send DTMF digits to the phones in the session."""

    type: Literal["dtmf"]
    digits: Annotated[str, Field(pattern=rf"^[0-9*#A-Da-d]{{1,{MAX_DIGITS}}}$")]


class HangUpCall(SessionCommand):
    """End the call of the session. A session that a call made ends with it; any other goes on."""

    type: Literal["hangup"]


class Mute(SessionCommand):
    """Let the others hear the user no more, or again."""

    type: Literal["mute"]
    on: bool


class Offer(SessionCommand):
    """Offer media: an SDP offer of the browser's. The result has the answer, as `sdp`."""

    type: Literal["offer"]
    sdp: Sdp


class Answer(SessionCommand):
    """Answer an offer of the server's."""

    type: Literal["answer"]
    sdp: Sdp


class Candidate(SessionCommand):
    """A further ICE candidate of the browser's, or the end of them. Those of the server are in its descriptions."""

    type: Literal["candidate"]
    candidate: Annotated[
        str | None, Field(max_length=1024, description="As RTCIceCandidate has it; null or empty: there are no more.")
    ] = None
    mid: Annotated[str | None, Field(max_length=64)] = None


class Dial(SessionCommand):
    """Call a number or a user: in a session that the client takes part in, or in a new one."""

    type: Literal["call"]
    number: Annotated[Name, Field(description="A number, or the id or handle of a user who is connected.")]
    trunk: Annotated[Name | None, Field(description="By which to leave; left out: as the routes say.")] = None
    caller: Annotated[Name | None, Field(description="Caller id: with `trunk`, or a number of the user's own.")] = None
    name: Annotated[Name | None, Field(description="By which the callee sees the user.")] = None
    sdp: Annotated[Sdp | None, Field(description="An SDP offer; left out only where media flows already.")] = None


class Accept(Command):
    """Answer an incoming call. The user takes part in its session from then on."""

    type: Literal["accept"]
    call: CallRef
    sdp: Annotated[Sdp, Field(description="The answer to the offer of `incoming`; an offer where that had none.")]


class Reject(Command):
    """Refuse an incoming call."""

    type: Literal["reject"]
    call: CallRef


AnyCommand = (
    Hello
    | Ping
    | Pong
    | Join
    | Resume
    | Leave
    | End
    | Chat
    | HoldCall
    | PressDigits
    | HangUpCall
    | Mute
    | Offer
    | Answer
    | Candidate
    | Dial
    | Accept
    | Reject
)
COMMANDS: Mapping[str, type[Command]] = {
    get_args(model.model_fields["type"].annotation)[0]: model for model in get_args(AnyCommand)
}
"By the value of `type`."


class RefusedFrame(Exception):
    """A frame is no command; `request` is its id, when that much could be read."""

    def __init__(self, error: SignallingError, request: str | None) -> None:
        super().__init__(error.message)
        self.error = error
        self.request = request


def parse(text: str) -> AnyCommand:
    """The command of a frame. RefusedFrame."""
    try:
        found = from_json(text)
    except ValueError as error:
        raise RefusedFrame(BadRequest(f"the frame is no JSON: {error}"), None) from error
    if not isinstance(found, dict):
        raise RefusedFrame(BadRequest("a frame is one JSON object"), None)
    request = found.get("id")
    if not isinstance(request, str) or not 1 <= len(request) <= MAX_REQUEST_ID:
        request = None
    kind = found.get("type")
    model = COMMANDS.get(kind) if isinstance(kind, str) else None
    if model is None:
        named = repr(kind[:32]) if isinstance(kind, str) else "a type that is no string"
        raise RefusedFrame(ChannelError("UNKNOWN_COMMAND", f"no command is called {named}", status=404), request)
    try:
        return model.model_validate(found)  # type: ignore[return-value]  # COMMANDS has the members of AnyCommand
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise RefusedFrame(BadRequest(f"{where}: {first['msg']}"), request) from error


# What a client is told.


class Result(Frame):
    """A command was carried out."""

    type: Literal["result"]
    id: Annotated[str | None, Field(description="The command's own.")]
    command: str
    result: dict[str, Any]


class Failure(Frame):
    """A command was not carried out, or the connection is about to close."""

    type: Literal["error"]
    id: Annotated[str | None, Field(description="The command's own; null when it had none or could not be read.")]
    code: Annotated[str, Field(description="For programs.")]
    message: Annotated[str, Field(description="For people.")]
    retry_after_s: int | None = None


class Event(Frame):
    """Something happened in a session that the client takes part in."""

    type: Literal["event"]
    event: dict[str, Any]


class Notice(Frame):
    """Something happened to the client's part in a session that is no event of the session."""

    type: Literal["notice"]
    code: Literal["TAKEN_OVER", "EVENTS_LOST"]
    session: str
    message: str


class Incoming(Frame):
    """Somebody calls the user: accept it or reject it, until it is cancelled."""

    type: Literal["incoming"]
    session: str
    call: Annotated[str, Field(description="For accept and reject.")]
    caller: Annotated[str, Field(alias="from", description="Number or user id of who calls.")]
    display_name: str | None
    sdp: Annotated[str | None, Field(description="The server's SDP offer; null: it wants the browser's.")]


class Withdrawn(Frame):
    """An incoming call need not be answered here any more."""

    type: Literal["cancelled"]
    session: str
    call: str
    code: Literal["CANCELLED", "ANSWERED_ELSEWHERE", "REJECTED_ELSEWHERE"]
    reason: str


class ServerOffer(Frame):
    """The server's SDP offer: say answer."""

    type: Literal["offer"]
    session: str
    sdp: str
    fresh: Annotated[bool, Field(description="For a new RTCPeerConnection, which replaces the one that was lost.")]


class ServerAnswer(Frame):
    """The answer to the SDP offer of a call: once it rings with early media, or is answered."""

    type: Literal["answer"]
    session: str
    sdp: str


class MediaEnded(Frame):
    """The user's media in the session is over: close the RTCPeerConnection. The user may still take part."""

    type: Literal["ended"]
    session: str
    status: Annotated[int, Field(description="As a SIP response's: 200 for hung up, 486 for busy.")]
    reason: str


class ServerPing(Frame):
    """Say pong, or anything else, within 10 seconds."""

    type: Literal["ping"]


AnyAnswer = (
    Result | Failure | Event | Notice | Incoming | Withdrawn | ServerOffer | ServerAnswer | MediaEnded | ServerPing
)
ANSWERS: Mapping[str, type[Frame]] = {
    get_args(model.model_fields["type"].annotation)[0]: model for model in get_args(AnyAnswer)
}
"By the value of `type`."

NOTICES: Mapping[str, str] = {
    "TAKEN_OVER": "The user resumed the session on another connection: this one gets no more of it.",
    "EVENTS_LOST": "Some events before the next one cannot be had: read the session anew.",
}

told = TypeAdapter[AnyAnswer](Annotated[AnyAnswer, Field(discriminator="type")])
"Reads what a client is told."


def encoded(frame: Mapping[str, Any]) -> str:
    """A frame as text that is UTF-8 whatever came in."""
    text = json.dumps(frame, ensure_ascii=False, separators=(",", ":"))
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
