# SPDX-License-Identifier: Apache-2.0
"""The top of the command line: quick to start, whole, and free of what belongs to services."""

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from caryatid.cli.groups import ALIASES, GROUPS
from caryatid.cli.main import cli

HEAVY = ("pydantic", "caryatid.model", "httpx2", "rich")
FORBIDDEN = (
    "caryatid.store",
    "caryatid.control",
    "caryatid.drivers",
    "caryatid.api",
    "caryatid.services",
    "sqlalchemy",
)


def test_help_loads_nothing_heavy():
    code = (
        "import sys\nfrom caryatid.cli.main import cli\ncli(['--help'], standalone_mode=False)\n"
        f"print('loaded', [name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.endswith("loaded []\n")


def test_no_command_loads_a_service_or_the_store():
    code = (
        "import sys\nimport caryatid.cli.overview, caryatid.cli.progress, caryatid.cli.explain\n"
        "from caryatid.cli.looking import COMMANDS\nfrom caryatid.cli.commands import build\n"
        f"print([name for name in {FORBIDDEN} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[]\n"


def every_command():
    top = click.Context(cli, info_name="caryatid")
    for group in GROUPS:
        verbs = cli.get_command(top, group)
        context = click.Context(verbs, parent=top, info_name=group)
        for verb in verbs.list_commands(context):
            yield group, verb, verbs.get_command(context, verb)


@pytest.mark.parametrize(("group", "verb", "command"), [*every_command()])
def test_every_command_has_help_and_options_of_one_meaning(group, verb, command):
    options = [param for param in command.params if isinstance(param, click.Option)]
    flags = [flag for option in options for flag in (*option.opts, *option.secondary_opts)]
    names = [param.name for param in command.params]
    assert sorted(flags) == sorted({*flags})
    assert sorted(names) == sorted({*names})
    shown = CliRunner().invoke(cli, [group, verb, "--help"])
    assert shown.exit_code == 0
    assert "Usage:" in shown.output


@pytest.mark.parametrize("alias", ALIASES)
def test_a_group_has_its_longer_name_too(alias):
    assert CliRunner().invoke(cli, [alias, "list", "--help"]).exit_code == 0


def test_a_command_line_that_makes_no_sense_ends_with_2():
    assert CliRunner().invoke(cli, ["lb", "lost"]).exit_code == 2
    assert CliRunner().invoke(cli, ["lb", "show"]).exit_code == 2
    assert CliRunner().invoke(cli, ["lb", "create", "--admin-state", "x"]).exit_code == 2


@pytest.mark.parametrize("name", GROUPS)
def test_every_group_says_what_its_commands_are_for(name):
    result = CliRunner().invoke(cli, [name, "--help"])
    assert result.exit_code == 0, result.output
    assert all(verb in result.output for verb in (*GROUPS[name].verbs, *GROUPS[name].extra))
