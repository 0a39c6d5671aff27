"""The signalling channel's core by a clock that is passed in: nothing here waits, and there is no socket."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signalling import (
    COMMANDS,
    DEFAULT_TENANT,
    Ask,
    ChannelConnection,
    ChannelDesk,
    ChannelError,
    ChannelLimits,
    Principal,
    Registry,
    Session,
    SignallingError,
    short_of_session,
    told,
    uuid_of_session,
)
from signalling.channel import MAX_REPLAY, PAGE
from signalling.session import MAX_EVENTS
from tests.flows.house import House as CallHouse
from tests.sim.fixture import Sim

ALICE = Principal("alice", "token", user="alice")
BOB = Principal("bob", "token", user="bob")
LIMITS = ChannelLimits()
SDP = "v=0\r\n"


class Doorkeeper:
    """Tokens are users' names; one may need a look at its issuer."""

    def __init__(self) -> None:
        self.principals = {
            "alice": ALICE,
            "bob": BOB,
            "vera": Principal("vera", "token", user="vera", roles={"*": "viewer"}),
            "boss": Principal("boss", "admin"),
            "machine": Principal("machine", "token"),
            "oscar": Principal("oscar", "token", user="oscar", tenant="other/app"),
        }
        self.at_once = True
        self.refused: set[str] = set()
        "Commands that nobody may give."

    def known(self, token: str) -> Principal | None:
        return self.principals.get(token) if self.at_once else None

    async def principal(self, token: str) -> Principal:
        if token not in self.principals:
            raise ChannelError("UNAUTHORIZED", "the token is not valid", status=401)
        return self.principals[token]

    def may(self, principal: Principal, command: str, session: Session | None) -> None:
        if command in self.refused:
            raise ChannelError("FORBIDDEN", f"nobody may {command}", status=403)


class Archive:
    """Events by session, as a database would have them."""

    def __init__(self) -> None:
        self.bodies: dict[str, list[dict[str, Any]]] = {}
        self.error: SignallingError | None = None

    async def events(self, session_id: str, after: int, before: int | None, limit: int) -> list[dict[str, Any]]:
        if self.error is not None:
            raise self.error
        every = self.bodies.get(session_id, [])
        return [body for body in every if after < body["seq"] and (before is None or body["seq"] < before)][:limit]


async def outcome(ask: Ask) -> Any:
    try:
        return await ask.run()
    except SignallingError as error:
        return error


class Client:
    """One connection, and all that it was told."""

    def __init__(self, desk: Desk, token: str | None = None) -> None:
        self.desk = desk
        self.core = ChannelConnection(desk.core, desk.now, token=token, wake=self.wake)
        self.told: list[dict[str, Any]] = []
        self.woken = 0

    @property
    def closed(self) -> int | None:
        """With which code."""
        close = self.core.close
        return None if close is None else close.code

    def wake(self) -> None:
        self.woken += 1

    def drain(self) -> None:
        for text in self.core.data_to_send():
            told.validate_json(text)
            self.told.append(json.loads(text))

    def say(self, **frame: Any) -> dict[str, Any] | None:
        """Send a frame; the result or error that names its id, if there is one by now."""
        return self.say_text(json.dumps({"id": "1", **frame}))

    def say_text(self, text: str) -> dict[str, Any] | None:
        before = len(self.told)
        self.core.receive_text(text, self.desk.now)
        self.settle()
        answers = [frame for frame in self.told[before:] if frame["type"] in ("result", "error")]
        return answers[-1] if answers else None

    def settle(self) -> None:
        """Carry out what is asked for, until nothing is."""
        self.drain()
        while asks := self.core.asks():
            for ask in asks:
                self.core.receive_answer(ask, self.desk.sim.run(outcome(ask)), self.desk.now)
                self.drain()

    def result(self, **frame: Any) -> dict[str, Any]:
        """What came of a command that must succeed."""
        answer = self.say(**frame)
        assert answer is not None, "no answer"
        assert answer["type"] == "result", answer
        assert answer["id"] == "1"
        assert answer["command"] == frame["type"]
        result: dict[str, Any] = answer["result"]
        return result

    def refusal(self, **frame: Any) -> str:
        """The code of a command that must be refused."""
        answer = self.say(**frame)
        assert answer is not None, "no answer"
        assert answer["type"] == "error", answer
        assert answer["id"] == "1"
        return str(answer["code"])

    def events(self) -> list[tuple[int, str]]:
        """Numbers and kinds of the events so far."""
        self.drain()
        return [(frame["event"]["seq"], frame["event"]["kind"]) for frame in self.told if frame["type"] == "event"]

    def lost(self) -> None:
        self.core.lost(self.desk.now)


