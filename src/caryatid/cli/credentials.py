# SPDX-License-Identifier: Apache-2.0
"""What a command shows of who gives it: a token, or a name and a password. Never from the command line, which everybody
on a machine can see."""

import base64
import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import click

from caryatid.places import ADMIN_TOKEN, state_dir

from .failures import Failure

TOKEN, PASSWORD, STATE_DIR = "CARYATID_TOKEN", "CARYATID_PASSWORD", "CARYATID_STATE_DIR"
LISTENING = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
ADDRESS, STATE, OWNER = 1, 3, 7
"""Words of their lines (proc(5))."""
LISTENS = "0A"
HINT = "Who are you? A token: --token-file FILE, CARYATID_TOKEN. A name and a password: --login NAME."
"""What somebody reads who was not believed."""


def headers(token_file: str | None, login: str | None, local_port: int | None) -> dict[str, str]:
    """The headers that say who asks; {}: nobody in particular.

    First what the options say, then CARYATID_TOKEN; of an API on this machine (`local_port`) also the token of its
    first administrator, if this user can read it, and nobody else is listening there. Raises Failure for a file that
    cannot be read.
    """
    if login is not None:
        password = os.environ.get(PASSWORD) or click.prompt(f"Password of {login}", hide_input=True, err=True)
        return {"Authorization": "Basic " + base64.b64encode(f"{login}:{password}".encode()).decode()}
    token = _of_file(token_file) if token_file else os.environ.get(TOKEN, "").strip()
    token = token or (_administrators() if local_port and is_trusted(local_port) else "")
    return {"X-Auth-Token": token} if token else {}


def is_trusted(port: int, tables: Iterable[Path] = LISTENING) -> bool:
    """Whether all that listens on this port of the machine is this user's or root's: while Caryatid is down, anybody
    could take its port, and be shown what only it may see."""
    found = set()
    for table in tables:
        with suppress(OSError):
            for line in table.read_text().splitlines()[1:]:
                words = line.split()
                if words[STATE] == LISTENS and int(words[ADDRESS].rpartition(":")[2], 16) == port:
                    found.add(int(words[OWNER]))
    return found <= {0, os.getuid()}


def _of_file(path: str) -> str:
    try:
        return _one_line(sys.stdin.read() if path == "-" else Path(path).read_text())
    except (OSError, ValueError) as error:
        raise Failure(f"The token in {path} cannot be read: {error}.") from None


def _administrators() -> str:
    directory = os.environ.get(STATE_DIR)
    try:
        return _one_line(((Path(directory) if directory else state_dir()) / ADMIN_TOKEN).read_text())
    except (OSError, ValueError):
        return ""


def _one_line(text: str) -> str:
    text = text.strip()
    if not text.isascii() or not text.isprintable() or not text:
        raise ValueError("it is no token")
    return text
