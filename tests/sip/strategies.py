"""Values of every type of the grammar, for property tests."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st

from sip.grammar import quote
from sip.headers import Address, AuthValue, CSeq, MediaType, Reason, Via
from sip.uri import Uri, escape_user

# The same cases on every machine, however busy it is; `tests.fuzz.run` looks for new ones.
settings.register_profile("ringway", deadline=None, derandomize=True)
settings.load_profile("ringway")

PEOPLES_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), max_size=20)
WIRE_TEXT = st.text(st.characters(max_codepoint=255), max_size=60)
TOKENS = st.text("abzAZ019-.!%*_+`'~", min_size=1, max_size=12)
PORTS = st.none() | st.integers(0, 65535)
HOSTS = st.one_of(
    st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9\-]{0,8}[A-Za-z0-9])?(\.[A-Za-z]{2,5}){0,2}", fullmatch=True),
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(lambda address: f"[{address}]"),
)
_PARAMETER_VALUES = st.none() | TOKENS | st.just("[2001:db8::1]")


def parameters() -> st.SearchStrategy[tuple[tuple[str, str | None], ...]]:
    """Header parameters, quoted strings among them."""
    value = _PARAMETER_VALUES | PEOPLES_TEXT.map(quote)
    return st.lists(st.tuples(TOKENS, value), max_size=4).map(tuple)


def sip_uris() -> st.SearchStrategy[Uri]:
    """sip and sips URIs with all their parts."""
    user = st.text(min_size=1, max_size=12).map(_escaped)
    headers = st.just("") | st.just("Subject=a%20b&Priority=urgent")
    pairs = st.lists(st.tuples(TOKENS, _PARAMETER_VALUES), max_size=3).map(tuple)
    password = st.none() | st.from_regex(r"([a-z0-9&=+$,]|%[0-9A-F]{2}){0,6}", fullmatch=True)

    def build(
        scheme: str,
        user: str | None,
        password: str | None,
        host: str,
        port: int | None,
        pairs: tuple[tuple[str, str | None], ...],
        headers: str,
    ) -> Uri:
        return Uri(scheme, user, None if user is None else password, host, port, pairs, headers)

    return st.builds(build, st.sampled_from(["sip", "sips"]), st.none() | user, password, HOSTS, PORTS, pairs, headers)


def _escaped(text: str) -> str:
    return escape_user(text.encode("utf-8", "replace").decode())


def uris() -> st.SearchStrategy[Uri]:
    """URIs of any scheme."""
    opaque = st.from_regex(r"[!#-;=?-~]{1,20}", fullmatch=True)
    others = st.builds(Uri, st.sampled_from(["tel", "urn", "http", "soap.beep"]), opaque=opaque)
    return sip_uris() | others


def addresses() -> st.SearchStrategy[Address]:
    """Addresses with and without display names."""
    return st.builds(Address, st.none() | PEOPLES_TEXT, uris(), parameters())


def vias() -> st.SearchStrategy[Via]:
    """Via values."""
    return st.builds(Via, st.sampled_from(["UDP", "TCP", "TLS", "WSS", "X-Y"]), HOSTS, PORTS, parameters())


def cseqs() -> st.SearchStrategy[CSeq]:
    """CSeq values."""
    return st.builds(CSeq, st.integers(0, 2**31 - 1), TOKENS)


def media_types() -> st.SearchStrategy[MediaType]:
    """Content-Type values."""
    return st.builds(MediaType, TOKENS.map(str.lower), TOKENS.map(str.lower), parameters())


def reasons() -> st.SearchStrategy[Reason]:
    """Reason values."""
    return st.builds(Reason, TOKENS, st.none() | st.integers(0, 2**31 - 1), st.none() | PEOPLES_TEXT)


def auth_values() -> st.SearchStrategy[AuthValue]:
    """Challenges and credentials."""
    names = TOKENS.map(str.lower)
    return st.builds(AuthValue, TOKENS, st.dictionaries(names, PEOPLES_TEXT, max_size=5))