class Desk:
    """The desk of a server, with a clock."""

    def __init__(self, sim: Sim) -> None:
        self.sim = sim
        self.house = CallHouse(sim)
        self.now = 1000.0
        self.doorkeeper = Doorkeeper()
        self.archive = Archive()
        self.core = ChannelDesk(self.registry, self.doorkeeper, self.archive, LIMITS)

    @property
    def registry(self) -> Registry:
        return self.house.registry

    def client(self, user: str = "alice") -> Client:
        """A client whose token was accepted."""
        client = Client(self)
        client.result(type="hello", version=1, token=user)
        return client

    def session(self, host: str | None = None) -> Session:
        return self.registry.create(tenant=DEFAULT_TENANT, made_by="callsession", host=host)

    def pass_time(self, seconds: float, *clients: Client) -> None:
        """Let all timers go off that are due."""
        until = self.now + seconds
        while True:
            due = [client.core.deadline for client in clients] + [self.core.deadline]
            deadlines = [at for at in due if at is not None and at <= until]
            if not deadlines:
                break
            self.now = max(self.now, min(deadlines))
            for client in clients:
                client.core.handle_timeout(self.now)
                client.settle()
            self.core.handle_timeout(self.now)
        self.now = until


@pytest.fixture
def desk(sim: Sim) -> Desk:
    made: list[Desk] = []

    async def make() -> None:
        made.append(Desk(sim))

    sim.run(make())
    return made[0]


def in_loop(desk: Desk, act: Any) -> Any:
    """Call something that needs a running loop."""

    async def call() -> Any:
        return act()

    return desk.sim.run(call())


# Who speaks.


def test_f1_the_token_comes_in_the_first_message(desk: Desk) -> None:
    client = Client(desk)
    welcome = client.result(type="hello", version=1, token="alice")
    assert welcome == {"version": 1, "user": "alice", "ping_s": 25.0, "grace_s": 30.0}


def test_f1_the_token_may_come_with_the_handshake(desk: Desk) -> None:
    assert Client(desk, token="bob").result(type="hello", version=1)["user"] == "bob"


@pytest.mark.parametrize(("hello", "code"), [({"token": "nobody"}, 4401), ({}, 4401), ({"token": "machine"}, 4401)])
def test_f1_whoever_is_nobody_is_refused_and_the_connection_closes(
    desk: Desk, hello: dict[str, str], code: int
) -> None:
    client = Client(desk)
    assert client.refusal(type="hello", version=1, **hello) in ("UNAUTHORIZED", "FORBIDDEN")
    assert client.closed == code
    assert client.core.deadline is None


def test_f1_nothing_goes_before_hello_and_a_second_one_is_refused(desk: Desk) -> None:
    client = Client(desk)
    assert client.refusal(type="join") == "HELLO_FIRST"
    client.result(type="hello", version=1, token="alice")
    assert client.refusal(type="hello", version=1, token="bob") == "HELLO_AGAIN"
    assert client.core.user == "alice"


def test_f1_another_version_closes(desk: Desk) -> None:
    client = Client(desk)
    assert client.refusal(type="hello", version=2, token="alice") == "VERSION_NOT_SUPPORTED"
    assert client.closed == 4400


def test_f1_an_admin_acts_for_a_user_and_nobody_else_does(desk: Desk) -> None:
    assert Client(desk).result(type="hello", version=1, token="boss", user="carol")["user"] == "carol"
    assert Client(desk).refusal(type="hello", version=1, token="alice", user="carol") == "FORBIDDEN"


def test_f1_commands_wait_while_the_token_is_looked_at(desk: Desk) -> None:
    desk.doorkeeper.at_once = False
    client = Client(desk)
    client.core.receive_text('{"type":"hello","version":1,"token":"alice"}', desk.now)
    client.core.receive_text('{"type":"ping","id":"p"}', desk.now)
    assert client.core.data_to_send() == []
    client.settle()
    assert [frame["command"] for frame in client.told] == ["hello", "ping"]


def test_f1_who_says_no_hello_in_time_is_closed(desk: Desk) -> None:
    client = Client(desk)
    desk.pass_time(LIMITS.hello_s - 0.1, client)
    assert client.closed is None
    desk.pass_time(0.1, client)
    assert client.closed == 4408


