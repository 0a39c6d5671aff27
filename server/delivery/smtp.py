"""[io] Invitations by e-mail through an SMTP server, in a thread: the library blocks."""

from __future__ import annotations

import asyncio
import smtplib
import ssl
from dataclasses import dataclass
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime, localtime
from pathlib import Path
from typing import Literal

from .link import Message
from .outbox import Refused, RetryLater

TIMEOUT_S = 15.0
Security = Literal["starttls", "tls", "none"]


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """Where mail is handed over, and how."""

    host: str
    port: int
    security: Security = "starttls"
    "starttls: refuse to go on without; tls: from the first byte on; none: for a server on this machine."
    username: str | None = None
    password: str | None = None
    ca_file: Path | None = None
    "Who signs the server's certificate; None: whom this machine trusts."


class SmtpMail:
    """Sends mail from `sender`, an address or `Name <address>`."""

    def __init__(self, server: SmtpServer, sender: str) -> None:
        self._server = server
        self._sender = sender

    async def send(self, message: Message) -> None:
        """A repeat bears the same Message-ID."""
        letter = letter_of(message, self._sender)
        try:
            await asyncio.to_thread(self._hand_over, letter)
        except smtplib.SMTPRecipientsRefused as error:
            (code, words), *_ = error.recipients.values()
            raise _judged(code, words) from error
        except smtplib.SMTPResponseException as error:
            raise _judged(error.smtp_code, error.smtp_error) from error
        except smtplib.SMTPNotSupportedError as error:
            raise Refused(f"the mail server lacks what is needed: {error}") from error
        except ssl.SSLCertVerificationError as error:
            raise RetryLater(f"the mail server's certificate is not valid: {error.verify_message}") from error
        except (OSError, smtplib.SMTPException) as error:
            raise RetryLater(f"no answer of the mail server: {type(error).__name__}") from error

    def _hand_over(self, letter: EmailMessage) -> None:
        server = self._server
        context = None
        if server.security != "none":
            context = ssl.create_default_context(cafile=None if server.ca_file is None else str(server.ca_file))
        if server.security == "tls":
            door: smtplib.SMTP = smtplib.SMTP_SSL(server.host, server.port, timeout=TIMEOUT_S, context=context)
        else:
            door = smtplib.SMTP(server.host, server.port, timeout=TIMEOUT_S)
        with door:
            if server.security == "starttls":
                door.starttls(context=context)
            if server.username is not None:
                door.login(server.username, server.password or "")
            door.send_message(letter)

    async def close(self) -> None:
        """There is nothing to close: each message has a connection of its own."""


def letter_of(message: Message, sender: str) -> EmailMessage:
    """The mail as RFC 5322 has it, with and without markup."""
    letter = EmailMessage()
    letter["From"] = sender
    letter["To"] = Address(addr_spec=message.to)
    letter["Subject"] = message.subject
    letter["Date"] = format_datetime(localtime())
    letter["Message-ID"] = f"<{message.id.replace('/', '.')}@{_domain(sender)}>"
    letter["Auto-Submitted"] = "auto-generated"
    letter.set_content(message.text)
    letter.add_alternative(message.html, subtype="html")
    return letter


def _domain(sender: str) -> str:
    return sender.rpartition("@")[2].rstrip("> ")


def _judged(code: int, words: bytes | str) -> Refused | RetryLater:
    """RFC 5321 §4.2.1: 4yz may go well later, 5yz will not."""
    text = words.decode("utf-8", "replace") if isinstance(words, bytes) else words
    reason = f"{code} {text}"[:200].replace("\r", " ").replace("\n", " ")
    return RetryLater(reason) if 400 <= code < 500 else Refused(reason)
