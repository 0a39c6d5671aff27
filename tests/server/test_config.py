"""The configuration: defaults, faults named by file, key and reason, environment, demo."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from server import app, config, sections
from server.errors import ConfigError
from server.sections import Config
from sip import TrunkConfig

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "ringway.toml"


def load(file: Path, text: str, env: Mapping[str, str] | None = None) -> Config:
    file.write_text(text, encoding="utf-8")
    return config.load(file, env or {})


def faults(file: Path, text: str, env: Mapping[str, str] | None = None) -> list[str]:
    """Each fault as the operator reads it, `FILE` for the file's path."""
    with pytest.raises(ConfigError) as refused:
        app.trunks_of(load(file, text, env), source=str(file))
    return [str(fault).replace(str(file), "FILE") for fault in refused.value.faults]


def test_an_empty_file_is_a_configuration(file: Path) -> None:
    empty = load(file, "")
    assert empty == Config()
    assert (empty.server.http_port, empty.sip.listen[0]) == (8080, "udp:0.0.0.0:5060")
    assert empty.media.port_range == (40000, 49999)
    assert empty.services == {"600": "echo", "601": "tone"}


EXAMPLES = ["server/example.toml", "examples/trunk-carrier.toml", "examples/trunk-pbx.toml"]


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_have_no_faults(name: str) -> None:
    app.trunks_of(config.load(ROOT / name, {}))


def uncommented(text: str) -> str:
    """The example with its examples switched on: comments that are TOML lose their `# `."""
    lines = []
    for line in text.splitlines():
        bare = line.removeprefix("# ")
        try:
            tomllib.loads(bare)
            lines.append(bare if bare != line and ("=" in bare or bare.startswith("[")) else line)
        except tomllib.TOMLDecodeError:
            lines.append(line)
    return "\n".join(lines)


def test_what_the_example_shows_in_comments_has_no_faults_either(file: Path) -> None:
    text = uncommented((ROOT / "server/example.toml").read_text())
    everything = load(file, text.replace('"at least 16 characters"', '"0123456789abcdef"'))
    app.trunks_of(everything)
    assert everything.trunks[0].name == "carrier"
    assert everything.routes
    assert everything.numbers
    assert everything.tokens
    assert everything.sip.advertised_host == "203.0.113.7"


def test_the_example_shows_every_key_of_the_simple_sections_with_its_default() -> None:
    text = (ROOT / "server/example.toml").read_text()
    plain = Config.model_validate(tomllib.loads(text))
    for section in ("server", "sip", "media", "limits", "services"):
        assert getattr(plain, section) == getattr(Config(), section)
    for model in (sections.Server, sections.Sip, sections.Media, sections.Limits):
        for key in model.model_fields:
            assert f"{key} = " in text, key


def test_trunk_keys_are_those_of_sip() -> None:
    ours = {field.alias or name for name, field in sections.Trunk.model_fields.items()} - {"allow"}
    theirs = {field.name for field in dataclasses.fields(TrunkConfig) if field.init}
    assert ours == theirs


def test_trunk_defaults_are_those_of_sip() -> None:
    (ours,) = app.trunks_of(Config.model_validate({"trunks": [{"name": "a", "hosts": ["sip:192.0.2.1"]}]}))
    assert ours == TrunkConfig("a", ("sip:192.0.2.1",))