def test_11_a_revoked_token_closes_within_five_seconds(desk: Desk) -> None:
    client = desk.client()
    desk.pass_time(20, client)
    del desk.doorkeeper.principals["alice"]
    desk.pass_time(5, client)
    assert client.closed == 4401
    assert client.told[-1]["code"] == "UNAUTHORIZED"


# Taking part.


def test_f2_join_without_a_session_makes_one(desk: Desk) -> None:
    client = desk.client()
    joined = in_loop(desk, lambda: client.result(type="join", name="Alice", title="Stand-up"))
    session = desk.registry.get(joined["session"])
    assert session is not None
    assert (session.made_by, session.host, session.name) == ("channel", "alice", "Stand-up")
    assert joined["participants"] == [
        {"participant": 0, "user": "alice", "display_name": "Alice", "role": "host", "muted": False}
    ]
    assert client.events() == [(1, "session.started"), (2, "participant.joined")]


@pytest.mark.parametrize("form", [str, short_of_session, uuid_of_session])
def test_f2_join_takes_a_session_in_any_form_of_its_id(desk: Desk, form: Any) -> None:
    session = in_loop(desk, lambda: desk.session("hanna"))
    client = desk.client()
    joined = client.result(type="join", session=form(session.id))
    assert joined["session"] == session.id
    assert joined["participant"] == 1
    assert [who["user"] for who in joined["participants"]] == ["hanna", "alice"]
    assert client.events() == [(3, "participant.joined")]


def test_f2_what_is_not_there_and_what_is_another_tenants_are_the_same(desk: Desk) -> None:
    session = in_loop(desk, desk.session)
    oscar = desk.client("oscar")
    assert oscar.refusal(type="join", session=session.id) == "UNKNOWN_SESSION"
    message = oscar.told[-1]["message"]
    assert oscar.refusal(type="join", session="12345") == "UNKNOWN_SESSION"
    assert oscar.told[-1]["message"] == message


def test_f2_chat_reaches_everybody_in_order_and_leave_ends_the_events(desk: Desk) -> None:
    session = in_loop(desk, desk.session)
    alice, bob = desk.client(), desk.client("bob")
    alice.result(type="join", session=session.id)
    bob.result(type="join", session=session.id)
    alice.result(type="chat", text="good morning ☀")
    assert bob.woken
    bob.drain()
    assert bob.told[-1]["event"]["data"]["payload"] == "good morning ☀"
    bob.result(type="leave")
    alice.result(type="chat", text="are you there?")
    assert [kind for _, kind in bob.events()] == ["participant.joined", "chat.sent", "participant.left"]
    assert [seq for seq, _ in alice.events()] == [2, 3, 4, 5, 6]
    assert bob.refusal(type="chat", text="no") == "NOT_PARTICIPANT"


def test_f2_end_tells_everybody_and_nothing_is_left(desk: Desk) -> None:
    alice, bob = desk.client(), desk.client("bob")
    joined = in_loop(desk, lambda: alice.result(type="join"))
    bob.result(type="join", session=joined["session"])
    alice.core.receive_text('{"type":"end","id":"1"}', desk.now)
    alice.settle()
    assert bob.events()[-1][1] == "session.ended"
    assert desk.core.counts() == {"connections": 2, "stays": 0, "stays_lost": 0, "ringing": 0}
    assert alice.refusal(type="end", session=joined["session"]) == "WRONG_STATE"


def test_f2_a_token_that_only_views_joins_as_a_viewer(desk: Desk) -> None:
    session = in_loop(desk, desk.session)
    assert desk.client("vera").result(type="join", session=session.id)["role"] == "viewer"


def test_f2_commands_name_their_session_where_there_are_several(desk: Desk) -> None:
    first, second = in_loop(desk, desk.session), in_loop(desk, desk.session)
    client = desk.client()
    client.result(type="join", session=first.id)
    client.result(type="join", session=second.id)
    assert client.refusal(type="chat", text="where?") == "BAD_REQUEST"
    client.result(type="chat", text="here", session=second.id)
    assert second.chat_count == 1


def test_f2_what_concerns_calls_needs_one(desk: Desk) -> None:
    client = desk.client()
    in_loop(desk, lambda: client.result(type="join"))
    assert client.refusal(type="dtmf", digits="12#") == "WRONG_STATE"
    assert client.refusal(type="hangup") == "WRONG_STATE"
    assert client.refusal(type="hold", on=True) == "WRONG_STATE"


