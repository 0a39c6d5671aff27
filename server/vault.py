"""[io] Keeps secrets readable by this server alone: what the database holds of them is encrypted.

The key lies beside the database, in a file of the data folder that only its owner may read.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import StartError

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

KEY_FILE = "secret.key"


class Vault:
    """Seals with the first key of its file, opens with any of them, so that keys can be replaced."""

    def __init__(self, file: Path | None) -> None:
        """`file`: made when it is missing; None for a key that dies with the process."""
        self._file = file
        self._cipher: MultiFernet | None = None

    def seal(self, secret: str) -> str:
        """`secret`, encrypted and signed (Fernet), as ASCII. StartError when the key cannot be read."""
        return self._keys().encrypt(secret.encode()).decode("ascii")

    def unseal(self, sealed: str) -> str:
        """What was sealed. ValueError when none of the keys opens it."""
        from cryptography.fernet import InvalidToken

        try:
            return self._keys().decrypt(sealed.encode("ascii")).decode()
        except (InvalidToken, UnicodeError) as error:
            raise ValueError(f"sealed with another key than those in {self._file}") from error

    def _keys(self) -> MultiFernet:
        if self._cipher is None:
            # Imported late: most servers never seal anything, and all of them want to start fast.
            from cryptography.fernet import Fernet, MultiFernet

            text = Fernet.generate_key() if self._file is None else self._read(self._file, Fernet.generate_key())
            try:
                self._cipher = MultiFernet([Fernet(line) for line in text.split()])
            except ValueError as error:
                raise StartError(f"{self._file} holds no key: {error}") from error
        return self._cipher

    def _read(self, file: Path, fresh: bytes) -> bytes:
        try:
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                with open(file, "xb", opener=_private) as out:
                    out.write(fresh + b"\n")
                    os.fsync(out.fileno())
            except FileExistsError:
                pass
            return file.read_bytes()
        except OSError as error:
            raise StartError(f"cannot use the key file {file}: {error.strerror or error}") from error


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