FAULTS: list[tuple[str, list[str]]] = [
    ("[server]\nhttp_port = '8080'", ["FILE: server.http_port: Input should be a valid integer"]),
    ("[server]\nhtp_port = 1", ["FILE: server.htp_port: unknown key; did you mean http_port?"]),
    ("[servr]\n", ["FILE: servr: unknown key; did you mean server?"]),
    ("nonsense = 1", ["FILE: nonsense: unknown key"]),
    ("[server]\nhttp_port = 70000", ["FILE: server.http_port: Input should be less than or equal to 65535"]),
    ("[server]\nhost = 'localhost'", ["FILE: server.host: 'localhost' does not appear to be an IPv4 or IPv6 address"]),
    (
        "[sip]\nlisten = ['udp:5060']",
        ['FILE: sip.listen[0]: give transport, address and port, as in "udp:0.0.0.0:5060" or "tcp:[::]:5060"'],
    ),
    ("[sip]\nlisten = []", ["FILE: sip.listen: List should have at least 1 item after validation, not 0"]),
    ("[sip]\nlisten = ['udp:0.0.0.0:40002']", ["FILE: sip.listen[0]: port 40002 lies within media.ports 40000-49999"]),
    ("[media]\nports = '40000'", ['FILE: media.ports: give the first and the last port, as in "40000-49999"']),
    ("[media]\nbind_host = 'pbx'", ["FILE: media.bind_host: 'pbx' does not appear to be an IPv4 or IPv6 address"]),
    (
        "[media]\nbind_host = ['::', 'pbx']",
        ["FILE: media.bind_host[1]: 'pbx' does not appear to be an IPv4 or IPv6 address"],
    ),
    (
        "[media]\nbind_host = ['192.0.2.1', '192.0.2.2']",
        ["FILE: media.bind_host: 192.0.2.1 and 192.0.2.2 are both IPv4: give one of each"],
    ),
    (
        "[media]\nbind_host = ['::', '0.0.0.0']\nadvertised_host = ['2001:db8::1', '2001:db8::2']",
        ["FILE: media.advertised_host: 2001:db8::1 and 2001:db8::2 are both IPv6: give one of each"],
    ),
    ("[media]\nbind_host = []", ["FILE: media.bind_host: List should have at least 1 item after validation, not 0"]),
    (
        "[media]\nbind_host = ['::', '0.0.0.0', '::1']",
        ["FILE: media.bind_host: List should have at most 2 items after validation, not 3"],
    ),
    ("[media]\nbind_host = 5", ["FILE: media.bind_host: Input should be a valid list"]),
    (
        "[media]\nadvertised_host = '2001:db8::1'",
        ["FILE: media.advertised_host: media is bound to no IPv6 address, as 2001:db8::1 is"],
    ),
    (
        "[media]\nbind_host = '::'\nadvertised_host = ['2001:db8::1', '203.0.113.7']",
        ["FILE: media.advertised_host: media is bound to no IPv4 address, as 203.0.113.7 is"],
    ),
    ("[media]\ncodecs = ['G729']", ["FILE: media.codecs[0]: Input should be 'PCMU', 'PCMA', 'G722' or 'opus'"]),
    (
        "[[extensions]]\nnumber = '1001'\npasword = 'x'",
        [
            "FILE: extensions[0].password (1001): missing",
            "FILE: extensions[0].pasword (1001): unknown key; did you mean password?",
        ],
    ),
    (
        "[[extensions]]\nnumber='1'\npassword='x'\nallow=['0.0']",
        ["FILE: extensions[0].allow[0] (1): '.' may only end a dial pattern: '0.0'"],
    ),
    (
        "[[extensions]]\nnumber='1'\npassword='x'\n[[extensions]]\nnumber='1'\npassword='y'",
        ["FILE: extensions[1].number: 1 is there twice"],
    ),
    ("[[extensions]]\nnumber='600'\npassword='x'", ["FILE: extensions[0].number: 600 is a service already"]),
    ("[[trunks]]\nname='a'", ["FILE: trunks[0].hosts (a): missing"]),
    ("[[trunks]]\nname='a'\nhosts=['sip:']", ["FILE: trunks[0].hosts[0] (a): *"]),
    (
        "[[trunks]]\nname='a'\nhosts=['sip:h']\nregister=true",
        ["FILE: trunks[0] (a): register = true needs username and password"],
    ),
    (
        "[[trunks]]\nname='a'\nhosts=['sip:h']\ninbound_sources=['10.0.0.1/8']",
        ["FILE: trunks[0].inbound_sources[0] (a): 10.0.0.1/8 has host bits set"],
    ),
    (
        "[[trunks]]\nname='carrier'\nhosts=['sip:h']\n[[routes]]\npattern='0.'\ntrunks=[{trunk='carier'}]",
        ["FILE: routes[0].trunks[0].trunk: there is no trunk named carier; did you mean carrier?"],
    ),
    ("[[routes]]\npattern='0.'\ntrunks=[]", ["FILE: routes[0].trunks (0.): *"]),
    ("[[numbers]]\nnumber='49'\nto='1001'", ["FILE: numbers[0].to: 1001 is no extension and no service*"]),
    ("[[numbers]]\nnumber='49'\nto='echo'\ntrunk='x'", ["FILE: numbers[0].trunk: there is no trunk named x"]),
    ("[[tokens]]\nname='crm'", ["FILE: tokens[0] (crm): give either token or token_sha256"]),
    ("[[tokens]]\nname='crm'\ntoken='short'", ["FILE: tokens[0].token (crm): Value should have at least 16 items*"]),
    ("[[tokens]]\nname='c'\ntoken_sha256='" + "a" * 64 + "'\nrole='root'", ["FILE: tokens[0].role (c): *"]),
    ("[services]\n600 = 'voicemail'", ["FILE: services.600: Input should be 'echo' or 'tone'"]),
    ("a = ", ["FILE: not TOML: *"]),
]