def test_f5_every_command_asks_for_its_permission(desk: Desk) -> None:
    frames: dict[str, dict[str, Any]] = {
        "join": {},
        "leave": {},
        "chat": {"text": "x"},
        "hold": {"on": True},
        "dtmf": {"digits": "1"},
        "hangup": {},
        "end": {},
        "mute": {"on": True},
        "offer": {"sdp": SDP},
        "answer": {"sdp": SDP},
        "candidate": {"candidate": None},
        "call": {"number": "1"},
    }
    session = in_loop(desk, desk.session)
    frames["resume"] = {"session": session.id, "seq": 0}
    assert frames.keys() == COMMANDS.keys() - {"hello", "ping", "pong", "accept", "reject"}
    client = desk.client()
    client.result(type="join", session=session.id)
    for name, fields in frames.items():
        desk.doorkeeper.refused = {name}
        assert client.refusal(type=name, **fields) == "FORBIDDEN", name
    assert session.participant("alice") is not None


# Events, and coming back.


def test_f3_a_lost_connection_resumes_and_gets_what_it_missed(desk: Desk) -> None:
    session = in_loop(desk, desk.session)
    alice, bob = desk.client(), desk.client("bob")
    alice.result(type="join", session=session.id)
    bob.result(type="join", session=session.id)
    seen = alice.events()[-1][0]
    alice.lost()
    for text in ("one", "two", "three"):
        bob.result(type="chat", text=text)
    desk.pass_time(29)
    again = desk.client()
    resumed = again.result(type="resume", session=session.id, seq=seen)
    assert resumed["participant"] == 0
    assert again.events() == [(seen + n, "chat.sent") for n in (1, 2, 3)]
    desk.pass_time(60)
    assert session.participant("alice") is not None, "the grace period is over only for who did not come back"
    bob.result(type="chat", text="four")
    assert [seq for seq, _ in again.events()] == [seen + n for n in (1, 2, 3, 4)]


def test_10_who_does_not_come_back_leaves_after_the_grace_period(desk: Desk) -> None:
    session = in_loop(desk, desk.session)
    alice = desk.client()
    alice.result(type="join", session=session.id)
    alice.lost()
    desk.pass_time(29.9)
    assert session.participant("alice") is not None
    desk.pass_time(0.1)
    assert session.participant("alice") is None
    assert desk.core.counts() == {"connections": 0, "stays": 0, "stays_lost": 0, "ringing": 0}
    assert desk.client().refusal(type="resume", session=session.id, seq=0) == "NOT_PARTICIPANT"


def test_10_a_session_that_ended_meanwhile_says_so_at_the_resume(desk: Desk) -> None:
    session = in_loop(desk, desk.session)
    alice = desk.client()
    alice.result(type="join", session=session.id)
    alice.lost()
    desk.sim.run(session.end())
    again = desk.client()
    assert again.result(type="resume", session=session.id, seq=2)["status"] == "RESOLVED"
    assert [kind for _, kind in again.events()] == ["participant.left", "session.ended"]
    assert again.core.stays == {}


def test_10_resume_takes_the_session_over_from_another_connection(desk: Desk) -> None:
    session = in_loop(desk, desk.session)
    first, second = desk.client(), desk.client()
    first.result(type="join", session=session.id)
    assert second.refusal(type="join", session=session.id) == "ALREADY_PARTICIPANT"
    second.result(type="resume", session=session.id, seq=2)
    first.drain()
    assert first.told[-1]["code"] == "TAKEN_OVER"
    second.result(type="chat", text="here now")
    assert [kind for _, kind in first.events()] == ["participant.joined"]
    assert [kind for _, kind in second.events()] == ["chat.sent"]
    first.lost()
    desk.pass_time(60)
    assert session.participant("alice") is not None


def test_10_who_joined_elsewhere_goes_on_by_the_channel(desk: Desk) -> None:
    session = in_loop(desk, lambda: desk.session("alice"))
    alice = desk.client()
    assert alice.result(type="join", session=session.id)["participant"] == 0
    assert alice.events() == []
    assert len(session.participants) == 1


def long_session(desk: Desk, events: int) -> Session:
    """A session with that many events, all in the archive; alice takes part, and nobody listens."""
    session: Session = in_loop(desk, lambda: desk.session("alice"))
    keep = desk.archive.bodies.setdefault(session.id, [])
    desk.registry.bus.follow(
        lambda happening: keep.append({"id": "evt_1", "kind": "session.noted", "seq": happening.seq})
    )
    keep += [{"id": "evt_1", "kind": "session.noted", "seq": seq} for seq in (1, 2)]
    while session.last_seq < events:
        session.note("so it goes")
    return session


