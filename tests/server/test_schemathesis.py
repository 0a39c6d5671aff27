"""Schemathesis against the description that the server gives of itself: all its checks, on every operation."""

from __future__ import annotations

import asyncio
import re
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import pytest
import schemathesis
from schemathesis import Case, GenerationMode, HookContext, Response
from schemathesis.config import (
    ChecksConfig,
    CoveragePhaseConfig,
    GenerationConfig,
    NotAServerErrorConfig,
    PhasesConfig,
    ProjectConfig,
    ProjectsConfig,
    SchemathesisConfig,
    StatefulPhaseConfig,
)
from schemathesis.core.failures import Failure
from schemathesis.core.parameters import ParameterLocation
from schemathesis.engine import events, from_schema

from server.delivery import endpoints

from .house import House, open_house
from .scenery import Scene, filled, scene_in

SEED = 20_260_131
MAX_EXAMPLES = 4
FRESH_AFTER = 6  # calls of an operation, which then get another session
STEPS = 4
REQUEST_LIMIT_S = 10
NOT_TRIED = {
    "/events": "answers with a stream that does not end",
    "/sip": "turns into a WebSocket",
    "/ws": "turns into a WebSocket",
    "/api/v1_0/": "the same handlers as without it; test_web.py shows that they are",
}
"Beginnings of paths that are described but left out, and why."

OPERATORS = "/admin/|/webhooks|/events|/debug|/healthz|/readyz|/join|/phone|/pages|/api/sessions"

BEYOND_A_SCHEMA = {
    r"the session (has ended|is (not )?paused|is not active)": "as the documents have it for a wrong state",
    r"cursor: not one of ours|after: give `next` of the page before": "a text that only the server can make",
    r"[a-z_.0-9\[\]]+: there is no (trunk|extension) .*|no event is called .*": "names something that is not there",
    r"numbers\[[0-9]+\]\.to: .* is no extension and no service.*": "names something that is not there",
    r"give personId, inviteEmail or invitePhone": "fields that do not go together",
    r"personId: give either a person or a contact, not both": "fields that do not go together",
    r"password needs a username beside it|register = true needs username and password": "fields that go together",
    r"the body names .+, the path .+|nobody can invite themselves": "fields that do not go together",
    r"control characters such as NUL are not allowed": "in a field that the model does not know",
    r"[A-Za-z_.0-9]+: Input should be a valid integer": "JSON Schema takes 1.0 for an integer",
    r"[0-9]+ more": "after the first faults of a body with many",
    r"[a-z_]+(\.[0-9]+)?: range runs backwards in dial pattern .*": "compares two characters",
    r"url: (not a URL|give an http or https URL)": "a host and a port that can be: the rest of it is in the schema",
    r"url: a user does not belong here|requests are signed|url: the host is a name in ASCII, or an address": "syntax",
    r"url: percent-encode what is not ASCII, and leave the fragment away": "syntax",
    r"url: no webhook may go to this address|see webhooks\.allow_private": "depends on the configuration",
    r"(?i:['\"](sips?|tel):.*) is not a URI: .*": "the syntax of RFC 3261",
    r"give either userId or handle|caller: a service of this server cannot be the caller": "fields that go together",
    r"[A-Za-z]+: at most [0-9]+ bytes": "JSON Schema counts characters",
    r"Host: no name that a link could lead to": "a header of every request",
    r"invitePhone: (give a telephone number with its country, as in .*|no telephone number has this form)": "syntax",
    r"inviteEmail: (An email address|The email address|The part after the @-sign|There must be) .*": "syntax",
    r"[a-z_.0-9]+: \S+ does not appear to be an IPv4 or IPv6 network": "syntax",
}
"Refusals with 400 of what the schema allows, by each whole complaint, and what a schema cannot say of them."
ResultT = TypeVar("ResultT")


class Lodger:
    """A house in a loop and a thread of its own: schemathesis waits for its answers in ours."""

    def __init__(self, folder: Path) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="house")
        self._thread.start()
        self._life = open_house(folder)
        self.house: House = self.run(self._enter)

    async def _enter(self) -> House:
        return await anext(self._life)

    async def _leave(self) -> None:
        assert await anext(self._life, None) is None

    def run(self, work: Callable[[], Awaitable[ResultT]]) -> ResultT:
        """What `work` returns when it is awaited in the house."""

        async def do() -> ResultT:
            return await work()

        return asyncio.run_coroutine_threadsafe(do(), self.loop).result(60)

    def real(self, path: str) -> dict[str, Any]:
        """Parameters for `path` that lead to things which are there."""

        async def make() -> dict[str, Any]:
            scene: Scene = scene_in(self.house)
            names, values = path.split("/"), (await filled(scene, path)).split("/")
            return {name[1:-1]: value for name, value in zip(names, values, strict=True) if name.startswith("{")}

        return self.run(make)

    def close(self) -> None:
        """Shut the house and its loop."""
        self.run(self._leave)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


