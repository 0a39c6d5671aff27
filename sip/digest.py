"""Digest authentication as server and as client (RFC 7616, RFC 8760, RFC 3261 §22).

Algorithms are MD5 and SHA-256, the quality of protection is always `auth`. Refused: the `-sess` algorithms,
which nobody sends unasked; `auth-int`; answers without qop (RFC 2069), which carry no count and could be
replayed; `userhash`.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from .errors import ParseError
from .grammar import encode_text, quote
from .headers import AuthValue
from .message import Request, Response, response_to
from .text import refuse_controls
from .uri import Uri

__all__ = ["DigestClient", "DigestServer", "Ha1Lookup", "Verdict", "credentials"]

Ha1Lookup = Callable[[str, str, str], str | None]
"(user, realm, algorithm) -> HA1 in lower-case hex, or None for an unknown user."

_NONCE_COUNT = re.compile(r"[0-9A-Fa-f]{8}").fullmatch
_STAMP_BYTES: Final = 16  # of a nonce: 8 of its instant in milliseconds, 8 of a counter
_MAC_BYTES: Final = 16
_WINDOW: Final = (
    64  # counts behind the highest that may still come, once each: UDP reorders what a phone sends in a burst
)
_MAX_ANSWERS: Final = 8  # Authorization headers looked at; more than the proxies on any real path
_REMEMBERED: Final = 256  # nonces, and calls in a stale round, that a client keeps
_MAX_STALE_ROUNDS: Final = 2  # in a row for one Call-ID; then the server is at fault

# RFC 8760 §2.4 has a client skip the challenges that it cannot answer. libre (baresip) before 3.12 gives up
# instead when any of them is not MD5, and before 4.7 it forgets the algorithm in a stale round.
_BARESIP = re.compile(r"baresip v(\d{1,4})\.(\d{1,4})").match
_BARESIP_WITH_SHA256: Final = (4, 7)


def _md5(wire: str) -> str:
    return hashlib.md5(wire.encode("latin-1", "replace"), usedforsecurity=False).hexdigest()


def _sha256(wire: str) -> str:
    return hashlib.sha256(wire.encode("latin-1", "replace")).hexdigest()


_HASHES: Final[dict[str, Callable[[str], str]]] = {"MD5": _md5, "SHA-256": _sha256}


def credentials(user: str, realm: str, password: str, algorithm: str = "MD5") -> str:
    """HA1 of a user: H(user:realm:password) in hex. `algorithm` is "MD5" or "SHA-256" (RFC 7616 §3.4.2)."""
    return _HASHES[algorithm](encode_text(f"{user}:{realm}:{password}"))


@lru_cache(maxsize=512)  # a phone registers and calls under few URIs; 200 KB at most
def _ha2(algorithm: str, method: str, uri: str) -> str:
    return _HASHES[algorithm](f"{method}:{uri}")


def digest_response(
    ha1: str, algorithm: str, method: str, uri: str, *, nonce: str, nc: str, cnonce: str, qop: str = "auth"
) -> str:
    """The `response` of RFC 7616 §3.4.1; with an empty `qop` that of RFC 2069. All texts are wire text."""
    digest = _HASHES[algorithm]
    ha2 = _ha2(algorithm, method, uri)
    return digest(f"{ha1}:{nonce}:{nc}:{cnonce}:{qop}:{ha2}" if qop else f"{ha1}:{nonce}:{ha2}")


class Verdict(NamedTuple):
    """What `DigestServer.verify` found."""

    ok: bool
    username: str | None
    "The authenticated user; None unless `ok`."
    stale: bool
    "The password was right and the nonce at fault: challenge with stale=true."
    why: str
    "For the log: never for the wire."
    claimed: str | None = None
    "The name that the credentials gave, proven or not."


_MISSING: Final = Verdict(False, None, False, "no credentials for our realm")


class _Use:
    """The counts seen with one nonce: the highest, and a bit for each of the `_WINDOW` up to it."""

    __slots__ = ("highest", "issued_ms", "seen")

    def __init__(self, issued_ms: int) -> None:
        self.issued_ms = issued_ms
        self.highest = 0
        self.seen = 0

    def take(self, count: int) -> bool:
        """False if `count` was seen before, or is too far behind to tell."""
        ahead = count - self.highest
        if ahead > 0:
            self.seen = ((self.seen << ahead) & ((1 << _WINDOW) - 1) if ahead < _WINDOW else 0) | 1
            self.highest = count
            return True
        bit = 1 << -ahead
        if -ahead >= _WINDOW or self.seen & bit:
            return False
        self.seen |= bit
        return True


class DigestServer:
    """Makes challenges and checks answers for one realm.

    A nonce is its own record: an instant and a counter, signed together with the source address and the
    realm. Only a nonce that has passed with a right password costs memory (about 250 bytes), and at most
    `max_nonces` do: when one is dropped early, every forgotten nonce as old as it counts as stale, so nothing
    dropped can be replayed.
    """

    def __init__(
        self,
        realm: str,
        secret: bytes,
        *,
        nonce_lifetime_s: float = 300.0,
        algorithms: Sequence[str] = ("SHA-256", "MD5"),
        max_nonces: int = 16_384,
    ) -> None:
        """`secret` keys the nonces: 16 bytes or more; who shares it must share one clock for `now` too."""
        if len(secret) < 16:
            raise ValueError("the nonce secret is shorter than 16 bytes")
        if not algorithms or any(name not in _HASHES for name in algorithms):
            raise ValueError(f"algorithms are some of {', '.join(_HASHES)}")
        refuse_controls("realm", realm)
        self.realm = realm
        self._key = hashlib.sha256(secret).digest()
        self._lifetime_ms = int(nonce_lifetime_s * 1000)
        self._algorithms = tuple(algorithms)
        self._max_nonces = max_nonces
        self._counter = secrets.randbits(64)
        self._uses: dict[bytes, _Use] = {}
        self._forgotten_ms = -1
        self._quoted_realm = quote(realm)
        self._realm_bytes = b"\0" + realm.encode()
        # Unknown users are checked against these, so that they take as long to refuse as known ones.
        self._dummies = {name: credentials("", realm, secrets.token_hex(16), name) for name in algorithms}

    def __len__(self) -> int:
        """Nonces whose counts are remembered."""
        return len(self._uses)

    def challenge_headers(
        self, request: Request, source_ip: str, now: float, *, proxy: bool = False, stale: bool = False
    ) -> list[tuple[str, str]]:
        """The WWW-Authenticate (401) or, for `proxy`, Proxy-Authenticate (407) headers, preferred first (RFC
        8760 §2.3).

        All share one nonce, so that an answer to each (RFC 8760 §2.4 allows one, some send all) is counted
        once. `request` tells old baresip, which gets MD5 alone.
        """
        name = "Proxy-Authenticate" if proxy else "WWW-Authenticate"
        head = f'Digest realm={self._quoted_realm}, nonce="{self._nonce(source_ip, now)}"'
        tail = ', qop="auth", stale=true' if stale else ', qop="auth"'
        return [(name, f"{head}, algorithm={algorithm}{tail}") for algorithm in self._algorithms_for(request)]

    def challenge(
        self,
        request: Request,
        source_ip: str,
        now: float,
        *,
        proxy: bool = False,
        stale: bool = False,
        to_tag: str | None = None,
    ) -> Response:
        """The whole 401 or 407 to send."""
        return response_to(
            request,
            407 if proxy else 401,
            to_tag=to_tag,
            headers=self.challenge_headers(request, source_ip, now, proxy=proxy, stale=stale),
        )

    def verify(self, request: Request, source_ip: str, now: float, lookup: Ha1Lookup) -> Verdict:
        """Check the Authorization and Proxy-Authorization headers of our realm in `request`.

        One right answer is enough. A count is spent only by a right answer, so nobody can spend another's.
        """
        verdict = _MISSING
        headers = request.headers
        looked_at = 0
        for name in ("Authorization", "Proxy-Authorization"):
            for raw in headers.get_all(name) if name in headers else ():
                looked_at += 1
                if looked_at > _MAX_ANSWERS:
                    return verdict
                try:
                    answer = AuthValue.parse(raw)
                except ParseError:
                    continue
                if answer.scheme.lower() != "digest" or answer.parameters.get("realm") != self.realm:
                    continue
                found = self._check(answer.parameters, request, source_ip, now, lookup)
                if found.ok:
                    return found
                if not verdict.stale:
                    verdict = found
        return verdict

    def _check(
        self, answer: dict[str, str], request: Request, source_ip: str, now: float, lookup: Ha1Lookup
    ) -> Verdict:
        user = answer.get("username", "")
        algorithm = answer.get("algorithm", "MD5").upper()
        nc = answer.get("nc", "")
        nonce = answer.get("nonce", "")
        cnonce = answer.get("cnonce", "")
        uri = answer.get("uri", "")
        why = ""
        if algorithm not in self._algorithms:
            why = "algorithm not offered"
        elif answer.get("qop", "").lower() != "auth":
            why = "qop is not auth"
        elif not _NONCE_COUNT(nc) or nc == "00000000" or not cnonce:
            why = "nc or cnonce missing or malformed"
        elif not user:
            why = "username missing"
        elif uri != request.uri and not _same_resource(uri, request):
            why = "uri is not the Request-URI"
        if why:
            return Verdict(False, None, False, why, user or None)
        known = lookup(user, self.realm, algorithm)
        ha1 = known if known is not None else self._dummies[algorithm]
        expected = digest_response(
            ha1, algorithm, request.method, encode_text(uri), nonce=nonce, nc=nc, cnonce=encode_text(cnonce)
        )
        given = answer.get("response", "")
        right = given.isascii() and hmac.compare_digest(expected, given.lower())
        if known is None:
            return Verdict(False, None, False, "unknown user", user)
        if not right:
            return Verdict(False, None, False, "wrong password", user)
        why = self._spend(nonce, int(nc, 16), source_ip, now)
        if why:
            return Verdict(False, None, True, why, user)
        return Verdict(True, user, False, "", user)

    def _algorithms_for(self, request: Request) -> tuple[str, ...]:
        agent = request.get("User-Agent")
        if agent and (version := _BARESIP(agent)) and "MD5" in self._algorithms:
            number = int(version[1]), int(version[2])
            if number < _BARESIP_WITH_SHA256:
                return ("MD5",)
        return self._algorithms

    def _mac(self, stamp: bytes, source_ip: str) -> bytes:
        # Keyed BLAKE2s (RFC 7693 §2.9) is a MAC like HMAC-SHA-256, at a quarter of its cost.
        text = stamp + source_ip.encode() + self._realm_bytes
        return hashlib.blake2s(text, key=self._key, digest_size=_MAC_BYTES).digest()

    def _nonce(self, source_ip: str, now: float) -> str:
        self._counter = (self._counter + 1) & 0xFFFF_FFFF_FFFF_FFFF
        stamp = int(now * 1000).to_bytes(8, "big") + self._counter.to_bytes(8, "big")
        return (stamp + self._mac(stamp, source_ip)).hex()

    def _spend(self, nonce: str, count: int, source_ip: str, now: float) -> str:
        """Count one use of `nonce`; what is wrong with it, or an empty text."""
        try:
            octets = bytes.fromhex(nonce)
        except ValueError:
            return "nonce is not ours"
        stamp, mac = octets[:_STAMP_BYTES], octets[_STAMP_BYTES:]
        if not hmac.compare_digest(mac, self._mac(stamp, source_ip)):
            return "nonce is not ours, or was given to another address"
        issued_ms = int.from_bytes(stamp[:8], "big")
        now_ms = int(now * 1000)
        if not issued_ms <= now_ms <= issued_ms + self._lifetime_ms:
            return "nonce expired"
        use = self._uses.get(stamp)
        if use is None:
            if issued_ms <= self._forgotten_ms:
                return "nonce forgotten"
            self._make_room(now_ms)
            use = self._uses[stamp] = _Use(issued_ms)
        return "" if use.take(count) else "nonce count replayed"

    def _make_room(self, now_ms: int) -> None:
        """Drop expired nonces from the front, and the front itself when full: O(1) a call on average."""
        uses = self._uses
        while uses:
            stamp = next(iter(uses))
            issued_ms = uses[stamp].issued_ms
            expired = issued_ms + self._lifetime_ms < now_ms
            if not expired and len(uses) < self._max_nonces:
                return
            del uses[stamp]
            if not expired and issued_ms > self._forgotten_ms:
                self._forgotten_ms = issued_ms


def _same_resource(uri: str, request: Request) -> bool:
    """RFC 7616 §3.4.6: both name one resource. Parameters do not count: proxies add and drop them."""
    try:
        mine, theirs = request.target, Uri.parse(encode_text(uri))
    except ParseError:
        return False
    return mine.without_parameters().equivalent(theirs.without_parameters())


class DigestClient:
    """Answers challenges with one user's credentials. May be shared by all calls of a trunk."""

    def __init__(
        self, username: str, password: str, *, cnonce: Callable[[], str] = lambda: secrets.token_hex(8)
    ) -> None:
        """ValueError if the name, which goes onto the wire, holds control characters."""
        refuse_controls("username", username)
        self._username = username
        self._password = password
        self._new_cnonce = cnonce
        self._ha1: tuple[str, str, str] = ("", "", "")  # realm, algorithm, HA1 of the last challenge
        self._counts: dict[str, int] = {}
        self._stale_rounds: dict[str, int] = {}

    def authorize(self, response: Response, request: Request) -> tuple[str, str] | None:
        """The header that answers a 401 or 407, to be set on the next try of `request`; None to give up.

        Takes the first challenge that we can answer (RFC 8760 §2.4). Gives up if credentials for its realm
        were already refused, unless the server calls their nonce stale (twice at most).
        """
        if response.status == 401:
            challenge_name, answer_name = "WWW-Authenticate", "Authorization"
        elif response.status == 407:
            challenge_name, answer_name = "Proxy-Authenticate", "Proxy-Authorization"
        else:
            return None
        for challenge in _digests(response, challenge_name):
            algorithm = challenge.get("algorithm", "MD5").upper()
            qops = [qop.strip().lower() for qop in challenge.get("qop", "").split(",") if qop.strip()]
            if algorithm in _HASHES and "nonce" in challenge and (not qops or "auth" in qops):
                if self._refused(challenge, request, answer_name):
                    return None
                return answer_name, self._answer(challenge, algorithm, bool(qops), request)
        return None

    def _refused(self, challenge: dict[str, str], request: Request, answer_name: str) -> bool:
        """True if `request` carried credentials for this realm, and asking again is pointless."""
        realm = challenge.get("realm", "")
        tried = [answer for answer in _digests(request, answer_name) if answer.get("realm", "") == realm]
        call_id = request.call_id
        if not tried:
            self._stale_rounds.pop(call_id, None)
            return False
        if challenge.get("stale", "").lower() != "true":
            return True
        if any(answer.get("nonce") == challenge["nonce"] for answer in tried):
            return True
        rounds = self._stale_rounds.pop(call_id, 0) + 1
        _remember(self._stale_rounds, call_id, rounds)
        return rounds > _MAX_STALE_ROUNDS

    def _answer(self, challenge: dict[str, str], algorithm: str, qop: bool, request: Request) -> str:
        realm, nonce = challenge.get("realm", ""), challenge["nonce"]
        if self._ha1[:2] != (realm, algorithm):
            self._ha1 = (realm, algorithm, credentials(self._username, realm, self._password, algorithm))
        parts = [
            f"Digest username={quote(self._username)}",
            f"realm={quote(realm)}",
            f"nonce={quote(nonce)}",
            f"uri={quote(request.uri)}",
        ]
        nc = cnonce = ""
        if qop:
            count = self._counts.pop(nonce, 0) + 1
            _remember(self._counts, nonce, count)
            nc, cnonce = f"{count:08x}", self._new_cnonce()
        response = digest_response(
            self._ha1[2],
            algorithm,
            request.method,
            request.uri,
            nonce=encode_text(nonce),
            nc=nc,
            cnonce=cnonce,
            qop="auth" if qop else "",
        )
        parts.append(f'response="{response}"')
        if "algorithm" in challenge:
            parts.append(f"algorithm={algorithm}")
        if qop:
            parts.append(f'cnonce="{cnonce}", qop=auth, nc={nc}')
        if "opaque" in challenge:
            parts.append(f"opaque={quote(challenge['opaque'])}")
        return ", ".join(parts)


def _remember(memory: dict[str, int], key: str, value: int) -> None:
    """Put `key` last, and drop the first beyond `_REMEMBERED`."""
    memory[key] = value
    if len(memory) > _REMEMBERED:
        del memory[next(iter(memory))]


def _digests(message: Request | Response, name: str) -> list[dict[str, str]]:
    """The parameters of each well-formed Digest value under `name`; others are skipped."""
    found: list[dict[str, str]] = []
    for raw in message.headers.get_all(name)[:_MAX_ANSWERS]:
        try:
            value = AuthValue.parse(raw)
        except ParseError:
            continue
        if value.scheme.lower() == "digest":
            found.append(value.parameters)
    return found