def test_f3_what_is_no_longer_in_memory_comes_from_the_history_in_order(desk: Desk) -> None:
    session = long_session(desk, MAX_EVENTS + 2 * PAGE + 7)
    alice = desk.client()
    alice.result(type="resume", session=session.id, seq=3)
    session.note("and the newest")
    assert [seq for seq, _ in alice.events()] == list(range(4, session.last_seq + 1))
    assert not any(frame["type"] == "notice" for frame in alice.told)


def test_f3_what_happens_during_a_replay_comes_after_it_and_once(desk: Desk) -> None:
    session = long_session(desk, MAX_EVENTS + PAGE)
    alice = desk.client()
    alice.core.receive_text(json.dumps({"type": "resume", "session": session.id, "seq": 3}), desk.now)
    session.note("meanwhile")
    alice.settle()
    session.note("afterwards")
    assert [seq for seq, _ in alice.events()] == list(range(4, session.last_seq + 1))


def test_f3_no_more_than_a_page_leaves_before_the_client_has_read_it(desk: Desk) -> None:
    sessions = [long_session(desk, MAX_EVENTS - 1) for _ in range(3)]
    alice = desk.client()
    for session in sessions:
        alice.core.receive_text(json.dumps({"type": "resume", "session": session.id, "seq": 0}), desk.now)
    assert len(alice.core.data_to_send()) <= PAGE + len(sessions)


def test_f3_events_that_cannot_be_had_are_told_of(desk: Desk) -> None:
    session = long_session(desk, MAX_EVENTS + 50)
    desk.archive.bodies.clear()
    alice = desk.client()
    alice.result(type="resume", session=session.id, seq=3)
    notices = [frame["code"] for frame in alice.told if frame["type"] == "notice"]
    assert notices == ["EVENTS_LOST"]
    assert [seq for seq, _ in alice.events()] == list(range(51, session.last_seq + 1))


def test_f3_a_database_that_is_down_loses_the_old_events_alone(desk: Desk) -> None:
    session = long_session(desk, MAX_EVENTS + 50)
    desk.archive.error = ChannelError("STORE_UNAVAILABLE", "down", status=503)
    alice = desk.client()
    alice.result(type="resume", session=session.id, seq=3)
    assert [seq for seq, _ in alice.events()] == list(range(51, session.last_seq + 1))


def test_f3_a_replay_is_bounded(desk: Desk) -> None:
    session = long_session(desk, MAX_EVENTS + MAX_REPLAY + 500)
    alice = desk.client()
    alice.result(type="resume", session=session.id, seq=0)
    first = alice.events()[0][0]
    assert first == session.last_seq - MAX_EVENTS - MAX_REPLAY + 1
    assert sum(frame["type"] == "notice" for frame in alice.told) == 1


def test_f3_a_number_that_no_event_has_is_refused(desk: Desk) -> None:
    session = in_loop(desk, lambda: desk.session("alice"))
    assert desk.client().refusal(type="resume", session=session.id, seq=99) == "BAD_REQUEST"


def test_f3_a_restart_ends_the_stays(desk: Desk) -> None:
    session = in_loop(desk, desk.session)
    desk.client().result(type="join", session=session.id)
    desk.core.close()
    assert session.participant("alice") is None
    assert not session.ended


# Who is there.


def test_f4_a_silent_client_is_asked_and_then_closed(desk: Desk) -> None:
    client = desk.client()
    desk.pass_time(LIMITS.ping_s, client)
    assert client.told[-1] == {"type": "ping"}
    desk.pass_time(LIMITS.pong_s - 0.1, client)
    assert client.closed is None
    desk.pass_time(0.1, client)
    assert client.closed == 4408


def test_f4_any_frame_is_a_sign_of_life(desk: Desk) -> None:
    client = desk.client()
    for _ in range(10):
        desk.pass_time(LIMITS.ping_s + 1, client)
        assert client.say(type="pong") is None
    assert client.closed is None


def test_f4_a_client_may_ask_too(desk: Desk) -> None:
    assert desk.client().result(type="ping") == {}


# What is wrong.


