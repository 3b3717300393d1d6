# SPDX-License-Identifier: Apache-2.0
"""The command line's top: `cli`, whose groups are built when they are called, so that `--help` is quick."""

from collections.abc import Sequence
from typing import Any

import click

from .groups import ALIASES, GROUPS, Group

SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 120}
SHORT = {
    "create": "Create one.",
    "list": "List all.",
    "show": "Show all attributes of one.",
    "set": "Change attributes of one.",
    "unset": "Put attributes of one back to their defaults.",
    "delete": "Delete some.",
    "failover": "Replace what serves it.",
    "stats": "Bytes, connections and errors.",
    "status": "It and all below it, with statuses.",
    "replace": "All members of a pool, from a file.",
    "defaults": "Limits of projects whose quota says nothing.",
    "configure": "Give its agent the configuration anew.",
    "capabilities": "What profiles may say to it.",
    "wait": "Wait until jobs end.",
    "follow": "What happens, as it happens.",
    "drain": "Place nothing new on it; what it has stays.",
    "evacuate": "Drain it, and replace its amphorae on other hosts.",
    "enable": "Place new amphorae on it again.",
    "revoke": "Believe it no longer, for good.",
    "password": "Give it another password.",
    "deliveries": "What its receiver has not accepted.",
    "replay": "Send again.",
    "test": "Try it once, and tell what is answered.",
    "token": "What lets one checker in.",
    "secret": "Sign with another secret.",
    "explain": "What is answered, to whom, and why.",
    "history": "What was decided and answered when, and why.",
    "watch": "A live screen: answers, statuses, why, events.",
    "sync": "Tell the name servers again.",
    "diagnostics": "Ask its agent how it is, now.",
    "unfreeze": "What the guard holds back is let go.",
    "log": "What was done, a line each.",
    "cancel": "Take back what has not begun.",
    "jobs": "What jobs of ours did there.",
    "tell": "Say how members are.",
}
"""What `caryatid <group> --help` says of each verb."""
LOOKING = {
    "status": "Everything on one screen, worst first.",
    "watch": "A live screen: load balancers, jobs, events.",
    "explain": "The attributes of a kind, with types, defaults and limits.",
}
"""Commands that look at more than one resource (`looking.py`)."""


class Top(click.Group):
    """The groups of resources, beside commands that were added in the usual way."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.joined: dict[str, list[click.Command]] = {}
        """Verbs of groups that do not speak to the API; the entry joins them."""

    def join(self, group: str, verb: click.Command) -> None:
        """`verb` is one of the group's."""
        self.joined.setdefault(group, []).append(verb)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*GROUPS, *LOOKING, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if group := GROUPS.get(ALIASES.get(cmd_name, cmd_name)):
            return Verbs(group, self.joined.get(group.name, ()))
        if cmd_name in LOOKING:
            from .looking import COMMANDS

            return COMMANDS[cmd_name]()
        return super().get_command(ctx, cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        own = {name: self.commands[name] for name in super().list_commands(ctx) if not self.commands[name].hidden}
        with formatter.section("Resources"):
            formatter.write_dl([(group.name, group.help) for group in GROUPS.values()])
        with formatter.section("Commands"):
            added = [(name, command.get_short_help_str(100)) for name, command in own.items()]
            formatter.write_dl([*LOOKING.items(), *added])


class Verbs(click.Group):
    """The verbs of one group; a verb is built when it is called."""

    def __init__(self, group: Group, joined: Sequence[click.Command] = ()) -> None:
        super().__init__(group.name, commands=joined, help=group.help, context_settings=SETTINGS)
        self.of = group

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        return [*self.of.verbs, *self.of.extra, *self.commands]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in self.commands:
            return self.commands[cmd_name]
        if cmd_name not in self.list_commands(ctx):
            return None
        from .commands import build

        return build(self.of, cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  so here
        with formatter.section("Commands"):
            made = [(verb, SHORT[verb]) for verb in (*self.of.verbs, *self.of.extra)]
            joined = [(verb.name or "", verb.get_short_help_str(100)) for verb in self.commands.values()]
            formatter.write_dl([*made, *joined])


@click.group(cls=Top, context_settings=SETTINGS)
@click.version_option(package_name="caryatid", prog_name="caryatid")
def cli() -> None:
    """Load balancing as a service.

    Start everything on this machine with `caryatid up`, look at it with `caryatid status`, and make a load balancer
    with `caryatid lb create NAME --wait`. Every command has --help.
    """