@pytest.mark.parametrize(("text", "expected"), FAULTS, ids=range(len(FAULTS)))
def test_a_fault_names_file_key_and_reason(file: Path, text: str, expected: list[str]) -> None:
    found = faults(file, text)
    assert len(found) == len(expected), found
    for said, wanted in zip(found, expected, strict=True):
        assert said == wanted or (wanted.endswith("*") and said.startswith(wanted[:-1])), said


def test_every_fault_is_named_not_only_the_first(file: Path) -> None:
    assert len(faults(file, "[server]\nhttp_port='a'\nhost='b'\n[media]\ntimeout_s=-1")) == 3


def test_a_missing_file_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        config.load(tmp_path / "none.toml", {})
    assert str(refused.value) == f"{tmp_path / 'none.toml'}: No such file or directory"


def test_a_file_that_is_not_utf_8_is_a_fault(file: Path) -> None:
    file.write_bytes(b"a = '\xff'")
    with pytest.raises(ConfigError, match="not TOML"):
        config.load(file, {})


def test_the_environment_wins_over_the_file(file: Path) -> None:
    env = {
        "RINGWAY_SERVER_HTTP_PORT": "8081",
        "RINGWAY_SERVER_EXTRA_HTTP_PORTS": "8887, 8888",
        "RINGWAY_SIP_LISTEN": "udp:127.0.0.1:5070,tcp:127.0.0.1:5070",
        "RINGWAY_SIP_DOMAIN": "pbx.example.com",
        "RINGWAY_MEDIA_TIMEOUT_S": "12.5",
        "RINGWAY_MEDIA_BIND_HOST": "127.0.0.1,::1",
        "RINGWAY_MEDIA_ADVERTISED_HOST": "2001:db8::1",
        "RINGWAY_LIMITS_SESSIONS": "7",
        "RINGWAY_PORT_8080_TCP": "tcp://10.0.0.1:8080",  # of an orchestrator, not ours
        "PATH": "/bin",
    }
    loaded = load(file, "[server]\nhttp_port = 1\nhost = '::1'", env)
    assert (loaded.server.http_port, loaded.server.host) == (8081, "::1")
    assert loaded.server.extra_http_ports == [8887, 8888]
    assert loaded.sip.listen == ["udp:127.0.0.1:5070", "tcp:127.0.0.1:5070"]
    assert loaded.sip.domain == "pbx.example.com"
    assert (loaded.media.timeout_s, loaded.limits.sessions) == (12.5, 7)
    assert (loaded.media.bind_host, loaded.media.advertised_host) == (["127.0.0.1", "::1"], ["2001:db8::1"])


