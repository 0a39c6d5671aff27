"""[io] `ringway token create|list|revoke`."""

from __future__ import annotations

import argparse
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from .options import add_place, show, table

if TYPE_CHECKING:
    from .directory import Admin, Work

DAY_S = 86_400.0
ROLES = ("admin", "token", "host", "member", "viewer")
SCOPES = ("sessions:read", "sessions:write", "sessions:join", "events", "admin")
"As sections.TokenRole and TokenScope say, which are not imported for the sake of `--help`."


def add_commands(commands: Any) -> None:
    """Put `token` into the command line."""
    token = commands.add_parser("token", help="make, list and revoke API keys")
    actions = token.add_subparsers(required=True, metavar="ACTION")

    create = actions.add_parser("create", help="make an API key; it is shown this once")
    create.set_defaults(command=_create)
    create.add_argument("name", help="for people: where it is used")
    create.add_argument("--role", choices=ROLES, default="token", help="see docs/tokens-and-roles.md")
    create.add_argument("--user", metavar="ID", help="whom it acts for")
    create.add_argument("--scope", action="append", default=[], choices=SCOPES, help="may be given several times")
    create.add_argument(
        "--allow", action="append", default=[], metavar="PATTERN", help="what it may dial through trunks"
    )
    create.add_argument(
        "--channel", action="append", default=[], type=_channel_role, metavar="ID=ROLE", help="its role in one channel"
    )
    create.add_argument("--days", type=_days, metavar="N", help="until it expires; default: never")

    listed = actions.add_parser("list", help="list the API keys, without their secrets")
    listed.set_defaults(command=_list)

    revoke = actions.add_parser("revoke", help="let an API key open nothing from now on")
    revoke.set_defaults(command=_revoke)
    revoke.add_argument("id", help="what stands between the two _ of the key")
    for action in (create, listed, revoke):
        add_place(action)


def _channel_role(text: str) -> tuple[str, str]:
    channel, equals, role = text.rpartition("=")
    if not (channel and equals and role in ("host", "member", "viewer")):
        raise argparse.ArgumentTypeError("give a channel's id and host, member or viewer, as in ID=member")
    return channel, role


def _days(text: str) -> float:
    try:
        days = float(text)
    except ValueError:
        days = 0.0
    if not 0 < days <= 36_500:
        raise argparse.ArgumentTypeError("give a number of days above 0")
    return days


def _create(options: argparse.Namespace) -> None:
    body: dict[str, Any] = {
        "name": options.name,
        "role": options.role,
        "user": options.user,
        "scopes": options.scope,
        "allow": options.allow,
        "channel_roles": dict(options.channel),
    }
    if options.days is not None:
        body["expires_at"] = datetime.fromtimestamp(time.time() + options.days * DAY_S, UTC).isoformat()

    async def work(admin: Admin) -> None:
        made = await admin.ask("POST", "/tokens", body)
        show(options, made, made["token"])

    _carry_out(options, work)


def _list(options: argparse.Namespace) -> None:
    async def work(admin: Admin) -> None:
        keys = (await admin.ask("GET", "/tokens"))["items"]
        rows = [[key["id"], key["name"], key["role"], key["user"] or "-", _state(key)] for key in keys]
        show(options, keys, table([["ID", "NAME", "ROLE", "USER", "STATE"], *rows]))

    _carry_out(options, work)


def _state(key: dict[str, Any]) -> str:
    if key["revoked_at"] is not None:
        return "revoked"
    if key["expires_at"] is None:
        return "active"
    expires_at = datetime.fromisoformat(key["expires_at"])
    return "expired" if expires_at <= datetime.now(UTC) else f"active until {expires_at:%Y-%m-%d %H:%M} UTC"


def _revoke(options: argparse.Namespace) -> None:
    async def work(admin: Admin) -> None:
        revoked = await admin.ask("DELETE", f"/tokens/{options.id}")
        show(options, revoked, f"{options.id} opens nothing any more.")

    _carry_out(options, work)


def _carry_out(options: argparse.Namespace, work: Work) -> None:
    from .directory import carry_out

    carry_out(options, work)
