"""The command line: `ringway dev`, `ringway serve`, `ringway config …`, `ringway user …`, `ringway token …`.

Heavy parts are imported by the command that needs them, so that help and version answer at once.
"""

from __future__ import annotations

import argparse
import gc
import os
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from . import __version__

if TYPE_CHECKING:
    from .app import Server
    from .sections import Config

EXAMPLE = Path(__file__).parent / "example.toml"
TOKEN_FILE = "dev-token"
EXAMPLE_CALL = '{"caller": "1001", "callee": "1002", "send_sdp": true}'


def main(arguments: Sequence[str] | None = None) -> int:
    """What the command `ringway` runs; its exit status: 0, 1 for a refusal, 2 for a wrong command line."""
    options = _parser().parse_args(arguments)
    from .errors import ServerError

    try:
        options.command(options)
    except (ServerError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ringway", description="Ringway, a call server.")
    parser.add_argument("--version", action="version", version=f"ringway {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    dev = commands.add_parser(
        "dev",
        help="run with demo extensions and no configuration file",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    dev.set_defaults(command=_dev)
    dev.add_argument("--host", default="127.0.0.1", help="address for HTTP, SIP and media")
    dev.add_argument("--http-port", type=_port, default=8080, metavar="PORT", help="port of the REST API")
    dev.add_argument("--sip-port", type=_port, default=5060, metavar="PORT", help="port for SIP over UDP and TCP")
    dev.add_argument("--rtp-ports", default="40000-49999", metavar="FIRST-LAST", help="UDP ports for media")
    dev.add_argument("--token", type=_token, help="admin token of the REST API; random if not given")
    dev.add_argument("--data", type=Path, metavar="DIR", help="folder that keeps database and token between runs")

    serve = commands.add_parser("serve", help="run with a configuration file")
    serve.set_defaults(command=_serve)
    serve.add_argument("--config", type=Path, required=True, metavar="FILE", help="configuration (TOML)")

    config = commands.add_parser("config", help="write and check a configuration file")
    actions = config.add_subparsers(required=True, metavar="ACTION")
    init = actions.add_parser("init", help="write a commented example")
    init.set_defaults(command=_config_init)
    init.add_argument("--output", "-o", type=Path, metavar="FILE", help="where to; standard output if not given")
    check = actions.add_parser("check", help="name every fault of a file; exit 1 when there is one")
    check.set_defaults(command=_config_check)
    check.add_argument("--config", type=Path, required=True, metavar="FILE", help="configuration (TOML)")

    from .commands import db, token, user

    user.add_commands(commands)
    token.add_commands(commands)
    db.add_commands(commands)
    return parser


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 65535):
        raise argparse.ArgumentTypeError("a port is a number from 0 (take a free one) to 65535")
    return int(text)


def _token(text: str) -> str:
    if not (text and text.isascii() and text.isprintable() and " " not in text):
        raise argparse.ArgumentTypeError("a token is made of printable ASCII characters without spaces")
    return text


# Commands.


def _dev(options: argparse.Namespace) -> None:
    from .config import dev_config

    token = options.token or _random_token(options.data)
    config = dev_config(
        host=options.host,
        http_port=options.http_port,
        sip_port=options.sip_port,
        rtp_ports=options.rtp_ports,
        token=token,
        data=options.data,
    )
    _run(config, token)


def _serve(options: argparse.Namespace) -> None:
    from .config import load

    _run(load(options.config, os.environ), None)


def _config_init(options: argparse.Namespace) -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    if options.output is None:
        sys.stdout.write(text)
        return
    # It will hold passwords; what is there already is never overwritten.
    with open(options.output, "x", encoding="utf-8", opener=_private) as file:
        file.write(text)


def _config_check(options: argparse.Namespace) -> None:
    from .app import media_config, trunks_of
    from .config import load

    config, source = load(options.config, os.environ), str(options.config)
    trunks_of(config, source)
    media_config(config, source)
    sys.stdout.write(f"{options.config}: no faults\n")


def _run(config: Config, token: str | None) -> None:
    gc.disable()  # until ready: all that is made so far stays, and looking through it again and again takes time
    from . import app, logs

    logs.set_up(config.server.log_level, config.server.log_format)
    app.run(config, lambda server: print(banner(server, token), flush=True))


def banner(server: Server, token: str | None) -> str:
    """What an operator wants to know once the server is ready; with `token`, how to try it."""
    config = server.config
    host = f"[{config.server.host}]" if ":" in config.server.host else config.server.host
    base = f"http://{host}:{server.http_ports[0]}"
    sip = ", ".join(f"{listen.transport.lower()}:{listen.host}:{listen.port}" for listen in server.sip_addresses)
    lines = [
        f"Ringway {__version__} is ready.",
        "",
        f"  REST API    {base}/api/sessions",
        f"  API pages   {base}/docs",
        f"  Phone page  {base}/phone",
        f"  SIP         {sip} (domain {server.domain})",
    ]
    if token is not None:
        phones = ", ".join(f"{e.number} (password {e.password.get_secret_value()})" for e in config.extensions)
        services = {"echo": "echo test", "tone": "1 kHz tone"}
        lines += [
            f"  Token       {token}",
            f"  Extensions  {phones}",
            "  Services    " + ", ".join(f"{number} = {services[name]}" for number, name in config.services.items()),
            "",
            "Ring 1001, on answer 1002, and join them:",
            "",
            f"  curl -H 'Authorization: Bearer {token}' {base}/api/sessions -d '{EXAMPLE_CALL}'",
        ]
    return "\n".join([*lines, "", "Ctrl-C ends all calls and stops."])


def _random_token(data: Path | None) -> str:
    """A new one, or the one that `data` keeps."""
    if data is None:
        return secrets.token_urlsafe(18)
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = data / TOKEN_FILE
    if not file.exists():
        with open(file, "x", encoding="ascii", opener=_private) as out:
            out.write(secrets.token_urlsafe(18) + "\n")
    return file.read_text(encoding="ascii").strip()


def _private(path: str, flags: int) -> int:
    """Opens a file that only its owner may read."""
    return os.open(path, flags, 0o600)
