"""[io] Ringway's API as one object with an attribute for each dialect."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from types import TracebackType

import aiohttp

from .admin import AdminApi
from .app_sessions import AppSessionsApi
from .callsession import CallSessionApi
from .channels import ChannelsApi
from .events import Event, EventsApi
from .health import HealthApi
from .ice_servers import IceServersApi
from .invitations import InvitationsApi
from .listening import listen
from .pbx import PbxApi
from .realtimekit import RealtimeKitApi
from .transport import Transport
from .webhooks import WebhooksApi

TIMEOUT_S = 30.0
TRIES = 3


class Ringway:
    """A server's API; use it with `async with`, in one event loop.

    `account` and `app` go into the paths of the RealtimeKit dialect. A request that cannot do harm by being sent twice
    (GET, PUT, DELETE, POST with an Idempotency-Key) is tried `tries` times when the network fails, or the server
    answers 429, 502, 503 or 504. `timeout_s` is of each try.
    """

    def __init__(
        self,
        url: str,
        token: str = "",
        *,
        account: str = "default",
        app: str = "default",
        timeout_s: float = TIMEOUT_S,
        tries: int = TRIES,
    ) -> None:
        self._given = (url, token, account, app, timeout_s, tries)
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Ringway:
        self._http = aiohttp.ClientSession()
        self._use(Transport(*self._given, http=self._http))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._http is not None:
            await self._http.close()

    def acting_for(self, user: str) -> Ringway:
        """The same, with an admin's token acting for `user`; it lives as long as this one."""
        other = Ringway(*self._given[:2])
        other._use(self._transport.acting_for(user))
        return other

    def listen(
        self,
        *,
        session: str | None = None,
        channel: str | None = None,
        kinds: Iterable[str] = (),
        after: str | None = None,
    ) -> AsyncGenerator[Event, None]:
        """Events as they happen, for ever; all conditions must hold, and `leg.*` stands for all that begin so.

        A lost connection is made again and nothing is missed, but an event may come twice. `after` is the id of the
        last event that was seen; None begins now. Refused when the server says no.
        """
        return listen(self._transport, session=session, channel=channel, kinds=kinds, after=after)

    def _use(self, transport: Transport) -> None:
        self._transport = transport
        self.callsession = CallSessionApi(transport)
        self.channels = ChannelsApi(transport)
        self.app_sessions = AppSessionsApi(transport)
        self.invitations = InvitationsApi(transport)
        self.pbx = PbxApi(transport)
        self.realtimekit = RealtimeKitApi(transport)
        self.admin = AdminApi(transport)
        self.events = EventsApi(transport)
        self.webhooks = WebhooksApi(transport)
        self.health = HealthApi(transport)
        self.ice = IceServersApi(transport)