def test_a_fault_of_a_variable_names_the_variable(file: Path) -> None:
    env = {"RINGWAY_SERVER_HTTP_PORT": "many"}
    assert faults(file, "", env) == ["RINGWAY_SERVER_HTTP_PORT: Input should be a valid integer"]
    env = {"RINGWAY_MEDIA_CODECS": "PCMU,G729"}
    assert faults(file, "", env) == ["RINGWAY_MEDIA_CODECS: Input should be 'PCMU', 'PCMA', 'G722' or 'opus'"]
    env = {"RINGWAY_SERVER_HTP_PORT": "1"}
    assert faults(file, "", env) == ["RINGWAY_SERVER_HTP_PORT: no such setting; did you mean RINGWAY_SERVER_HTTP_PORT?"]


def test_secrets_do_not_show_in_faults_nor_in_the_model(file: Path) -> None:
    text = "[[extensions]]\nnumber='1'\npassword='hunter2'\n[[tokens]]\nname='t'\ntoken='hunter2-hunter2-hunter2'"
    assert "hunter2" not in repr(load(file, text))
    assert not any("hunter2" in fault for fault in faults(file, text + "\nrole='hunter'"))


DEV: dict[str, Any] = {
    "host": "127.0.0.1",
    "http_port": 8080,
    "sip_port": 5060,
    "rtp_ports": "40000-49999",
    "token": "t",
}


def test_the_demo_has_its_extensions_and_services() -> None:
    demo = config.dev_config(**DEV)
    assert [(e.number, e.password.get_secret_value()) for e in demo.extensions] == [
        ("1001", "ringway-1001"),
        ("1002", "ringway-1002"),
        ("1003", "ringway-1003"),
    ]
    assert demo.services == {"600": "echo", "601": "tone"}
    assert demo.sip.listen == ["udp:127.0.0.1:5060", "tcp:127.0.0.1:5060"]
    assert demo.tokens[0].role == "admin"


def test_the_demo_takes_ipv6() -> None:
    assert app.domain_of(config.dev_config(**{**DEV, "host": "::1"})) == "[::1]"


@pytest.mark.parametrize(
    ("option", "value", "fault"),
    [
        ("host", "localhost", "--host: "),
        ("rtp_ports", "1-2", "--rtp-ports: "),
        ("rtp_ports", "50000", "--rtp-ports: "),
        ("sip_port", 45000, "sip.listen[0]: port 45000 lies within media.ports"),
    ],
)
def test_a_fault_of_the_demo_names_the_option(option: str, value: object, fault: str) -> None:
    with pytest.raises(ConfigError) as refused:
        config.dev_config(**{**DEV, option: value})
    assert fault in str(refused.value)


def test_a_fault_of_the_demo_is_told_once_and_of_the_right_option() -> None:
    with pytest.raises(ConfigError) as refused:
        config.dev_config(**{**DEV, "host": "1.2.3.4.5"})
    assert [fault.source for fault in refused.value.faults] == ["--host"]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("udp:0.0.0.0:5060", ("UDP", "0.0.0.0", 5060)),
        ("TCP:[2001:db8::1]:0", ("TCP", "2001:db8::1", 0)),
    ],
)
def test_listen_addresses(text: str, parts: tuple[str, str, int]) -> None:
    assert sections.split_listen(text) == parts


@pytest.mark.parametrize(
    "text", ["", "udp", "tls:0.0.0.0:5061", "udp:host:5060", "udp:::1:5060", "udp:[0.0.0.0:5060", "udp:1.2.3.4:99999"]
)
def test_bad_listen_addresses(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        sections.split_listen(text)


def test_users_share_neither_ids_nor_extensions(file: Path) -> None:
    text = """
[[users.people]]
id = "alice"
extensions = ["1001"]
email = "Alice@example.org"
[[users.people]]
id = "alice"
[[users.people]]
id = "bob"
extensions = ["1001"]
email = "alice@example.org"
"""
    with pytest.raises(ConfigError) as caught:
        load(file, text)
    assert [str(fault).partition(": ")[2] for fault in caught.value.faults] == [
        "users.people[1].id: alice belongs to alice already",
        "users.people[2].email: alice@example.org belongs to alice already",
        "users.people[2].extensions: 1001 belongs to alice already",
    ]
