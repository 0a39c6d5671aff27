"""The transaction layer (RFC 3261 §17): its tables, its timers, and what it has to send."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..timers import TimerQueue, Timers
from .client_invite import ClientInvite
from .client_non_invite import ClientNonInvite
from .server_invite import ServerInvite
from .server_non_invite import ServerNonInvite

if TYPE_CHECKING:
    from ..message import Request
    from ..transport.base import Flow
    from .key import ClientKey, MergeKey, ServerKey
    from .transaction import ClientEntry, ClientTransaction, ClientUser, ServerEntry, Timed

__all__ = ["TransactionLayer"]


class TransactionLayer:
    """Every transaction that lives, by its key. What waits merely to absorb repetitions is a small object of its own.

    A transaction calls `put_…` and `end_…` for itself; each entry stands in the table from its start to its end.
    """

    __slots__ = (
        "_by_flow",
        "client",
        "merged",
        "server",
        "timers",
        "times",
        "to_send",
        "transaction_s",
        "trying_at_once",
    )

    def __init__(self, times: Timers, trying_at_once: bool) -> None:
        self.times = times
        self.trying_at_once = trying_at_once
        self.transaction_s = times.transaction_s
        self.timers: TimerQueue[Timed] = TimerQueue()
        self.client: dict[ClientKey, ClientEntry] = {}
        self.server: dict[ServerKey, ServerEntry] = {}
        self.merged: dict[MergeKey, ServerKey] = {}
        self.to_send: list[tuple[bytes, Flow]] = []
        # Only flows that can close: entries by flow, in the order of their coming.
        self._by_flow: dict[Flow, dict[ClientEntry | ServerEntry, None]] = {}

    def send_request(
        self, request: Request, wire: bytes, via: str, branch: str, flow: Flow, user: ClientUser, now: float
    ) -> ClientTransaction:
        """Start the client transaction of a request that is `wire` with its Via."""
        transaction: ClientInvite | ClientNonInvite
        if request.method == "INVITE":
            transaction = ClientInvite(self, request, wire, via, branch, flow, user)
        else:
            transaction = ClientNonInvite(self, request, wire, branch, flow, user)
        self.put_client(transaction)
        transaction.start(now)
        return transaction

    def open_server(
        self, request: Request, key: ServerKey, merge: MergeKey | None, flow: Flow, local_tag: str
    ) -> ServerInvite | ServerNonInvite:
        """Start the server transaction of a request that came."""
        transaction: ServerInvite | ServerNonInvite
        if request.method == "INVITE":
            transaction = ServerInvite(self, request, key, merge, flow, local_tag)
        else:
            transaction = ServerNonInvite(self, request, key, merge, flow, local_tag)
        self.put_server(transaction)
        if merge is not None:
            self.merged[merge] = key
        return transaction

    def put_client(self, entry: ClientEntry) -> None:
        """Let `entry` have the responses with its key, instead of what had them before."""
        self.client[entry.key] = entry
        if entry.flow.reliable:
            self._by_flow.setdefault(entry.flow, {})[entry] = None

    def put_server(self, entry: ServerEntry) -> None:
        """Let `entry` have the requests with its key, instead of what had them before."""
        self.server[entry.key] = entry
        if entry.flow.reliable:
            self._by_flow.setdefault(entry.flow, {})[entry] = None

    def end_client(self, entry: ClientEntry) -> None:
        """Forget `entry` and its timer."""
        del self.client[entry.key]
        self._release(entry)

    def end_server(self, entry: ServerEntry) -> None:
        """Forget `entry` and its timer."""
        del self.server[entry.key]
        if entry.merge_key is not None:
            del self.merged[entry.merge_key]
        self._release(entry)

    def replace_client(self, old: ClientEntry, new: ClientEntry) -> None:
        """Put what is left of a transaction in its place."""
        self._release(old)
        self.put_client(new)

    def replace_server(self, old: ServerEntry, new: ServerEntry) -> None:
        """Put what is left of a transaction in its place."""
        self._release(old)
        self.put_server(new)

    def flow_closed(self, flow: Flow, now: float) -> None:
        """Tell every entry on `flow`."""
        entries: list[ClientEntry | ServerEntry]
        if flow.reliable:
            entries = list(self._by_flow.get(flow, ()))
        else:  # a socket of ours went away; so rare that no index is kept
            entries = [entry for entry in self.client.values() if entry.flow == flow]
            entries.extend(entry for entry in self.server.values() if entry.flow == flow)
        for entry in entries:
            if self._stands(entry):  # what its neighbour's user did may have ended it
                entry.on_flow_closed(now)

    def handle_timeout(self, now: float) -> None:
        """Tell every entry whose time has come."""
        for entry in self.timers.pop_due(now):
            entry.on_timer(now)

    @property
    def flows(self) -> int:
        """Flows that can close and carry transactions."""
        return len(self._by_flow)

    def _stands(self, entry: ClientEntry | ServerEntry) -> bool:
        key: tuple[str, ...] = entry.key  # of two parts for a client, of more for a server
        if len(key) == 2:
            return self.client.get((key[0], key[1])) is entry
        return self.server.get(key) is entry

    def _release(self, entry: ClientEntry | ServerEntry) -> None:
        self.timers.cancel(entry)
        if entry.flow.reliable:
            entries = self._by_flow[entry.flow]
            del entries[entry]
            if not entries:
                del self._by_flow[entry.flow]
