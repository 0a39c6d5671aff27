"""The command line, as a program of its own where it runs a server."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from server import __version__, cli
from tests.interop.program import needs

ROOT = Path(__file__).parent.parent.parent
COMMAND = [sys.executable, "-c", "import sys; from server.cli import main; sys.exit(main())"]
READY_CPU_S = 2.0
FREE = ("--http-port", "0", "--sip-port", "0", "--rtp-ports", "21100-21199")


@contextmanager
def ringway(*arguments: str, cwd: Path | None = None) -> Iterator[subprocess.Popen[str]]:
    """The program, started; killed if it still runs at the end."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=cwd or ROOT,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def banner(process: subprocess.Popen[str]) -> str:
    """All that it prints until it is ready."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("Ctrl-C"):
            return "".join(lines)
    raise AssertionError(f"ended without being ready: {process.stderr.read() if process.stderr else ''}")


def found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    assert match is not None, text
    return match[1]


def test_dev_tells_all_one_needs_and_the_curl_line_works() -> None:
    needs("curl")
    with ringway("dev", *FREE, "--token", "tok") as process:
        told = banner(process)
        base = found(r"REST API +(http://127\.0\.0\.1:\d+)/api/sessions", told)
        assert f"{base}/docs" in told
        assert re.search(r"SIP +udp:127\.0\.0\.1:\d+, tcp:127\.0\.0\.1:\d+", told)
        assert re.search(r"Token +tok\n", told)
        assert "1001 (password ringway-1001), 1002 (password ringway-1002), 1003 (password ringway-1003)" in told
        assert "600 = echo test, 601 = 1 kHz tone" in told
        line = found(r"\n +(curl .*)\n", told)
        curl = subprocess.run(
            [*shlex.split(line), "-s", "-w", " %{http_code}"], capture_output=True, text=True, check=False
        )
        assert curl.stdout.endswith(" 404")  # no phone is registered
        assert "NOT_REGISTERED" in curl.stdout
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=10)
        assert process.returncode == 0
        assert "Traceback" not in errors


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_runs_with_a_file_and_ends_with_0(tmp_path: Path, number: signal.Signals) -> None:
    file = tmp_path / "ringway.toml"
    file.write_text(
        "[server]\nhttp_port = 0\n[sip]\nlisten = ['udp:127.0.0.1:0']\n"
        "[[tokens]]\nname = 'crm'\ntoken = '0123456789abcdef'\n"
    )
    with ringway("serve", "--config", str(file)) as process:
        told = banner(process)
        assert "Token" not in told
        assert "0123456789abcdef" not in told
        url = found(r"REST API +(\S+)", told)
        with urlopen(Request(url, headers={"Authorization": "Bearer 0123456789abcdef"})) as answer:
            assert answer.read() == b'{"count":0,"items":[]}'
        with pytest.raises(HTTPError, match="401"):
            urlopen(url)
        process.send_signal(number)
        _, errors = process.communicate(timeout=10)
        assert process.returncode == 0
        assert '"event": "stopping"' in errors
        assert "0123456789abcdef" not in errors


@pytest.mark.interop  # alone, for what it takes is measured
def test_ready_within_two_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted in CPU time of the program, since other tests may take the machine's; compiled at its first start."""
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    used = []
    for _ in range(8):  # the machine is shared, and not always as fast as it can be
        with ringway("dev", *FREE) as process:
            banner(process)
            fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
            used.append((int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"))  # utime and stime so far
        if used[-1] < READY_CPU_S:
            return
    raise AssertionError(f"CPU seconds until ready: {used}")


def test_what_codecs_take_is_loaded_once_it_is_ready() -> None:
    """A call that comes then is heard from its first packet: tests/media/test_first_packets.py."""
    with ringway("dev", *FREE) as process:
        banner(process)
        until_s = time.monotonic() + 20
        while "libavcodec" not in Path(f"/proc/{process.pid}/maps").read_text():
            assert time.monotonic() < until_s
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=10)
        assert process.returncode == 0
        assert "Traceback" not in errors


@pytest.mark.parametrize(("option", "kind"), [("--http-port", "HTTP"), ("--sip-port", "SIP")])
def test_a_port_in_use_is_told_in_one_line(option: str, kind: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with ringway("dev", *FREE, option, port) as process:
            out, errors = process.communicate(timeout=20)
    assert process.returncode == 1
    assert out == ""
    (line,) = errors.splitlines()
    assert line.startswith(f"{kind} cannot listen on")
    assert port in line
    assert "in use" in line


def test_data_keeps_the_random_token(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    told = []
    for _ in range(2):
        with ringway("dev", *FREE, "--data", str(folder)) as process:
            told.append(found(r"Token +(\S+)", banner(process)))
    assert told[0] == told[1]
    assert len(told[0]) >= 20
    assert stat.S_IMODE((folder / cli.TOKEN_FILE).stat().st_mode) == 0o600


# In this process.


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"ringway {__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nothing"],
        ["dev", "--http-port", "x"],
        ["dev", "--http-port", "-1"],
        ["dev", "--sip-port", "65536"],
        ["dev", "--token", ""],
        ["dev", "--token", "two words"],
        ["serve"],
        ["config"],
        ["config", "check"],
    ],
)
def test_a_wrong_command_line_is_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    assert end.value.code == 2
    assert "usage: ringway" in capsys.readouterr().err


