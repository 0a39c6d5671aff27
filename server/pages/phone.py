"""The softphone of the browser at `/phone`: files that are served as they are, and what the page must know of us."""

from __future__ import annotations

import gzip
import hmac
import re
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from hashlib import sha256
from pathlib import Path

from pydantic import Field, SecretStr

from ..api.health import PlainError, plain_error
from ..api.ice_servers import IceServerBook, IceServers
from ..api.model import Model
from ..api.openapi import Body, Call, Dialect, Raw, operation, operations_of
from ..config import DEV_TENANT
from ..errors import ApiError
from ..sections import Config

TAG = "Phone page"
FOLDER = Path(__file__).parent.parent / "console" / "phone"
PAGE = "index.html"
KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
TRIES, TRIES_S = 10, 60.0
"Wrong passwords of one number in so many seconds; then none is looked at."
MAX_GUARDED = 1024  # numbers whose wrong passwords are counted; the oldest is forgotten
HOST = re.compile(r"[A-Za-z0-9.-]{1,253}(?::[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](?::[0-9]{1,5})?")


class DemoExtension(Model):
    """An extension that everybody may try."""

    number: str
    password: str


class PhoneSettings(Model):
    """What the page asks before anybody has logged in."""

    demo: list[DemoExtension] = Field(description="Of `ringway dev`, whose passwords are no secret; else empty.")
    services: dict[str, str] = Field(description="Number -> `echo` or `tone`, where there are demo extensions.")


def demo_of(config: Config) -> PhoneSettings:
    """What `ringway dev` shows. Passwords that are none of its well-known ones are never shown, whatever the tenant."""
    demo = [
        DemoExtension(number=extension.number, password=known)
        for extension in config.extensions
        if (known := f"ringway-{extension.number}") == extension.password.get_secret_value()
    ]
    if not demo or config.server.account != DEV_TENANT:
        return PhoneSettings(demo=[], services={})
    return PhoneSettings(demo=demo, services=dict(config.services))


class Login(Body):
    """What an extension registers with."""

    number: str = Field(max_length=32)
    password: SecretStr = Field(max_length=256)


class Guard:
    """Counts wrong passwords, so that nobody tries many."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._wrong: dict[str, tuple[int, float]] = {}
        "Number -> how many, since when."

    def check(self, number: str, right: bool) -> None:
        """ApiError 401 for a wrong password, 429 for any after too many."""
        count, since = self._wrong.get(number, (0, self._clock()))
        if self._clock() - since >= TRIES_S:
            count, since = 0, self._clock()
        if count >= TRIES:
            raise ApiError(429, "TOO_MANY_TRIES", "too many wrong passwords: wait a minute")
        if right:
            self._wrong.pop(number, None)
            return
        self._wrong.pop(number, None)
        self._wrong[number] = count + 1, since
        if len(self._wrong) > MAX_GUARDED:
            del self._wrong[next(iter(self._wrong))]
        raise ApiError(401, "UNAUTHORIZED", "the number or the password is wrong")


class PhonePage:
    """Serves the page. Whoever uses it logs in by SIP, so the files are open to all."""

    def __init__(
        self,
        settings: PhoneSettings,
        ice: IceServerBook,
        password_of: Callable[[str], str | None],
        *,
        clock: Callable[[], float],
    ) -> None:
        """`password_of`: an extension's, by its number."""
        self._settings = settings
        self._ice = ice
        self._password_of = password_of
        self._guard = Guard(clock)

    def dialect(self) -> Dialect:
        """The routes of the page."""
        about = "A softphone for browsers."
        return Dialect(TAG, about, operations_of(self), plain_error, PlainError, omit_none=True)

    @operation("GET", "/phone", summary="Softphone page", tag=TAG, permission="phone.page", media_type="text/html")
    async def page(self, call: Call) -> Raw:
        """Registers and calls by SIP over WebSocket at `/sip`."""
        return _answer(call, PAGE)

    @operation("GET", "/phone/settings", summary="What the softphone page shows", tag=TAG, permission="phone.page")
    async def settings(self, call: Call) -> PhoneSettings:
        """Demo extensions of a server started by `ringway dev`."""
        return self._settings

    @operation(
        "POST",
        "/phone/ice-servers",
        summary="STUN and TURN servers for the softphone page",
        tag=TAG,
        permission="phone.page",
        errors=(401, 429),
    )
    async def ice_servers(self, call: Call, body: Login) -> IceServers:
        """Those of `GET /api/ice-servers`, for an extension that says its password; without any, none is looked at."""
        if not self._ice.configured:
            return self._ice.handed_to(body.number)
        known = self._password_of(body.number)
        given = body.password.get_secret_value().encode("utf-8", "surrogatepass")
        self._guard.check(body.number, known is not None and hmac.compare_digest(known.encode(), given))
        return self._ice.handed_to(body.number)

    @operation(
        "GET",
        "/phone/{file}",
        summary="File of the softphone page",
        tag=TAG,
        permission="phone.page",
        errors=(404,),
        media_type="text/javascript",
    )
    async def file(self, call: Call) -> Raw:
        """Scripts, style and icon."""
        return _answer(call, call.path["file"])


def _answer(call: Call, name: str) -> Raw:
    """A file, compressed where that is understood; 304 when the browser has it already. ApiError 404."""
    file = _files().get(name)
    if file is None:
        raise ApiError(404, "NOT_FOUND", "there is no such file")
    plain, packed, kind, tag = file
    headers = {
        "Cache-Control": "no-cache",  # may be kept, but is asked for again: all files are of one version
        "ETag": tag,
        "Vary": "Accept-Encoding",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
    }
    if name == PAGE:
        headers["Content-Security-Policy"] = policy(call.headers.get("Host", ""))
        headers["Permissions-Policy"] = "microphone=(self), speaker-selection=(self), camera=(), geolocation=()"
    if tag in call.headers.get("If-None-Match", ""):
        return Raw(b"", kind, headers, 304)
    if "gzip" in call.headers.get("Accept-Encoding", ""):
        return Raw(packed, kind, {**headers, "Content-Encoding": "gzip"})
    return Raw(plain, kind, headers)


def policy(host: str) -> str:
    """Nothing but our own files and our own socket."""
    return policy_with({"default-src": "'self'", "form-action": "'none'"}, host)


def policy_with(rules: Mapping[str, str], host: str) -> str:
    """`rules` and our own socket; `host` is named since older browsers take 'self' for HTTP alone."""
    sockets = f" ws://{host} wss://{host}" if HOST.fullmatch(host) else ""
    parts = {
        "default-src": rules["default-src"],
        "connect-src": f"'self'{sockets}",
        **rules,
        "object-src": "'none'",
        "base-uri": "'none'",
        "frame-ancestors": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in parts.items())


@cache
def _files() -> dict[str, tuple[bytes, bytes, str, str]]:
    """Name -> as it is, compressed, its kind, its ETag."""
    return {path.name: _read(path) for path in _served(FOLDER.iterdir())}


def _served(paths: Iterable[Path]) -> list[Path]:
    return [path for path in paths if path.suffix in KINDS]


def _read(path: Path) -> tuple[bytes, bytes, str, str]:
    data = path.read_bytes()
    return data, gzip.compress(data, mtime=0), KINDS[path.suffix], f'"{sha256(data).hexdigest()[:20]}"'
