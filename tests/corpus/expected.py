"""What a server must do with each message of RFC 4475 and RFC 5118 that reaches it in a UDP datagram.

`EXPECTED` maps a message's name to the statuses that may answer it, or to `DROP`. Where the RFC leaves a choice, or
where the answer depends on what the server serves and whom it knows, the set holds all that is right.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

DROP: Final = "drop"
Expected = frozenset[int] | Literal["drop"]

FOLDERS: Final = ("rfc4475", "rfc5118")

_BROKEN: Final = frozenset({400, 500, 505, 513})
UNDERSTOOD: Final = frozenset(range(100, 700)) - _BROKEN
"Any answer that says that the message was read: from 100 to 404, whatever the server thinks of the caller."
_REFUSED: Final = frozenset({400})
_EITHER: Final = UNDERSTOOD | _REFUSED
_WHO_ARE_YOU: Final = frozenset({401, 403, 404, 407})
"Before anything else a server may ask who calls, or say that it does not serve this name."
_NO_SUCH_METHOD: Final = frozenset({405, 501})

EXPECTED: Final[dict[str, Expected]] = {
    # RFC 4475 §3.1.1: valid
    "wsinv": UNDERSTOOD,
    "intmeth": _NO_SUCH_METHOD,
    "esc01": UNDERSTOOD,
    "escnull": UNDERSTOOD,
    "esc02": _NO_SUCH_METHOD,
    "lwsdisp": UNDERSTOOD,
    "longreq": UNDERSTOOD,
    "dblreq": UNDERSTOOD,
    "semiuri": UNDERSTOOD,
    "transports": UNDERSTOOD,
    "mpart01": UNDERSTOOD,
    "unreason": DROP,
    "noreason": DROP,
    # §3.1.2: invalid
    "badinv01": _REFUSED,
    "clerr": _REFUSED,
    "ncl": _REFUSED,
    "scalar02": _REFUSED,
    "scalarlg": DROP,
    "quotbal": _REFUSED,
    "ltgtruri": _REFUSED,
    "lwsruri": _REFUSED,
    "lwsstart": _REFUSED,
    "trws": _REFUSED,
    "escruri": _REFUSED,
    "baddate": _EITHER,
    "regbadct": _REFUSED,
    "badaspec": _EITHER,
    "baddn": _EITHER,
    "badvers": frozenset({505}),
    "mismatch01": _REFUSED,
    "mismatch02": _REFUSED | _NO_SUCH_METHOD,
    "bigcode": DROP,
    # §3.2 and §3.3: the transaction layer and the application
    "badbranch": _EITHER,
    "insuf": _REFUSED,
    "unkscm": frozenset({416}),
    "novelsc": frozenset({416}),
    "unksm2": _WHO_ARE_YOU | {400, 416},
    "bext01": frozenset({420}),
    "invut": _WHO_ARE_YOU | {415},
    "regaut01": _WHO_ARE_YOU,
    "multi01": _REFUSED,
    "mcl01": _REFUSED,
    "bcast": DROP,
    "zeromf": UNDERSTOOD,
    "cparam01": UNDERSTOOD,
    "cparam02": UNDERSTOOD,
    "regescrt": _EITHER,
    "sdp01": _WHO_ARE_YOU | {406},
    # §3.4: from before RFC 3261
    "inv2543": _EITHER,
    # RFC 5118
    "ipv6-good": UNDERSTOOD,
    "ipv6-bad": _REFUSED,
    "port-ambiguous": UNDERSTOOD,
    "port-unambiguous": UNDERSTOOD,
    "via-received-param-with-delim": frozenset({481}),
    "via-received-param-no-delim": UNDERSTOOD,
    "ipv6-in-sdp": UNDERSTOOD,
    "mult-ip-in-header": frozenset({481}),
    "mult-ip-in-sdp": UNDERSTOOD,
    "ipv4-mapped-ipv6": UNDERSTOOD,
    "ipv6-bug-abnf-3-colons": UNDERSTOOD,
    "ipv6-correct-abnf-2-colons": UNDERSTOOD,
}


def messages() -> Iterator[tuple[str, bytes]]:
    """Name and octets of each message, RFC 4475 first."""
    for folder in FOLDERS:
        for path in sorted(Path(__file__).with_name(folder).glob("*.dat")):
            yield path.stem, path.read_bytes()


def load(name: str) -> bytes:
    """The octets of one message."""
    for folder in FOLDERS:
        path = Path(__file__).with_name(folder) / f"{name}.dat"
        if path.exists():
            return path.read_bytes()
    raise KeyError(name)