@pytest.mark.parametrize(
    ("text", "code", "request_id"),
    [
        ("", "BAD_REQUEST", None),
        ("{", "BAD_REQUEST", None),
        ("[]", "BAD_REQUEST", None),
        ("null", "BAD_REQUEST", None),
        ("[" * 60_000, "BAD_REQUEST", None),
        ('{"id":"7"}', "UNKNOWN_COMMAND", "7"),
        ('{"id":"7","type":"sing"}', "UNKNOWN_COMMAND", "7"),
        ('{"id":"7","type":["join"]}', "UNKNOWN_COMMAND", "7"),
        ('{"id":7,"type":"join"}', "BAD_REQUEST", None),
        ('{"id":"7","type":"chat"}', "BAD_REQUEST", "7"),
        ('{"id":"7","type":"chat","text":5}', "BAD_REQUEST", "7"),
        ('{"id":"7","type":"chat","text":"\\u0000"}', "BAD_REQUEST", "7"),
        ('{"id":"7","type":"chat","text":"\\ud800"}', "BAD_REQUEST", None),
        ('{"id":"7","type":"join","name":"a\\r\\nb"}', "BAD_REQUEST", "7"),
        ('{"id":"7","type":"dtmf","digits":"1x"}', "BAD_REQUEST", "7"),
        ('{"id":"7","type":"resume","session":"1","seq":-1}', "BAD_REQUEST", "7"),
    ],
)
def test_f5_a_bad_frame_gets_a_typed_error_with_its_id(
    desk: Desk, text: str, code: str, request_id: str | None
) -> None:
    client = desk.client()
    answer = client.say_text(text)
    assert answer is not None
    assert (answer["type"], answer["code"], answer["id"]) == ("error", code, request_id)
    assert client.closed is None


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(st.text(), st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.sampled_from(
        [*COMMANDS, "type", "id", "session", "seq", "version", "token", "alice"]
    ),
    lambda inner: st.lists(inner) | st.dictionaries(
        st.sampled_from(["type", "id", "session", "seq", "version", "token", "text", "on", "sdp"]) | st.text(), inner
    ),
    max_leaves=8,
).map(json.dumps)), max_size=20))  # fmt: skip
def test_f5_no_frame_whatsoever_breaks_a_connection(frames: list[str]) -> None:
    desk = quiet_desk()
    for greeted in (False, True):
        connection = ChannelConnection(desk, 0.0, token="alice")
        if greeted:
            connection.receive_text('{"type":"hello","version":1}', 0.0)
        for frame in frames:
            connection.receive_text(frame, 0.0)
        for text in connection.data_to_send():
            told.validate_json(text)
            text.encode()


class NoRegistry:
    """There is no session, and none can be made."""

    def __init__(self) -> None:
        from signalling import EventBus, People

        self.bus = EventBus()
        self.people = People()
        self.switch = SimpleNamespace(tenant="elsewhere/app")

    def get(self, session_id: str) -> None:
        return None

    def create(self, **fields: Any) -> Session:
        raise ChannelError("LIMIT_REACHED", "none", status=503)


def quiet_desk() -> ChannelDesk:
    return ChannelDesk(NoRegistry(), Doorkeeper(), Archive(), LIMITS)  # type: ignore[arg-type]  # all that is used of it


def test_f7_a_frame_too_large_closes(desk: Desk) -> None:
    client = desk.client()
    client.core.receive_text("ä" * 33_000, desk.now)
    assert client.closed == 1009


def test_f7_a_binary_frame_closes(desk: Desk) -> None:
    client = desk.client()
    client.core.receive_binary(desk.now)
    assert client.closed == 1003


def test_f7_too_many_frames_are_refused_and_far_too_many_close(desk: Desk) -> None:
    client = desk.client()
    answers = [client.say(type="ping") for _ in range(int(LIMITS.burst) + 1)]
    refused = [answer for answer in answers if answer is not None and answer["type"] == "error"]
    assert {answer["code"] for answer in refused} == {"RATE_LIMITED"}
    assert len(refused) == 2, "hello was one of the burst"
    assert refused[0]["retry_after_s"] == 1
    desk.now += 1
    assert client.result(type="ping") == {}
    for _ in range(int(2 * LIMITS.burst)):
        client.say(type="ping")
    assert client.closed == 4429


def test_f7_a_steady_client_within_the_rate_is_never_refused(desk: Desk) -> None:
    client = desk.client()
    for _ in range(1000):
        desk.now += 1 / LIMITS.rate
        assert client.result(type="ping") == {}


def test_f7_one_connection_takes_part_in_so_many_sessions(desk: Desk) -> None:
    client = desk.client()
    for _ in range(LIMITS.sessions):
        in_loop(desk, lambda: client.result(type="join"))
    assert client.refusal(type="join") == "LIMIT_REACHED"
