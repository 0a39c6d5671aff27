"""Logging: what is rendered, and what never is."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from server import logs

DIGEST = 'Digest username="1001", realm="r", nonce="n", response="0123456789abcdef", algorithm=MD5'
MESSAGE = (
    "REGISTER sip:h SIP/2.0\r\nVia: SIP/2.0/UDP h\r\n"
    f"Authorization: {DIGEST},\r\n  cnonce=abc\r\nProxy-Authorization:Digest response=feed\r\n"
    "Contact: <sip:a@h>\r\n\r\n"
)


@pytest.fixture
def out() -> Iterator[io.StringIO]:
    """A stream that takes the lines; the former set-up comes back afterwards."""
    before = structlog.get_config()
    handlers, level = logging.root.handlers[:], logging.root.level
    yield io.StringIO()
    structlog.configure(**before)
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


def lines(out: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_json_lines_with_level_and_time(out: io.StringIO) -> None:
    logs.set_up("info", "json", out)
    structlog.get_logger("x").info("call_ended", session="s1", call_id="c1")
    structlog.get_logger("x").debug("unseen")
    (line,) = lines(out)
    assert (line["event"], line["level"], line["session"], line["call_id"]) == ("call_ended", "info", "s1", "c1")
    assert line["timestamp"].endswith("Z")


def test_a_stream_that_is_no_terminal_gets_json(out: io.StringIO) -> None:
    logs.set_up("info", "auto", out)
    structlog.get_logger().info("hello")
    assert lines(out)


def test_the_console_shows_no_colours_to_a_file(out: io.StringIO) -> None:
    logs.set_up("info", "console", out)
    structlog.get_logger().info("hello", session="s1")
    assert "hello" in out.getvalue()
    assert "\x1b" not in out.getvalue()


@pytest.mark.parametrize("key", ["password", "Authorization", "proxy-authorization", "token", "ha1", "secret"])
def test_secret_keys_are_redacted_however_deep(out: io.StringIO, key: str) -> None:
    logs.set_up("info", "json", out)
    structlog.get_logger().info("x", **{key: "hunter2"}, inner={key: "hunter2", "list": [{key: "hunter2"}]})
    assert "hunter2" not in out.getvalue()
    assert out.getvalue().count(logs.REDACTED) == 3


def test_authorization_headers_in_sip_text_are_redacted_with_their_folded_lines(out: io.StringIO) -> None:
    logs.set_up("info", "json", out)
    structlog.get_logger().info("received", message=MESSAGE, raw=MESSAGE.encode())
    (line,) = lines(out)
    for text in (line["message"], line["raw"]):
        assert "0123456789abcdef" not in text
        assert "cnonce" not in text
        assert "feed" not in text
        assert "Contact: <sip:a@h>" in text
        assert text.startswith("REGISTER sip:h SIP/2.0\r\nVia")


def test_header_pairs_and_bearer_tokens_are_redacted() -> None:
    pairs = str([("Authorization", DIGEST), ("Via", "x")])
    assert "0123456789abcdef" not in logs.redact_text(pairs)
    assert "abcdefgh12345" not in logs.redact_text("curl -H 'Authorization: Bearer abcdefgh12345'")
    assert "abcdefgh12345" not in logs.redact_text("got bearer abcdefgh12345 from x")
    assert logs.redact_text("nothing to hide") == "nothing to hide"


@pytest.mark.parametrize("kind", ["json", "console"])
def test_tracebacks_are_redacted_and_show_no_local_variables(out: io.StringIO, kind: Any) -> None:
    logs.set_up("info", kind, out)
    local_secret = "hunter2" + "3"
    try:
        raise ValueError(f"bad request:\nAuthorization: {DIGEST}")
    except ValueError:
        structlog.get_logger().exception("failed")
    text = out.getvalue()
    assert "ValueError" in text
    assert "0123456789abcdef" not in text
    assert local_secret not in text


def test_lines_of_the_standard_library_look_the_same(out: io.StringIO) -> None:
    logs.set_up("info", "json", out)
    logging.getLogger("aiohttp.server").warning("Authorization: %s", DIGEST)
    logging.getLogger("asyncio").info("chatter")
    (line,) = lines(out)
    assert line["level"] == "warning"
    assert "0123456789abcdef" not in line["event"]


def test_an_absent_secret_is_no_secret() -> None:
    assert logs.redact({"password": None}) == {"password": None}
