# SPDX-License-Identifier: Apache-2.0
"""How a command can fail, each with its exit code."""

from collections.abc import Sequence
from typing import IO, Any

import click

EXIT_CODES: dict[int, str] = {
    0: "Done. With `--wait`: in effect.",
    1: "Refused, not found, or (with `--wait`) the job failed. The reasons are on standard error, one a line.",
    2: "The command line makes no sense; nothing was sent.",
    3: "`--wait` gave up after `--timeout` seconds. The change is accepted and goes on.",
    4: "The API cannot be reached.",
}


class Failure(click.ClickException):
    """The request is at fault, or what it names is not there; one line for each reason."""

    exit_code = 1

    def __init__(self, *reasons: str) -> None:
        self.reasons: Sequence[str] = reasons
        super().__init__("\n".join(reasons))

    def show(self, file: IO[Any] | None = None) -> None:
        for reason in self.reasons:
            click.echo(f"Error: {reason}", file=file, err=file is None)


class WaitEnded(Failure):
    """The deadline of `--wait` passed first."""

    exit_code = 3


class TryAgain(Failure):
    """The API is busy."""


class Unreachable(Failure):
    """Nobody answers at the address of the API, or not in time."""

    exit_code = 4
