"""A typed client of Ringway's REST API, which needs nothing of the server but aiohttp and pydantic.

    async with Ringway("http://127.0.0.1:8080", token) as ringway:
        page = await ringway.pbx.list_sessions(pbx.ListQuery(top=10))
        async for event in ringway.listen(session=page.items[0].id):
            print(event.kind)

Each dialect is an attribute of Ringway, and a module with its models. See docs/client.md.
"""

from . import (
    admin,
    app_sessions,
    callsession,
    channels,
    events,
    health,
    ice_servers,
    invitations,
    pbx,
    realtimekit,
    webhooks,
)
from .client import Ringway
from .errors import (
    BadRequest,
    Conflict,
    Forbidden,
    NoAnswer,
    NotFound,
    Refused,
    RingwayError,
    ServerFault,
    TooManyRequests,
    Unauthorized,
)
from .events import Event

__all__ = [
    "BadRequest",
    "Conflict",
    "Event",
    "Forbidden",
    "NoAnswer",
    "NotFound",
    "Refused",
    "Ringway",
    "RingwayError",
    "ServerFault",
    "TooManyRequests",
    "Unauthorized",
    "admin",
    "app_sessions",
    "callsession",
    "channels",
    "events",
    "health",
    "ice_servers",
    "invitations",
    "pbx",
    "realtimekit",
    "webhooks",
]
