"""The four transaction machines of RFC 3261 §17 with RFC 6026, without I/O and without a clock."""

from __future__ import annotations

from .transaction import (
    ClientTransaction,
    ClientUser,
    Failure,
    ServerTransaction,
    ServerUser,
    State,
    TransactionError,
)

__all__ = [
    "ClientTransaction",
    "ClientUser",
    "Failure",
    "ServerTransaction",
    "ServerUser",
    "State",
    "TransactionError",
]
