# SPDX-License-Identifier: Apache-2.0
"""The page of commands."""

from collections.abc import Iterator, Sequence

import click

import caryatid.__main__  # noqa: F401  the services add their commands
from caryatid.cli.main import cli
from caryatid.cli.session import change_options, connection_options

from .markdown import code, table


def commands() -> Iterator[str]:
    """Every command with its arguments and options."""
    yield "# Commands"
    yield (
        "`--help` says the same. Wherever an id is asked for, a name does if only one has it; a member may also be "
        "called by its `address:port`. Exit codes: [errors](errors.md#of-commands)."
    )
    yield "## Options of every command that speaks to the API"
    yield _options(connection_options())
    yield "Commands that change something also take:"
    yield _options(change_options(frozenset()))
    common: set[str | None] = {param.name for param in (*connection_options(), *change_options(frozenset()))}
    top = click.Context(cli, info_name="caryatid")
    for name in cli.list_commands(top):
        command = cli.get_command(top, name)
        if command is not None and not command.hidden:
            yield from _command(click.Context(command, parent=top, info_name=name), common, 2)


def _command(context: click.Context, common: set[str | None], depth: int) -> Iterator[str]:
    command = context.command
    yield f"{'#' * depth} {context.command_path}"
    yield " ".join((command.help or "").split())
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            if (inner := command.get_command(context, name)) is not None:
                yield from _command(click.Context(inner, parent=context, info_name=name), common, depth + 1)
        return
    usage = " ".join(command.collect_usage_pieces(context))
    yield f"```\n{context.command_path} {usage}\n```"
    own = [param for param in command.params if isinstance(param, click.Option) and param.name not in common]
    if own:
        yield _options(own)


def _options(params: Sequence[click.Parameter]) -> str:
    rows = []
    for param in params:
        if isinstance(param, click.Option) and not param.hidden:
            names = ", ".join(code(name) for name in (*param.opts, *param.secondary_opts))
            rows.append([names, _takes(param), param.help or ""])
    return table(["Option", "Takes", "Meaning"], rows)


def _takes(param: click.Option) -> str:
    if param.is_flag:
        return ""
    if isinstance(param.type, click.Choice):
        words = " ".join(code(str(choice)) for choice in param.type.choices)
    else:
        words = param.metavar or param.type.name
    return words + (", repeatable" if param.multiple else "")
