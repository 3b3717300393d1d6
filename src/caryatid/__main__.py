# SPDX-License-Identifier: Apache-2.0
"""The entry: the command line, joined with the services that it can start."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from caryatid.cli.main import cli
from caryatid.errors import CaryatidError
from caryatid.services import SERVICES

if TYPE_CHECKING:
    from caryatid.config import Settings
    from caryatid.control.authority import Registry
    from caryatid.model.policy import Policy

NOOP = {"amphora_driver": "noop", "compute_driver": "noop", "network_driver": "noop", "secrets_driver": "noop"}
UP = ("core --leave-token", "agent", "api")
"""Processes of `caryatid up`, in the order in which they are started."""
UP_WITHOUT_AGENT = ("core", "api")
"""The same where the machine carries no amphorae."""


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
@click.option("--agent/--no-agent", default=True, help="Whether this machine carries amphorae itself.")
@options
def up_command(drivers: str, *, agent: bool, **given: Any) -> None:
    """Start everything on this machine; Ctrl-C stops it."""
    from caryatid.services import nameserver

    known = settings(**{**given, **(NOOP if drivers == "noop" else {})})
    commands = UP if agent and known.compute_driver == "hosts" else UP_WITHOUT_AGENT
    if nameserver.embedded(known):
        commands = (f"{commands[0]} --name-server", *commands[1:], "dns")
    else:
        nameserver.end(known)
    guarded(lambda: prepare(known))
    told = {f"CARYATID_{name.upper()}": str(getattr(known, name)) for name in known.model_fields_set}
    ready = f"Caryatid is up: http://{known.listen} (docs at /docs)"
    if known.identity_driver == "noauth":
        ready += "\nThere is no access control: whoever reaches this machine's own addresses may do everything."
    if known.dns_listen and (packages := nameserver.missing()):
        ready += f"\nNo name server of its own answers names: PowerDNS is not installed ({packages})."
    words = [sys.executable, "-m", "caryatid.services.up", "up", str(known.state_dir), ",".join(commands), ready]
    sys.stdout.flush()
    os.execve(sys.executable, words, {**os.environ, **told})  # noqa: S606  the parent of all need not carry all this


@cli.command("down")
@options
def down_command(**given: Any) -> None:
    """Stop what `caryatid up` started, data plane included, also what it has left serving."""
    from caryatid.services import agent, nameserver, up

    known = settings(**given)
    stopped = up.down(known.state_dir)
    left = 0 if stopped else guarded(lambda: agent.end(known)) + nameserver.end(known)
    click.echo("Stopped." if stopped or left else "Nothing was running.")


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
    @click.option("--listen", help="Address and port (api, conductor, health, dns).")
    @options
    def command(listen: str | None, **given: Any) -> None:
        if listen is not None:
            given["listen" if name == "api" else f"{name}_listen"] = listen
        guarded(lambda: serve(name, settings(**given)))


@cli.command("agent")
@click.option("--join", "agent_join", metavar="URL", help="The conductor (default: as the token says).")
@click.option(
    "--token-file",
    type=click.Path(path_type=Path, allow_dash=True),
    help="Enrolment token of a new host; - is standard input. Needed once.",
)
@click.option(
    "--seed",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File that tells a machine made for one amphora all it needs; removed once it is enrolled.",
)
@click.option("--listen", "agent_listen", help="Address and port (default 127.0.0.1, some port).")
@click.option("--advertise", "agent_advertise", metavar="URL", help="Where controllers reach it, if not there.")
@click.option("--name", "agent_name", help="What the host is called (default: the machine's name).")
@options
def agent_command(token_file: Path | None, seed: Path | None, **given: Any) -> None:
    """Runs amphorae on this host. Needs no database: its conductor, and a token to enrol with, once."""
    from caryatid.services import agent

    guarded(lambda: agent.run(settings(**given), token_file, seed))


@cli.command("checker")
@click.option("--region", "checker_region", metavar="R", help="Name or ID of its region (default: as the token says).")
@click.option("--join", "checker_join", metavar="URL", help="The conductor, or several with commas between.")
@click.option(
    "--token-file",
    type=click.Path(path_type=Path, allow_dash=True),
    help="Token of a new checker; - is standard input. Needed once.",
)
@options
def checker_command(token_file: Path | None, **given: Any) -> None:
    """Checks members of global load balancers from its region. Needs no database: a conductor, and a token, once."""
    from caryatid.services import checker

    guarded(lambda: checker.run(settings(**given), token_file))


@click.command("core")
@click.option("--leave-token", is_flag=True, help="An agent of this machine finds a token, if it needs one.")
@click.option("--name-server", is_flag=True, help="This machine's own name server is the DNS backend `embedded`.")
@options
def core_command(leave_token: bool, name_server: bool, **given: Any) -> None:  # noqa: FBT001  flags
    from caryatid.services import core

    guarded(lambda: core.run(settings(**given), token_for_agent=leave_token, name_server=name_server))


def serve(name: str, known: "Settings") -> None:
    if name == "api":
        from caryatid.services import api

        api.run(known)
    elif name == "dns":
        from caryatid.services import dns

        dns.run(known)
    else:
        from caryatid.services import core

        core.run(known, (name,))


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


def registry(known: "Settings") -> "Registry":
    """What lets hosts in."""
    from caryatid.control import authority
    from caryatid.store.database import Database

    return authority.open_registry(Database(known.database_url), known)


@click.command("token")
@click.option("--file", "path", type=click.Path(path_type=Path), help="Where to write it (0600); default: stdout.")
@options
def token_command(path: Path | None, **given: Any) -> None:
    """Make a token with which one host can enrol, once, within the hour. To be run where the database is."""
    from caryatid.control import authority

    token = authority.new_token(registry(settings(**given))).encode()
    if path is None:
        click.echo(token)
        return
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(token)


@click.command("rotate-key")
@click.argument("host")
@options
def rotate_key_command(host: str, **given: Any) -> None:
    """Replace the key with which a host (ID or name) signs its reports. To be run where the database is."""
    from caryatid.control import rotation
    from caryatid.store.database import Database

    known = settings(**given)
    guarded(lambda: rotation.replace_key(Database(known.database_url), host))
    click.echo("The host gets a new key when it comes next, within a quarter of an hour.")


@cli.group("authority")
def authority_group() -> None:
    """The certification authority. To be run where the database is."""


@authority_group.command("show")
@options
def authority_show_command(**given: Any) -> None:
    """Show who is trusted, and how far a rotation is."""
    from datetime import UTC, datetime

    from caryatid.control import rotation

    found = guarded(lambda: rotation.standing(registry(settings(**given)), datetime.now(UTC)))
    click.echo(f"{found.phase} since {found.since:%Y-%m-%d %H:%M} UTC")
    for number, (fingerprint, end) in enumerate(found.authorities):
        does = "trusted" if number else "issues "
        click.echo(f"{does}  {fingerprint}  until {end:%Y-%m-%d %H:%M} UTC")
    for host_id, name in found.waiting:
        click.echo(f"waiting for host {host_id}  {name}")


@authority_group.command("rotate")
@options
def authority_rotate_command(**given: Any) -> None:
    """Put a new authority in the place of the old one, as soon as every host knows it."""
    from datetime import UTC, datetime

    from caryatid.control import rotation

    guarded(lambda: rotation.begin(registry(settings(**given)), datetime.now(UTC)))
    click.echo("Begun; `caryatid authority show` says how far it is.")


@cli.group("access")
def access_group() -> None:
    """Who may ask. To be run where the database is."""


@access_group.command("reset-admin")
@options
def reset_admin_command(**given: Any) -> None:
    """Make the user `admin` an administrator again, with a new token, which is left in the state directory."""
    from caryatid.control import bootstrap
    from caryatid.store.database import Database

    known = settings(**given)
    path = guarded(lambda: bootstrap.reset(Database(known.database_url), known))
    click.echo(f"The token is in {path}; OpenStack's clients find it in clouds.yaml beside it.")


@cli.group("policy")
def policy_group() -> None:
    """Who may do what."""


@policy_group.command("show")
@click.option("--file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="What it would be with it.")
@options
def policy_show_command(file: Path | None, **given: Any) -> None:
    """Show every rule in force."""
    found = policy(settings(**given).policy_file if file is None else file)
    for rule, text in found.texts.items():
        click.echo(f'"{rule}": {json.dumps(text)}')


@policy_group.command("check")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def policy_check_command(file: Path) -> None:
    """Say whether a policy file can be used, and what it changes."""
    from caryatid.model.policy import TEXTS

    changed = {rule: text for rule, text in policy(file).texts.items() if text != TEXTS.get(rule)}
    for rule, text in changed.items():
        click.echo(f'"{rule}": {json.dumps(text)}')
    click.echo(f"{file} can be used; it changes {len(changed)} rules.", err=True)


def policy(file: Path | None) -> "Policy":
    """The rules in force with that file. A fault in it ends the command with a sentence."""
    from caryatid.model import policyfile

    try:
        return policyfile.read(file.read_text() if file else "", str(file))
    except (OSError, ValueError) as error:
        raise click.ClickException(str(error)) from None


cli.join("host", token_command)
cli.join("host", rotate_key_command)
cli.add_command(click.Command("host-token", hidden=True, params=token_command.params, callback=token_command.callback))

for _service in SERVICES:
    if _service.name == "core":
        cli.add_command(core_command)
        core_command.help = _service.does
    elif _service.name not in {"agent", "checker"}:
        add_service(_service.name, _service.does)


if __name__ == "__main__":
    main()