def test_a_wrong_option_of_dev_is_1_and_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["dev", "--host", "localhost"]) == 1
    assert "--host: 'localhost' does not appear to be an IPv4 or IPv6 address" in capsys.readouterr().err


def test_init_writes_what_check_accepts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "ringway.toml"
    assert cli.main(["config", "init", "--output", str(file)]) == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert cli.main(["config", "check", "--config", str(file)]) == 0
    assert capsys.readouterr().out == f"{file}: no faults\n"
    assert cli.main(["config", "init"]) == 0
    assert capsys.readouterr().out == file.read_text()


def test_init_never_overwrites(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "ringway.toml"
    file.write_text("mine")
    assert cli.main(["config", "init", "--output", str(file)]) == 1
    assert "File exists" in capsys.readouterr().err
    assert file.read_text() == "mine"


def test_check_names_every_fault_and_is_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "ringway.toml"
    file.write_text("[server]\nhtp_port = 1\n[[trunks]]\nname = 'a'\nhosts = []\n")
    assert cli.main(["config", "check", "--config", str(file)]) == 1
    told = capsys.readouterr().err.splitlines()
    assert told[0] == f"{file}: server.htp_port: unknown key; did you mean http_port?"
    assert told[1].startswith(f"{file}: trunks[0].hosts (a): ")
    assert len(told) == 2


def test_check_finds_what_only_sip_can_judge(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "ringway.toml"
    file.write_text("[[trunks]]\nname = 'a'\nhosts = ['nonsense uri']\n")
    assert cli.main(["config", "check", "--config", str(file)]) == 1
    assert capsys.readouterr().err.startswith(f"{file}: trunks[0].hosts[0] (a): ")


def test_check_finds_what_only_media_can_judge(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "ringway.toml"
    file.write_text("[media]\nports = '10080-10081'\n")
    assert cli.main(["config", "check", "--config", str(file)]) == 1
    assert capsys.readouterr().err.startswith(f"{file}: media.ports: the RTP port range holds no even and odd port")


def test_help_and_version_load_nothing_heavy() -> None:
    code = (
        "import sys; from server import cli; cli._parser();"
        "print([name for name in ('aiohttp', 'pydantic', 'structlog') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_started_at_once_twice_they_do_not_disturb_each_other() -> None:
    with ringway("dev", *FREE) as one, ringway("dev", *FREE, "--rtp-ports", "21200-21299") as other:
        assert found(r"REST API +(\S+)", banner(one)) != found(r"REST API +(\S+)", banner(other))
        begun = time.monotonic()
        for process in (one, other):
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=10) == 0
        assert time.monotonic() - begun < 5
