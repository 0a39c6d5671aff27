"""Pages of browsers on the signalling channel in virtual time: `tests.flows.house`, and the desk with its timers."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from signalling import ChannelConnection, ChannelDesk, Principal, SignallingError, User, told
from tests.flows.house import House
from tests.sim.phones import SDP

TENANT = "default/default"
USERS = {"ann": "1001", "ben": "1002", "cleo": None, "dan": None}
"User -> extension."


class Doorkeeper:
    """Tokens are users' names."""

    def __init__(self) -> None:
        self.principals = {user: Principal(user, "token", user=user) for user in USERS}

    def known(self, token: str) -> Principal | None:
        return self.principals.get(token)

    async def principal(self, token: str) -> Principal:
        raise AssertionError(f"nobody has the token {token}")

    def may(self, principal: Principal, command: str, session: object) -> None:
        """Everything is allowed."""


class NoHistory:
    """Nothing older than what is in memory."""

    async def events(self, session_id: str, after: int, before: int | None, limit: int) -> list[dict[str, Any]]:
        return []


class Pages:
    """The desk of a house."""

    def __init__(
        self,
        house: House,
    ) -> None:
        self.house = house
        self.sim = house.sim
        self.doorkeeper = Doorkeeper()
        self.desk = ChannelDesk(house.registry, self.doorkeeper, NoHistory())
        self._timer: asyncio.TimerHandle | None = None
        for user, extension in USERS.items():
            own = () if extension is None else (extension,)
            house.switch.people.put(User(TENANT, user, 0, user, user.capitalize(), extensions=own))

    def page(self, user: str = "ann") -> Page:
        """A page that said hello."""
        page = Page(self, user)
        page.result(type="hello", version=1, token=user)
        return page

    def arm(self) -> None:
        """Set the timer of those who do not come back."""
        if self._timer is not None:
            self._timer.cancel()
        due = self.desk.deadline
        self._timer = None if due is None else self.sim.loop.call_at(due, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self.desk.handle_timeout(self.sim.now)
        self.arm()


class Page:
    """One connection; `frames` are all that it was told and is no result, oldest first."""

    def __init__(self, pages: Pages, user: str) -> None:
        self._pages = pages
        self._sim = pages.sim
        self.user = user
        self.core = ChannelConnection(pages.desk, self._sim.now, wake=self._wake)
        self.frames: list[dict[str, Any]] = []
        self.answers: list[dict[str, Any]] = []
        self.answers_offers = True
        "Whether it answers the server's offers by itself."
        self.direction = "sendrecv"
        self.version = 1
        self.gone = False
        self._ids = 0
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def session(self) -> str:
        """The session of the last frame or result that names one."""
        named = [frame["session"] for frame in self.frames if "session" in frame]
        named += [answer["result"]["session"] for answer in self.answers if "session" in answer.get("result", ())]
        return str(named[-1])

    def sdp(self, direction: str | None = None) -> str:
        """Its description: another one each time."""
        self.direction = direction or self.direction
        self.version += 1
        return SDP.format(
            user="-", host="203.0.113.7", port=4000, formats="0 8 101", version=self.version, direction=self.direction
        )

    def say(self, **frame: Any) -> dict[str, Any] | None:
        """Send a frame; what came of it by now."""
        self._ids += 1
        request = str(self._ids)

        async def speak() -> None:
            self.core.receive_text(json.dumps({"id": request, **frame}), self._sim.now)
            self._pump()
            for _ in range(5):
                await asyncio.sleep(0)

        self._sim.run(speak())
        return next((answer for answer in self.answers if answer["id"] == request), None)

    def answer_of(self, **frame: Any) -> dict[str, Any]:
        """What came of a frame, after a while if need be."""
        answer = self.say(**frame)
        request = str(self._ids)
        if answer is None:
            self._sim.run_until(lambda: any(answer["id"] == request for answer in self.answers))
            answer = next(answer for answer in self.answers if answer["id"] == request)
        return answer

    def result(self, **frame: Any) -> dict[str, Any]:
        """Of a command that must succeed."""
        answer = self.answer_of(**frame)
        assert answer["type"] == "result", answer
        result: dict[str, Any] = answer["result"]
        return result

    def refusal(self, **frame: Any) -> str:
        """The code of one that must not."""
        answer = self.answer_of(**frame)
        assert answer["type"] == "error", answer
        return str(answer["code"])

    def told(self, kind: str) -> list[dict[str, Any]]:
        """The frames of a type."""
        return [frame for frame in self.frames if frame["type"] == kind]

    def kinds(self) -> list[str]:
        """Of the events."""
        return [frame["event"]["kind"] for frame in self.told("event")]

    def await_frame(self, kind: str, count: int = 1) -> dict[str, Any]:
        """The `count`th frame of a type."""
        self._sim.run_until(lambda: len(self.told(kind)) >= count)
        return self.told(kind)[count - 1]

    def lose(self) -> None:
        """The socket breaks."""

        async def lose() -> None:
            self.gone = True
            if self._timer is not None:
                self._timer.cancel()
            self.core.lost(self._sim.now)
            self._pages.arm()

        self._sim.run(lose())
        self._sim.run_for(0.01)

    def reload(self, session: str | None = None) -> Page:
        """The page is loaded anew, and resumes."""
        session = session or self.session
        if not self.gone:
            self.lose()
        page = self._pages.page(self.user)
        page.result(type="resume", session=session, seq=0)
        return page

    def _wake(self) -> None:
        self._sim.loop.call_soon(self._pump)

    def _pump(self) -> None:
        if self.gone:
            return
        for text in self.core.data_to_send():
            told.validate_json(text)
            frame = json.loads(text)
            if frame["type"] in ("result", "error"):
                self.answers.append(frame)
            elif frame["type"] != "ping":
                self.frames.append(frame)
            if frame["type"] == "ping":
                self.core.receive_text('{"type":"pong"}', self._sim.now)
            elif frame["type"] == "offer" and self.answers_offers:
                reply = {"type": "answer", "session": frame["session"], "sdp": self.sdp()}
                self.core.receive_text(json.dumps(reply), self._sim.now)
        for ask in self.core.asks():
            task = self._sim.loop.create_task(self._carry_out(ask))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self._arm()

    async def _carry_out(self, ask: Any) -> None:
        answer: Any
        try:
            answer = await ask.run()
        except SignallingError as error:
            answer = error
        self.core.receive_answer(ask, answer, self._sim.now)
        self._pump()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        due = self.core.deadline
        self._timer = None if due is None else self._sim.loop.call_at(due, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self.core.handle_timeout(self._sim.now)
        self._pump()
