# SPDX-License-Identifier: Apache-2.0
"""The entry: the command line, joined with the services that it can start."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from caryatid.cli.main import cli
from caryatid.errors import CaryatidError
from caryatid.services import CORE, SERVICES

if TYPE_CHECKING:
    from caryatid.config import Settings

NOOP = {"amphora_driver": "noop", "compute_driver": "noop", "network_driver": "noop"}
UP = ("core", "agent", "api")
"""Processes of `caryatid up`, in the order in which they are started."""


def main() -> None:
    """`caryatid …`"""
    cli(prog_name="caryatid")


def options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that every service takes; they become settings, and so do CARYATID_… and the file."""
    for option in (
        click.option("--log-format", type=click.Choice(["auto", "json", "text"]), help="How logs are written."),
        click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="What is logged."),
        click.option("--database", help="SQLAlchemy URL (default: SQLite in the state directory)."),
        click.option("--state-dir", type=click.Path(path_type=Path), help="Where everything is kept."),
        click.option("--config", type=click.Path(exists=True, dir_okay=False), help="A TOML file of settings."),
    ):
        command = option(command)
    return command


def settings(config: str | None = None, **given: Any) -> "Settings":
    """The settings: options first, then the environment, then the file. A fault in them is a usage error."""
    from caryatid.config import CONFIG_VARIABLE, Settings  # late: the command line shall start fast

    if config:
        os.environ[CONFIG_VARIABLE] = config
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def guarded(act: Callable[[], Any]) -> Any:
    """`act`, a refusal of which ends the command with a sentence."""
    try:
        return act()
    except CaryatidError as error:
        raise click.ClickException(str(error)) from None


@cli.command("up")
@click.option("--listen", help="Address and port of the API (default 127.0.0.1:9876).")
@click.option("--drivers", type=click.Choice(["haproxy", "noop"]), default="haproxy", help="noop: no data plane.")
@options
def up_command(drivers: str, **given: Any) -> None:
    """Start everything on this machine; Ctrl-C stops it."""
    known = settings(**{**given, **(NOOP if drivers == "noop" else {})})
    names = UP if known.compute_driver == "hosts" else ("core", "api")
    guarded(lambda: prepare(known))
    told = {f"CARYATID_{name.upper()}": str(getattr(known, name)) for name in known.model_fields_set}
    ready = f"Caryatid is up: http://{known.listen} (docs at /docs)"
    words = [sys.executable, "-m", "caryatid.services.up", "up", str(known.state_dir), ",".join(names), ready]
    sys.stdout.flush()
    os.execve(sys.executable, words, {**os.environ, **told})  # noqa: S606  the parent of all need not carry all this


@cli.command("down")
@options
def down_command(**given: Any) -> None:
    """Stop what `caryatid up` started, data plane included."""
    from caryatid.services import up

    click.echo("Stopped." if up.down(settings(**given).state_dir) else "Nothing was running.")


def prepare(known: "Settings") -> None:
    """The state directory is there, and the database is as this version needs it; a copy was made if it was older.

    In a process of its own, so that the parent of all stays small.
    """
    import subprocess

    known.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    environment = {**os.environ, "CARYATID_STATE_DIR": str(known.state_dir), "CARYATID_DATABASE": known.database}
    done = subprocess.run([sys.executable, "-m", "caryatid", "db", "upgrade", "--backup"], env=environment, check=False)
    if done.returncode:
        raise CaryatidError("The database could not be prepared.")


def add_service(name: str, does: str) -> None:
    """`caryatid <name>` runs that service alone."""

    @cli.command(name, help=does)
    @click.option("--listen", help="Address and port (api, conductor, health, agent).")
    @click.option(
        "--token-file", type=click.Path(path_type=Path, allow_dash=True), help="Enrolment token of a new host (agent)."
    )
    @options
    def command(listen: str | None, token_file: Path | None, **given: Any) -> None:
        if listen is not None:
            given["listen" if name == "api" else f"{name}_listen"] = listen
        guarded(lambda: serve(name, settings(**given), token_file))


def serve(name: str, known: "Settings", token_file: Path | None = None) -> None:
    if name == "api":
        from caryatid.services import api

        api.run(known)
    elif name == "agent":
        from caryatid.services import agent

        agent.run(known, token_file)
    else:
        from caryatid.services import core

        core.run(known, CORE if name == "core" else (name,), token_for_agent=name == "core")


@cli.group("db")
def database_group() -> None:
    """The database: upgrade, check."""


@database_group.command("upgrade")
@click.option("--backup", is_flag=True, help="Copy an older SQLite database first.")
@options
def upgrade_command(backup: bool, **given: Any) -> None:  # noqa: FBT001  a flag
    """Bring the database to what this version needs."""
    from caryatid.store import migrate

    known = settings(**given)
    if backup and (copy := migrate.backup(known.database_url, known.state_dir / "backups")) is not None:
        click.echo(f"The older database was copied to {copy}.", err=True)
    migrate.upgrade(known.database_url)


@database_group.command("check")
@options
def check_command(**given: Any) -> None:
    """Say whether the database is as this version needs it."""
    from caryatid.store import migrate

    if not migrate.check(settings(**given).database_url):
        raise click.ClickException("The database is not as this version needs it; run `caryatid db upgrade`.")
    click.echo("The database is as it should be.")


@cli.command("host-token")
@click.option("--file", "path", type=click.Path(path_type=Path), help="Where to write it (0600); default: stdout.")
@options
def token_command(path: Path | None, **given: Any) -> None:
    """Make a token with which one host can enrol, once, within the hour."""
    from caryatid.control import authority
    from caryatid.store.database import Database

    known = settings(**given)
    registry = authority.open_registry(Database(known.database_url), known)
    token = authority.new_token(registry).encode()
    if path is None:
        click.echo(token)
        return
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(token)


for _service in SERVICES:
    add_service(_service.name, _service.does)


if __name__ == "__main__":
    main()
