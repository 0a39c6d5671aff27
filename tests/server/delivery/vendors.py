"""Local stand-ins for those who deliver messages: they keep what they are sent, and answer as their documents say."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any, cast

from aiohttp import web
from aiohttp.test_utils import TestServer
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from server.delivery.link import Message

MESSAGE = Message(
    id="inv_1/email/0",
    invitation_id="inv_1",
    to="partner@example.com",
    inviter_name="Alice",
    invitee_name="Alex",
    url="https://calls.example.com/join/inv_1",
    expires_at=1_800_000_000.0,
)


@dataclass
class Request:
    """One request, whole."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Vendor:
    """An HTTP API on loopback; `answers` are given in turn, then the last one again."""

    url: str = ""
    requests: list[Request] = field(default_factory=list)
    answers: list[tuple[int, Any, dict[str, str]]] = field(default_factory=lambda: [(200, {"id": "x"}, {})])
    delay_s: float = 0.0

    def answer(self, status: int, body: Any = None, **headers: str) -> None:
        """Answer so from now on."""
        self.answers = [(status, body, {name.replace("_", "-"): value for name, value in headers.items()})]

    async def handle(self, request: web.Request) -> web.Response:
        """Keep it, and answer."""
        headers = dict(request.headers.items())
        self.requests.append(Request(request.method, request.path, headers, await request.read()))
        await asyncio.sleep(self.delay_s)
        status, body, more = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(body, str):
            return web.Response(status=status, text=body, headers=more)
        return web.json_response(body, status=status, headers=more)


@asynccontextmanager
async def vendor() -> AsyncIterator[Vendor]:
    """A vendor that takes everything."""
    made = Vendor()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", made.handle)
    async with TestServer(app) as server:
        made.url = str(server.make_url("")).rstrip("/")
        yield made


@dataclass
class Mailbox:
    """An SMTP server on loopback."""

    port: int = 0
    letters: list[EmailMessage] = field(default_factory=list)
    envelopes: list[tuple[str, list[str]]] = field(default_factory=list)
    logins: list[tuple[str, str]] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)
    answer: str = "250 taken"
    "To DATA."
    answer_to_recipient: str = "250 OK"

    async def handle_RCPT(  # named by aiosmtpd
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Say whether this recipient will do."""
        if self.answer_to_recipient.startswith("2"):
            envelope.rcpt_tos.append(address)
        return self.answer_to_recipient

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """Keep the letter."""
        if self.answer.startswith("2"):
            letter = message_from_bytes(cast(bytes, envelope.content), policy=policy.default)
            self.letters.append(letter)
            self.envelopes.append((str(envelope.mail_from), list(map(str, envelope.rcpt_tos))))
            transport = server.transport
            assert transport is not None
            self.encrypted.append(transport.get_extra_info("ssl_object") is not None)
        return self.answer

    def authenticate(self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
        """One user is known."""
        assert isinstance(data, LoginPassword)
        self.logins.append((data.login.decode(), data.password.decode()))
        return AuthResult(success=data.password == b"right", handled=False)


def certificate(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """A server's side of TLS for localhost, and the file of the certificate that clients have to trust."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    both = folder / "localhost.pem"
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    both.write_bytes(signed.public_bytes(Encoding.PEM) + secret)
    trusted = folder / "trusted.pem"
    trusted.write_bytes(signed.public_bytes(Encoding.PEM))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(both)
    return context, trusted


@asynccontextmanager
async def mailbox(tls: ssl.SSLContext | None = None, *, implicit: bool = False) -> AsyncIterator[Mailbox]:
    """An SMTP server; with `tls` it demands STARTTLS, or speaks TLS from the first byte on."""
    made = Mailbox()

    def serve() -> SMTP:
        return SMTP(
            made,
            hostname="localhost",
            tls_context=None if implicit else tls,
            require_starttls=tls is not None and not implicit,
            authenticator=made.authenticate,
            auth_require_tls=False,
            loop=asyncio.get_running_loop(),
        )

    server = await asyncio.get_running_loop().create_server(serve, "localhost", 0, ssl=tls if implicit else None)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        await server.wait_closed()
