"""The command line: `ringway dev`, `ringway serve`, `ringway config init` and `ringway config check`.

Heavy parts are imported by the command that needs them, so that help and version answer at once.
"""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from . import __version__

if TYPE_CHECKING:
    from .app import Server
    from .config import Config

EXAMPLE = Path(__file__).parent / "example.toml"
TOKEN_FILE = "dev-token"
EXAMPLE_CALL = '{"caller": "1001", "callee": "1002", "send_sdp": true}'

commands = typer.Typer(
    help="Ringway, a call server.", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)
config_commands = typer.Typer(help="Write and check a configuration file.", no_args_is_help=True)
commands.add_typer(config_commands, name="config")

ConfigFile = Annotated[Path, typer.Option("--config", help="Configuration file (TOML).", metavar="FILE")]


def main() -> None:
    """What the command `ringway` runs."""
    commands()


@commands.callback(invoke_without_command=True)
def _root(
    show_version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False,
) -> None:
    if show_version:
        typer.echo(f"ringway {__version__}")
        raise typer.Exit


@commands.command()
def dev(
    host: Annotated[str, typer.Option(help="Address for HTTP, SIP and media.")] = "127.0.0.1",
    http_port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the REST API.")] = 8080,
    sip_port: Annotated[int, typer.Option(min=0, max=65535, help="Port for SIP over UDP and TCP.")] = 5060,
    rtp_ports: Annotated[str, typer.Option(metavar="FIRST-LAST", help="UDP ports for media.")] = "40000-49999",
    token: Annotated[str | None, typer.Option(help="Admin token of the REST API; random by default.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder that keeps the random token between runs.")] = None,
) -> None:
    """Run with demo extensions and no configuration file."""
    from .config import dev_config
    from .errors import ServerError

    try:
        chosen = _dev_token(token, data)
        config = dev_config(host=host, http_port=http_port, sip_port=sip_port, rtp_ports=rtp_ports, token=chosen)
    except (ServerError, OSError) as error:
        _fail(str(error))
    _run(config, chosen)


@commands.command()
def serve(config: ConfigFile) -> None:
    """Run with a configuration file."""
    from .config import load
    from .errors import ConfigError

    try:
        loaded = load(config, os.environ)
    except ConfigError as error:
        _fail(str(error))
    _run(loaded, None)


@config_commands.command("init")
def config_init(
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where to write; standard output by default.")
    ] = None,
) -> None:
    """Write a commented example."""
    text = EXAMPLE.read_text(encoding="utf-8")
    if output is None:
        typer.echo(text, nl=False)
        return
    try:
        with output.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        _fail(f"{output}: {error.strerror}")
    output.chmod(0o600)  # it will hold passwords


@config_commands.command("check")
def config_check(config: ConfigFile) -> None:
    """Name every fault of a configuration file; exit 1 when there is one."""
    from .app import trunks_of
    from .config import load
    from .errors import ConfigError

    try:
        trunks_of(load(config, os.environ), source=str(config))
    except ConfigError as error:
        _fail(str(error))
    typer.echo(f"{config}: no faults")


def _run(config: Config, token: str | None) -> None:
    from . import app, logs
    from .errors import ServerError

    logs.set_up(config.server.log_level, config.server.log_format)
    try:
        app.run(config, lambda server: typer.echo(banner(server, token)))
    except ServerError as error:
        _fail(str(error))


def banner(server: Server, token: str | None) -> str:
    """What an operator wants to know once the server is ready; with `token`, how to try it."""
    config = server.config
    host = f"[{config.server.host}]" if ":" in config.server.host else config.server.host
    base = f"http://{host}:{server.http_ports[0]}"
    addresses = server.parts.endpoint.addresses if server.parts else ()
    sip = ", ".join(f"{listen.transport.lower()}:{listen.host}:{listen.port}" for listen in addresses)
    lines = [
        f"Ringway {__version__} is ready.",
        "",
        f"  REST API    {base}/api/sessions",
        f"  API pages   {base}/docs",
        f"  SIP         {sip} (domain {config.sip.our_domain})",
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


def _dev_token(given: str | None, data: Path | None) -> str:
    if given is not None:
        if not given or not given.isascii() or not given.isprintable() or " " in given:
            raise typer.BadParameter("a token is made of printable ASCII characters without spaces")
        return given
    if data is None:
        return secrets.token_urlsafe(18)
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = data / TOKEN_FILE
    if not file.exists():
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
            out.write(secrets.token_urlsafe(18) + "\n")
    return file.read_text().strip()


def _fail(message: str) -> NoReturn:
    sys.stderr.write(f"{message}\n")
    raise typer.Exit(1)
