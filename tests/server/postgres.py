"""The databases that tests run on: SQLite in a file, and a PostgreSQL of the tests' own.

`database_url` gives each test both, one after the other: new databases of the current revision. `empty_database_url`
gives them without any table. The cluster lives in a temporary folder, is reached by a Unix socket there alone, and ends
with the test session.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from server.store.database import Database

USER = "ringway"
START_S = 60.0  # on a machine that does much else
STOP_S = 20.0
UNPRIVILEGED = ("postgres", "nobody")  # PostgreSQL refuses to run as root
PR_SET_PDEATHSIG = 1
# Nothing here outlives the tests: no fsync, and little memory.
SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "60",
    "shared_buffers": "64MB",
    "autovacuum": "off",
}


class Missing(Exception):
    """PostgreSQL is not installed."""


class Cluster:
    """A PostgreSQL server with databases in it."""

    def __init__(self) -> None:
        self._bin = programs()
        self._folder = Path(tempfile.mkdtemp(prefix="ringway-postgresql-"))
        self._user = account()
        self._numbers = count(1)
        self._server: subprocess.Popen[bytes] | None = None
        self._template: str | None = None
        self._folder.chmod(0o755)
        if self._user is not None:
            shutil.chown(self._folder, self._user)
        try:
            data = self._folder / "data"
            self._run("initdb", "-D", str(data), "-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-N")
            self.start()
        except BaseException:
            self.close()
            raise

    def start(self) -> None:
        """Start the server and wait until it answers."""
        options = [f"-c{name}={value}" for name, value in SETTINGS.items()]
        log = self._folder / "log"
        with log.open("ab") as errors:
            self._server = subprocess.Popen(
                [self._bin / "postgres", "-D", self._folder / "data", "-k", self._folder, *options],
                stderr=errors,
                stdout=errors,
                cwd=self._folder,
                user=self._user,
                extra_groups=None if self._user is None else [],
                preexec_fn=_die_with_parent,
            )
        give_up_at = time.monotonic() + START_S
        while not self._answers():
            if self._server.poll() is not None or time.monotonic() > give_up_at:
                raise RuntimeError(f"postgres does not answer: {log.read_text()}")
            time.sleep(0.05)

    def _answers(self) -> bool:
        ready: list[str | Path] = [self._bin / "pg_isready", "-q", "-h", self._folder]
        return subprocess.run(ready, timeout=START_S, check=False).returncode == 0

    def stop(self) -> None:
        """End the server as an administrator would: connections are cut, nothing committed is lost."""
        if self._server is None:
            return
        self._server.send_signal(signal.SIGINT)
        try:
            self._server.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()
        self._server = None

    def close(self) -> None:
        """End the server and remove all that it stored."""
        self.stop()
        shutil.rmtree(self._folder)

    def empty(self) -> str:
        """The URL of a new database without tables."""
        return self._create("template0")

    def current(self) -> str:
        """The URL of a new database of the current revision."""
        if self._template is None:
            url = self.empty()
            asyncio.run(_migrate(url))
            self._template = name_of(url)
        return self._create(self._template)

    def _create(self, template: str) -> str:
        name = f"test_{next(self._numbers)}"
        self._run("createdb", "-h", str(self._folder), "-U", USER, "-T", template, name)
        return f"postgresql://{USER}@/{name}?host={self._folder}"

    def drop(self, url: str) -> None:
        """Remove a database that no test needs any more: each takes 10 MB."""
        self._run("dropdb", "--force", "-h", str(self._folder), "-U", USER, name_of(url))

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self._bin / program, *arguments],
            capture_output=True,
            text=True,
            cwd=self._folder,
            user=self._user,
            extra_groups=None if self._user is None else [],
            timeout=START_S,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{program}: {done.stderr}")


def name_of(url: str) -> str:
    """The database that a URL of `Cluster` names."""
    return url.partition("@/")[2].partition("?")[0]


def programs() -> Path:
    """Where initdb and postgres are; Debian keeps them out of PATH. Missing when there are none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    if (elsewhere := shutil.which("initdb")) is not None:
        return Path(elsewhere).resolve().parent
    raise Missing("needs PostgreSQL (Debian: apt-get install postgresql)")


def account() -> str | None:
    """Whom to run as; None: as who runs the tests."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in UNPRIVILEGED if name in names)


def _die_with_parent() -> None:
    """Linux: SIGQUIT, an immediate shutdown, if the tests are killed (or the thread ends that called `start`)."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGQUIT)


async def _migrate(url: str) -> None:
    await (await Database.open(url)).close()


@pytest.fixture(scope="session")
def clusters() -> Iterator[list[Cluster]]:
    """At most one: it is started by the first test that asks for it."""
    started: list[Cluster] = []
    yield started
    for cluster in started:
        cluster.close()


@pytest.fixture
def cluster(clusters: list[Cluster]) -> Cluster:
    """The PostgreSQL of this test session. Skips where it is not installed, and fails if CI=true."""
    if not clusters:
        try:
            clusters.append(Cluster())
        except Missing as error:
            if os.environ.get("CI") == "true":
                pytest.fail(str(error))
            pytest.skip(str(error))
    return clusters[0]


@pytest.fixture(scope="session")
def sqlite_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite database of the current revision, to be copied."""
    file = tmp_path_factory.mktemp("sqlite") / "ringway.db"
    asyncio.run(_migrate(f"sqlite:///{file}"))
    return file


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a new database of the current revision, on each kind of database."""
    if request.param == "postgresql":
        cluster: Cluster = request.getfixturevalue("cluster")
        url = cluster.current()
        yield url
        cluster.drop(url)
        return
    file: Path = request.getfixturevalue("sqlite_file")
    shutil.copy(file, tmp_path / "ringway.db")
    yield f"sqlite:///{tmp_path}/ringway.db"


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database that nobody has opened yet, on each kind of database."""
    if request.param == "postgresql":
        cluster: Cluster = request.getfixturevalue("cluster")
        url = cluster.empty()
        yield url
        cluster.drop(url)
        return
    yield f"sqlite:///{tmp_path}/new.db"