@pytest.fixture
def lodger(tmp_path: Path) -> Iterator[Lodger]:
    lodger = Lodger(tmp_path)
    yield lodger
    lodger.close()


def configured(token: str) -> SchemathesisConfig:
    """Every check and every phase, the same at each run. 501 and 503 are answers that operations document."""
    project = ProjectConfig(
        headers={"Authorization": f"Bearer {token}"},
        request_timeout=REQUEST_LIMIT_S,
        continue_on_failure=True,
        generation=GenerationConfig(max_examples=MAX_EXAMPLES, deterministic=True, database="none", no_shrink=True),
        checks=ChecksConfig(
            not_a_server_error=NotAServerErrorConfig(expected_statuses=["2xx", "3xx", "4xx", "501", "503"])
        ),
        phases=PhasesConfig(
            coverage=CoveragePhaseConfig(unexpected_methods={"put", "trace"}),
            stateful=StatefulPhaseConfig(max_steps=STEPS),
        ),
    )
    return SchemathesisConfig(seed=SEED, projects=ProjectsConfig(default=project))


def complaints_of(response: Response) -> list[str]:
    """What a refusal complains of, in whatever shape the dialect gives it."""
    body = response.json()
    error = body.get("error")
    if "errors" in body:
        text = body["errors"][0]["message"].partition(": ")[2]
    elif isinstance(error, Mapping):
        text = error["message"]
    else:
        text = body.get("message") or error
    return re.split("; (?:and )?", str(text))


def is_beyond_a_schema(failure: Failure, response: Response) -> bool:
    """Whether it is a refusal all of whose complaints BEYOND_A_SCHEMA explains."""
    return (
        failure.title == "Schema-valid request rejected"
        and response.status_code == 400
        and all(
            any(re.fullmatch(known, complaint, re.DOTALL) for known in BEYOND_A_SCHEMA)
            for complaint in complaints_of(response)
        )
    )


@pytest.fixture
def tried(lodger: Lodger, monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """How often each operation is called; three of four well-formed calls get parameters of real things."""
    monkeypatch.setattr(endpoints, "MAX_ENDPOINTS", 10_000)
    tried: Counter[str] = Counter()
    real: dict[str, dict[str, Any]] = {}

    @schemathesis.hook
    def before_call(context: HookContext, case: Case[Any], kwargs: dict[str, Any]) -> None:
        label = case.operation.label
        if label not in real or tried[label] % FRESH_AFTER == 0:
            real[label] = lodger.real(case.operation.path)
        tried[label] += 1
        part = case.meta and case.meta.components.get(ParameterLocation.PATH)
        if part and part.mode == GenerationMode.POSITIVE and tried[label] % 4:
            case.path_parameters = dict(real[label])

    @schemathesis.hook
    def filter_failure(context: HookContext, failure: Failure, case: Case[Any], response: Response) -> bool:
        return not is_beyond_a_schema(failure, response)

    yield tried
    schemathesis.hooks.unregister_all()


def told(event: events.ScenarioFinished) -> Iterator[str]:
    """What was found wrong, with the request."""
    for case_id, checks in event.recorder.checks.items():
        sent = event.recorder.interactions.get(case_id)
        answer = sent.response.text if sent and sent.response else ""
        for check in checks:
            if (info := check.failure_info) is not None:
                found = f"{check.name}: {info.failure.title}: {info.failure.message:.300}"
                yield f"{found}\n  {event.phase.value}: {info.code_sample:.600}\n  {answer:.300}"


def found(lodger: Lodger, tried: Counter[str], paths: str) -> list[str]:
    """What is wrong with the operations whose path `paths` matches; each of them has been tried."""
    house = lodger.house
    url = str(house.client.make_url("/openapi.json"))
    whole = schemathesis.openapi.from_url(url, config=configured(house.tokens["admin"]))
    schema = whole.include(path_regex=paths).exclude(path_regex="|".join(f"^{left_out}" for left_out in NOT_TRIED))
    complaints: list[str] = []
    for event in from_schema(schema).execute():
        if isinstance(event, events.ScenarioFinished):
            complaints += told(event)
        elif isinstance(event, events.NonFatalError):
            complaints.append(f"{event.label}: {event.info.title}: {event.value}")
        elif isinstance(event, events.FatalError):
            raise event.exception
    assert len(tried) == schema.statistic.operations.selected > 20
    return complaints


pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore:Do not use the `random` module"),  # the server does, in its own thread
]


# In two classes, so that two workers share them.


class TestOperators:
    def test_schemathesis_finds_nothing(self, lodger: Lodger, tried: Counter[str]) -> None:
        assert found(lodger, tried, f"^({OPERATORS})") == []


class TestDialects:
    def test_schemathesis_finds_nothing(self, lodger: Lodger, tried: Counter[str]) -> None:
        assert found(lodger, tried, f"^(?!{OPERATORS})") == []
