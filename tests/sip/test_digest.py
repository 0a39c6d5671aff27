"""Digest authentication: point 9 of issue 2, against RFC 7616, RFC 2617 and RFC 8760."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.digest import DigestClient, DigestServer, credentials, digest_response
from sip.headers import AuthValue
from sip.message import Request, Response, parse_message, response_to
from sip.values import _auth_parameters, _usual_auth_parameters

SECRET = b"0123456789abcdef0123456789abcdef"
REALM = "ringway.example"
PHONE = "192.0.2.10"
USERS = {"1001": "ringway-1001", "al:ice": "pässword"}


def ha1(user: str, realm: str, algorithm: str) -> str | None:
    password = USERS.get(user)
    return None if password is None else credentials(user, realm, password, algorithm)


def server(**options: object) -> DigestServer:
    return DigestServer(REALM, SECRET, **options)  # type: ignore[arg-type]  # the tests' own keywords


def register(*, agent: str = "Phone/1", cseq: int = 1, headers: tuple[tuple[str, str], ...] = ()) -> Request:
    return Request(
        "REGISTER",
        "sip:ringway.example",
        [
            ("Via", "SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK1"),
            ("From", "<sip:1001@ringway.example>;tag=1"),
            ("To", "<sip:1001@ringway.example>"),
            ("Call-ID", "call-1"),
            ("CSeq", f"{cseq} REGISTER"),
            ("User-Agent", agent),
            *headers,
        ],
    )


def on_the_wire(message: Request) -> Request:
    parsed = parse_message(message.to_bytes())
    assert isinstance(parsed, Request)
    return parsed


def challenged(digest: DigestServer, now: float = 0.0, *, proxy: bool = False, stale: bool = False) -> Response:
    answer = parse_message(digest.challenge(register(), PHONE, now, proxy=proxy, stale=stale).to_bytes())
    assert isinstance(answer, Response)
    return answer


def authorized(digest: DigestServer, user: str = "1001", password: str = "ringway-1001", now: float = 0.0) -> Request:
    answer = DigestClient(user, password).authorize(challenged(digest, now), register())
    assert answer is not None
    return on_the_wire(register(cseq=2, headers=(answer,)))


def altered(request: Request, **changes: str | None) -> Request:
    """`request` with parameters of its Authorization changed, or taken away."""
    value = AuthValue.parse(request.headers.get_all("Authorization")[0])
    parameters = {**value.parameters, **{name: text for name, text in changes.items() if text is not None}}
    for name, text in changes.items():
        if text is None:
            del parameters[name]
    twin = request.copy()
    twin.headers.set("Authorization", str(AuthValue(value.scheme, parameters)))
    return twin


# The worked examples of the RFCs.


@pytest.mark.parametrize(
    ("algorithm", "expected"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_9_rfc_7616_section_3_9_1(algorithm: str, expected: str) -> None:
    found = digest_response(
        credentials("Mufasa", "http-auth@example.org", "Circle of Life", algorithm),
        algorithm,
        "GET",
        "/dir/index.html",
        nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
        nc="00000001",
        cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
    )
    assert found == expected


def test_9_rfc_2617_section_3_5() -> None:
    found = digest_response(
        credentials("Mufasa", "testrealm@host.com", "Circle Of Life", "MD5"),
        "MD5",
        "GET",
        "/dir/index.html",
        nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093",
        nc="00000001",
        cnonce="0a4f113b",
    )
    assert credentials("Mufasa", "testrealm@host.com", "Circle Of Life") == "939e7578ed9e3c518a452acee763bce9"
    assert found == "6629fae49393a05397450978507c4ef1"


def test_9_a_client_answers_the_example_of_rfc_7616_with_the_first_algorithm_it_knows() -> None:
    request = Request("GET", "/dir/index.html", [("Call-ID", "1"), ("CSeq", "1 GET")])
    challenge = (
        'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm={}, '
        'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
    )
    response = Response(
        401,
        headers=[
            ("WWW-Authenticate", challenge.format("SHA-512-256")),
            ("WWW-Authenticate", challenge.format("SHA-256")),
            ("WWW-Authenticate", challenge.format("MD5")),
        ],
    )
    client = DigestClient("Mufasa", "Circle of Life", cnonce=lambda: "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ")
    answer = client.authorize(response, request)
    assert answer is not None
    name, value = answer
    found = AuthValue.parse(value).parameters
    assert name == "Authorization"
    assert found["response"] == "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"
    assert found["opaque"] == "FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"
    assert (found["nc"], found["qop"], found["algorithm"]) == ("00000001", "auth", "SHA-256")
    assert "qop=auth," in value
    assert "nc=00000001" in value  # RFC 7616 §3.4: neither is quoted


# The server.


def test_9_the_challenge_offers_sha_256_before_md5_with_one_nonce() -> None:
    values = challenged(server()).headers.get_all("WWW-Authenticate")
    parsed = [AuthValue.parse(value).parameters for value in values]
    assert [value["algorithm"] for value in parsed] == ["SHA-256", "MD5"]
    assert len({value["nonce"] for value in parsed}) == 1
    assert all(value["realm"] == REALM and value["qop"] == "auth" for value in parsed)
    assert all('qop="auth"' in value and "stale" not in value for value in values)


def test_9_a_407_asks_by_proxy_authenticate() -> None:
    response = challenged(server(), proxy=True)
    assert response.status == 407
    assert "Proxy-Authenticate" in response.headers
    assert "WWW-Authenticate" not in response.headers


@pytest.mark.parametrize(
    ("agent", "algorithms"),
    [
        ("baresip v1.0.0 (x86_64/linux)", ["MD5"]),
        ("baresip v4.6.0 (x86_64/Linux)", ["MD5"]),
        ("baresip v4.7.0 (x86_64/Linux)", ["SHA-256", "MD5"]),
        ("Linphone/5.1", ["SHA-256", "MD5"]),
    ],
)
def test_9_old_baresip_which_gives_up_over_sha_256_is_asked_for_md5_alone(agent: str, algorithms: list[str]) -> None:
    headers = server().challenge_headers(register(agent=agent), PHONE, 0.0)
    assert [AuthValue.parse(value).parameters["algorithm"] for _, value in headers] == algorithms


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
def test_9_the_right_password_passes(algorithm: str) -> None:
    digest = server(algorithms=[algorithm])
    verdict = digest.verify(authorized(digest), PHONE, 1.0, ha1)
    assert verdict.ok
    assert verdict.username == "1001"


def test_9_names_and_passwords_beyond_ascii_pass() -> None:
    digest = server()
    assert digest.verify(authorized(digest, "al:ice", "pässword"), PHONE, 1.0, ha1).username == "al:ice"


def test_9_a_proxy_answer_passes_too() -> None:
    digest = server()
    answer = DigestClient("1001", "ringway-1001").authorize(challenged(digest, proxy=True), register())
    assert answer is not None
    assert answer[0] == "Proxy-Authorization"
    assert digest.verify(on_the_wire(register(headers=(answer,))), PHONE, 0.0, ha1).ok


def test_9_no_credentials() -> None:
    verdict = server().verify(register(), PHONE, 0.0, ha1)
    assert not verdict.ok
    assert not verdict.stale


def test_9_credentials_for_another_realm_are_passed_over() -> None:
    digest = server()
    other = ("Authorization", 'Digest username="1001", realm="elsewhere", nonce="x", uri="sip:a", response="y"')
    basic = ("Authorization", "Basic dXNlcjpwYXNz")
    good = authorized(digest)
    mixed = register(headers=(basic, other, ("Authorization", good.headers.get_all("Authorization")[0])))
    assert digest.verify(mixed, PHONE, 0.0, ha1).ok


def test_9_a_wrong_password_and_an_unknown_user_look_the_same() -> None:
    digest = server()
    wrong = digest.verify(authorized(digest, password="guess"), PHONE, 0.0, ha1)
    unknown = digest.verify(authorized(digest, user="9999"), PHONE, 0.0, ha1)
    for verdict in (wrong, unknown):
        assert (verdict.ok, verdict.username, verdict.stale) == (False, None, False)
    assert (wrong.claimed, unknown.claimed) == ("1001", "9999")  # for the log alone
    assert len(digest) == 0


def test_9_an_unknown_user_costs_the_same_work(monkeypatch: pytest.MonkeyPatch) -> None:
    digest = server(algorithms=["MD5"])
    calls: list[str] = []

    def counting(ha1: str, algorithm: str, method: str, uri: str, **rest: str) -> str:
        calls.append(ha1)
        return digest_response(ha1, algorithm, method, uri, **rest)

    requests = [authorized(digest, user="9999"), authorized(digest, password="guess")]
    monkeypatch.setattr("sip.digest.digest_response", counting)
    for request in requests:
        digest.verify(request, PHONE, 0.0, ha1)
    assert len(calls) == 2
    assert len(calls[0]) == len(calls[1]) == 32


def test_9_an_unknown_user_never_matches_the_dummy() -> None:
    digest = server(algorithms=["MD5"])
    for response in ("", "0" * 32, "é", "\x00"):
        assert not digest.verify(altered(authorized(digest), username="9999", response=response), PHONE, 0.0, ha1).ok


@pytest.mark.parametrize(
    "changes",
    [
        {"qop": None},
        {"qop": "auth-int"},
        {"nc": None},
        {"nc": "1"},
        {"nc": "0000000g"},
        {"nc": "00000000"},
        {"cnonce": None},
        {"cnonce": ""},
        {"username": None},
        {"uri": None},
        {"uri": "sip:elsewhere.example"},
        {"response": None},
        {"response": "00"},
        {"algorithm": "MD5-sess"},
        {"algorithm": "SHA-512-256"},
        {"algorithm": ""},
        {"nonce": None},
        {"nonce": ""},
        {"nonce": "Zm9v"},
        {"nonce": "é"},
        {"realm": "RINGWAY.example"},
    ],
)
def test_9_what_is_missing_or_altered_is_refused(changes: dict[str, str | None]) -> None:
    digest = server()
    assert digest.verify(authorized(digest), PHONE, 0.0, ha1).ok
    verdict = digest.verify(altered(authorized(digest), **changes), PHONE, 0.0, ha1)
    assert not verdict.ok
    assert verdict.username is None


def test_9_an_answer_for_one_request_does_not_serve_another() -> None:
    digest = server()
    good = authorized(digest)
    value = good.headers.get_all("Authorization")[0]
    stolen = Request("INVITE", good.uri, [("Authorization", value)])
    assert not digest.verify(stolen, PHONE, 0.0, ha1).ok
    stolen = Request("REGISTER", "sip:+33900000000@ringway.example", [("Authorization", value)])
    assert not digest.verify(stolen, PHONE, 0.0, ha1).ok
    assert digest.verify(good, PHONE, 0.0, ha1).ok  # and was not spent by them


def test_9_the_uri_may_differ_in_parameters() -> None:
    digest = server()
    good = authorized(digest)
    good.uri = "sip:ringway.example;transport=udp"
    assert digest.verify(good, PHONE, 0.0, ha1).ok


def test_9_a_replay_is_refused_and_called_stale() -> None:
    digest = server()
    request = authorized(digest)
    assert digest.verify(request, PHONE, 0.0, ha1).ok
    verdict = digest.verify(request, PHONE, 0.0, ha1)
    assert not verdict.ok
    assert verdict.stale


def test_9_a_replay_by_the_other_algorithm_is_refused() -> None:
    digest = server()
    challenge = challenged(digest)
    answers = []
    for value in challenge.headers.get_all("WWW-Authenticate"):
        single = response_to(register(), 401, headers=[("WWW-Authenticate", value)])
        answer = DigestClient("1001", "ringway-1001").authorize(single, register())
        assert answer is not None
        answers.append(answer)
    assert digest.verify(on_the_wire(register(headers=tuple(answers))), PHONE, 0.0, ha1).ok
    for answer in answers:
        assert not digest.verify(on_the_wire(register(headers=(answer,))), PHONE, 0.0, ha1).ok


def with_count(digest: DigestServer, challenge: Response, count: int) -> Request:
    value = AuthValue.parse(challenge.headers.get_all("WWW-Authenticate")[1]).parameters
    nc = f"{count:08x}"
    response = digest_response(
        credentials("1001", REALM, "ringway-1001"),
        "MD5",
        "REGISTER",
        "sip:ringway.example",
        nonce=value["nonce"],
        nc=nc,
        cnonce="c",
    )
    parameters = {
        "username": "1001",
        "realm": REALM,
        "nonce": value["nonce"],
        "uri": "sip:ringway.example",
        "response": response,
        "qop": "auth",
        "nc": nc,
        "cnonce": "c",
    }
    return register(headers=(("Authorization", str(AuthValue("Digest", parameters))),))


def test_9_counts_may_come_out_of_order_once_each_within_the_window() -> None:
    digest = server()
    challenge = challenged(digest)

    def passes(count: int) -> bool:
        return digest.verify(with_count(digest, challenge, count), PHONE, 0.0, ha1).ok

    assert [passes(count) for count in (3, 1, 2, 4)] == [True] * 4
    assert [passes(count) for count in (1, 2, 3, 4)] == [False] * 4
    assert passes(100)
    assert passes(37)  # 63 behind: the last that the window tells
    assert not passes(37)
    assert not passes(36)
    assert passes(0xFFFFFFFF)
    assert not passes(101)


@given(st.lists(st.integers(min_value=1, max_value=200), max_size=200))
def test_9_no_count_passes_twice(counts: list[int]) -> None:
    digest = server()
    challenge = challenged(digest)
    passed = [count for count in counts if digest.verify(with_count(digest, challenge, count), PHONE, 0.0, ha1).ok]
    assert len(passed) == len(set(passed))
    highest = 0
    for count in dict.fromkeys(counts):
        if count > highest:
            assert count in passed
            highest = count


def test_9_a_nonce_expires() -> None:
    digest = server(nonce_lifetime_s=300.0)
    assert digest.verify(authorized(digest), PHONE, 300.0, ha1).ok
    verdict = digest.verify(authorized(digest), PHONE, 300.002, ha1)
    assert not verdict.ok
    assert verdict.stale


def test_9_a_nonce_is_bound_to_its_source() -> None:
    digest = server()
    verdict = digest.verify(authorized(digest), "192.0.2.66", 1.0, ha1)
    assert not verdict.ok
    assert verdict.stale  # a phone that moved asks no person for the password again


def test_9_a_nonce_of_another_process_is_stale() -> None:
    """After a restart every phone comes with an old nonce; none may be told that its password is wrong."""
    old = DigestServer(REALM, b"another secret, 32 bytes or more")
    verdict = server().verify(authorized(old), PHONE, 1.0, ha1)
    assert not verdict.ok
    assert verdict.stale


def test_9_a_forged_nonce_with_a_wrong_password_is_not_stale() -> None:
    verdict = server().verify(altered(authorized(server(), password="guess"), nonce="forged"), PHONE, 1.0, ha1)
    assert not verdict.stale


def test_9_memory_of_counts_is_bounded_and_what_is_forgotten_is_stale() -> None:
    digest = server(max_nonces=10)
    requests = [authorized(digest, now=index * 0.01) for index in range(30)]
    assert all(digest.verify(request, PHONE, 1.0, ha1).ok for request in requests)
    assert len(digest) == 10
    for request in requests:
        verdict = digest.verify(request, PHONE, 1.0, ha1)
        assert not verdict.ok
        assert verdict.stale
    assert digest.verify(authorized(digest, now=2.0), PHONE, 2.0, ha1).ok


def test_9_expired_counts_are_forgotten() -> None:
    digest = server(nonce_lifetime_s=10.0)
    for index in range(20):
        assert digest.verify(authorized(digest, now=float(index)), PHONE, float(index), ha1).ok
    assert len(digest) <= 12


def test_9_challenges_cost_no_memory() -> None:
    digest = server()
    for _ in range(100):
        digest.verify(authorized(digest, password="guess"), PHONE, 0.0, ha1)
    assert len(digest) == 0


def test_9_a_repeated_parameter_or_many_headers_are_refused() -> None:
    digest = server()
    good = authorized(digest).headers.get_all("Authorization")[0]
    twice = register(headers=(("Authorization", good + ', username="1002"'),))
    assert not digest.verify(twice, PHONE, 0.0, ha1).ok
    many = register(headers=tuple([("Authorization", good.replace("1001", "1002"))] * 50 + [("Authorization", good)]))
    assert not digest.verify(many, PHONE, 0.0, ha1).ok


def test_9_faults_of_the_configuration() -> None:
    with pytest.raises(ValueError, match="secret"):
        DigestServer(REALM, b"short")
    with pytest.raises(ValueError, match="algorithms"):
        DigestServer(REALM, SECRET, algorithms=["MD4"])
    with pytest.raises(ValueError, match="realm"):
        DigestServer("a\r\nb", SECRET)
    with pytest.raises(ValueError, match="control"):
        DigestClient("a\r\nVia: x", "p")


@given(st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1), st.text(max_size=20))
def test_9_any_realm_crosses_from_server_to_client_and_back(realm: str, password: str) -> None:
    digest = DigestServer(realm, SECRET)
    challenge = digest.challenge(register(), PHONE, 0.0)
    answer = DigestClient("1001", password).authorize(challenge, register())
    assert answer is not None
    request = on_the_wire(register(headers=(answer,)))
    assert digest.verify(request, PHONE, 0.0, lambda *name: credentials(name[0], name[1], password, name[2])).ok


@given(st.binary(max_size=200))
def test_9_no_authorization_makes_it_raise(noise: bytes) -> None:
    digest = server()
    text = "".join(char for char in noise.decode("latin-1") if char not in "\r\n\0")
    good = authorized(digest).headers.get_all("Authorization")[0]
    place = random.Random(len(noise)).randrange(len(good))
    for value in (text, "Digest " + text, good[:place] + text + good[place:]):
        digest.verify(register(headers=(("Authorization", value),)), PHONE, 0.0, ha1)


_PIECES = st.sampled_from(
    ["username", "realm", "nc", "=", '"', ",", ", ", " ", "\\", "a b", "auth", "é", "opaque=x", 'nonce="a, b"', "x=y"]
)


@given(st.lists(_PIECES, max_size=12))
def test_9_the_quick_and_the_careful_reading_of_credentials_agree(pieces: list[str]) -> None:
    text = "".join(pieces)
    quick = _usual_auth_parameters(text)
    if quick is not None:
        assert _auth_parameters(text) == quick


# The client.


def test_9_the_client_gives_up_when_its_password_was_refused() -> None:
    digest = server()
    client = DigestClient("1001", "wrong")
    answer = client.authorize(challenged(digest), register())
    assert answer is not None
    assert client.authorize(challenged(digest), register(headers=(answer,))) is None


def test_9_the_client_tries_again_when_its_nonce_was_stale_but_not_for_ever() -> None:
    digest = server()
    client = DigestClient("1001", "ringway-1001")
    headers: tuple[tuple[str, str], ...] = ()
    tries = 0
    while answer := client.authorize(challenged(digest, float(tries), stale=tries > 0), register(headers=headers)):
        headers = (answer,)
        tries += 1
        assert tries < 10
    assert tries == 3


def test_9_the_client_counts_the_uses_of_a_nonce() -> None:
    client = DigestClient("1001", "ringway-1001")
    challenge = challenged(server())
    counts = []
    for _ in range(3):
        answer = client.authorize(challenge, register())
        assert answer is not None
        counts.append(AuthValue.parse(answer[1]).parameters["nc"])
    assert counts == ["00000001", "00000002", "00000003"]


def test_9_the_client_answers_rfc_2069_servers() -> None:
    response = Response(407, headers=[("Proxy-Authenticate", 'Digest realm="r", nonce="n"')])
    answer = DigestClient("u", "p").authorize(response, register())
    assert answer is not None
    found = AuthValue.parse(answer[1]).parameters
    assert "qop" not in found
    assert found["response"] == digest_response(
        credentials("u", "r", "p"), "MD5", "REGISTER", "sip:ringway.example", nonce="n", nc="", cnonce="", qop=""
    )


@pytest.mark.parametrize(
    "challenge",
    [
        'Digest realm="r"',
        'Digest realm="r", nonce="n", qop="auth-int"',
        'Digest realm="r", nonce="n", algorithm=MD5-sess',
        "Basic realm=x",
        "Digest",
        'Digest realm="r", nonce="n',
    ],
)
def test_9_the_client_gives_up_over_what_it_cannot_answer(challenge: str) -> None:
    response = Response(401, headers=[("WWW-Authenticate", challenge)])
    assert DigestClient("u", "p").authorize(response, register()) is None


def test_9_the_client_answers_no_other_status() -> None:
    response = challenged(server())
    response.status = 403
    assert DigestClient("u", "p").authorize(response, register()) is None


def test_9_the_client_never_shows_the_password() -> None:
    answer = DigestClient("1001", "s3cret-word").authorize(challenged(server()), register())
    assert answer is not None
    assert "s3cret-word" not in answer[1]


@pytest.mark.parametrize("space", ["\t", " \t", "\r\n ", "\r\n\t", "  "])
def test_any_white_space_ends_the_scheme(space: str) -> None:
    parsed = AuthValue.parse(f'Digest{space}username="a", nc=1')
    assert (parsed.scheme, parsed.parameters) == ("Digest", {"username": "a", "nc": "1"})
