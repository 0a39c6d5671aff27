"""`ringway user add|list|show|remove`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from .options import add_place, show, table

if TYPE_CHECKING:
    from .directory import Admin, Work

FIELDS = ("handle", "display_name", "email", "phone", "image_url")


def add_commands(commands: Any) -> None:
    """Put `user` into the command line."""
    user = commands.add_parser("user", help="add, list and remove users")
    actions = user.add_subparsers(required=True, metavar="ACTION")

    add = actions.add_parser("add", help="add a user")
    add.set_defaults(command=_add)
    add.add_argument("id", help="any text; it stands for the user in every dialect")
    for field in FIELDS:
        add.add_argument(f"--{field.replace('_', '-')}", metavar="TEXT")
    add.add_argument("--extension", action="append", default=[], metavar="NUMBER", help="may be given several times")

    listed = actions.add_parser("list", help="list the users")
    listed.set_defaults(command=_list)

    one = actions.add_parser("show", help="show a user")
    one.set_defaults(command=_show)
    one.add_argument("id")

    remove = actions.add_parser("remove", help="remove a user; the history keeps what it took part in")
    remove.set_defaults(command=_remove)
    remove.add_argument("id")
    for action in (add, listed, one, remove):
        add_place(action)


def _add(options: argparse.Namespace) -> None:
    fields = {field: getattr(options, field) for field in FIELDS if getattr(options, field) is not None}

    async def work(admin: Admin) -> None:
        made = await admin.ask("POST", "/users", {"id": options.id, "extensions": options.extension, **fields})
        show(options, made, f"{made['id']} is user number {made['number']}.")

    _carry_out(options, work)


def _list(options: argparse.Namespace) -> None:
    async def work(admin: Admin) -> None:
        users = await admin.users()
        rows = [[user["id"], str(user["number"]), user["handle"], ", ".join(user["extensions"])] for user in users]
        show(options, users, table([["ID", "NUMBER", "HANDLE", "EXTENSIONS"], *rows]))

    _carry_out(options, work)


def _show(options: argparse.Namespace) -> None:
    async def work(admin: Admin) -> None:
        user = await admin.ask("GET", f"/users/{quote(options.id, safe='')}")
        lines = [f"{name}: {', '.join(value) if isinstance(value, list) else value}" for name, value in user.items()]
        show(options, user, "\n".join(line for line in lines if not line.endswith((": None", ": "))))

    _carry_out(options, work)


def _remove(options: argparse.Namespace) -> None:
    async def work(admin: Admin) -> None:
        removed = await admin.ask("DELETE", f"/users/{quote(options.id, safe='')}")
        show(options, removed, f"{options.id} is removed.")

    _carry_out(options, work)


def _carry_out(options: argparse.Namespace, work: Work) -> None:
    from .directory import carry_out

    carry_out(options, work)
