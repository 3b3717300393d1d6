# SPDX-License-Identifier: Apache-2.0
"""HAProxy's runtime API over its Unix sockets: commands, and what their answers mean.

One connection takes one line of commands, of at most HAProxy's buffer (16 KiB); HAProxy closes it after the answer.
"""

import asyncio
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from caryatid.wire.agent import Server

CALL_TIMEOUT_S = 5.0
MASTER_TIMEOUT_S = 0.1
LINE_BYTES_MAX = 15_000
ANSWER_BYTES_MAX = 64 << 20
FORCED_MAINTENANCE = 0x01
FORCED_DRAIN = 0x08
INHERITED_DRAIN = 0x10
OUT_OF_USE = FORCED_MAINTENANCE | FORCED_DRAIN | INHERITED_DRAIN
SILENCE = frozenset({"", "New server registered.", "Server deleted."})
STILL_CONNECTED = "Server still has connections"
STATE_COLUMNS = 19
"""Columns of `show servers state` that we read."""
EXPRESSIBLE = re.compile(r"[\w .:/@%,=()+\-\[\]]*", re.ASCII)


class RuntimeUnavailable(Exception):
    """The socket did not answer in time."""


async def call(socket: Path, commands: str, timeout_s: float = CALL_TIMEOUT_S) -> str:
    """Send one line of commands (joined by `;`) and return all that HAProxy answers. Raises RuntimeUnavailable."""
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_unix_connection(str(socket), limit=1 << 18)
            try:
                writer.write(commands.encode() + b"\n")
                writer.write_eof()
                chunks = []
                size = 0
                while chunk := await reader.read(1 << 18):
                    chunks.append(chunk)
                    size += len(chunk)
                    if size > ANSWER_BYTES_MAX:
                        raise RuntimeUnavailable("answer too long")
            finally:
                writer.close()
    except (OSError, TimeoutError) as error:
        raise RuntimeUnavailable(f"{socket.name}: {error or 'no answer in time'}") from error
    return b"".join(chunks).decode(errors="replace")


async def call_all(socket: Path, commands: Sequence[str]) -> list[str]:
    """Send many commands in as few connections as the line limit allows, in order; return what is not a plain success.

    Commands that must follow each other have to be in order already: lines are sent one after the other.
    """
    complaints: list[str] = []
    for line in _lines(commands):
        answer = await call(socket, line)
        complaints += [said for said in map(str.strip, answer.splitlines()) if said not in SILENCE]
    return complaints


async def converse(socket: Path, commands: Sequence[str], timeout_s: float = CALL_TIMEOUT_S) -> str:
    """Send commands, of which some have a payload (`<<`, and an empty line at its end), over one connection; return
    what HAProxy says to all of them together, in order. Raises RuntimeUnavailable."""
    return await call(socket, "\n".join(["prompt", *commands, "quit"]), timeout_s)


def _lines(commands: Iterable[str]) -> Iterable[str]:
    line: list[str] = []
    size = 0
    for command in commands:
        if line and size + len(command) + 1 > LINE_BYTES_MAX:
            yield ";".join(line)
            line, size = [], 0
        line.append(command)
        size += len(command) + 1
    if line:
        yield ";".join(line)


def expressible(server: Server) -> bool:
    """Whether its values can be said at run time without being taken for syntax there."""
    return all(EXPRESSIBLE.fullmatch(value) for value in (server.backend, server.name, server.address, server.options))


def add(server: Server) -> list[str]:
    """Commands that make a server. It starts in maintenance, so it is taken out of it if it shall be in use."""
    name = f"{server.backend}/{server.name}"
    address = f"[{server.address}]" if ":" in server.address else server.address
    commands = [f"add server {name} {address}:{server.port} weight {server.weight} {server.options}".rstrip()]
    if "check" in server.options.split():
        commands.append(f"enable health {name}")
    if server.enabled:
        commands.append(f"enable server {name}")
    return commands


def change(old: Server, new: Server) -> list[str]:
    """Commands that turn one state of a server into another; only weight and enablement may differ."""
    name = f"{new.backend}/{new.name}"
    commands = []
    if old.weight != new.weight:
        commands.append(f"set server {name} weight {new.weight}")
    if old.enabled != new.enabled:
        commands.append(f"set server {name} state {'ready' if new.enabled else 'maint'}")
    return commands


def close_off(server: Server) -> str:
    """The command after which a server gets nothing new."""
    return f"set server {server.backend}/{server.name} state maint"


def remove(server: Server) -> str:
    """The command that removes a server in maintenance without connections."""
    return f"del server {server.backend}/{server.name}"


def expel(backend: str, name: str) -> list[str]:
    """Commands that remove a server in maintenance unless it has requests under way.

    Only entering maintenance closes idle connections, so it leaves and enters it once more; these connections are gone
    when the commands are sent for the second time.
    """
    server = f"{backend}/{name}"
    return [f"set server {server} state drain", f"set server {server} state maint", f"del server {server}"]


class ServerState(NamedTuple):
    """A line of `show servers state`."""

    backend: str
    name: str
    address: str
    port: int
    admin: int
    weight: int
    line: str

    @property
    def in_use(self) -> bool:
        return not self.admin & OUT_OF_USE


async def server_states(socket: Path, backend: str = "") -> list[ServerState]:
    """All servers, or those of one backend, as HAProxy has them now."""
    return parse_server_states(await call(socket, f"show servers state {backend}".rstrip()))


def parse_server_states(answer: str) -> list[ServerState]:
    """Version 1 of the format (HAProxy management guide, `show servers state`)."""
    states = []
    for line in answer.splitlines():
        columns = line.split(" ", STATE_COLUMNS)
        if len(columns) > STATE_COLUMNS and columns[0] != "#":
            _, backend, _, name, address, _, admin, weight = columns[:8]
            states.append(ServerState(backend, name, address, int(columns[18]), int(admin), int(weight), line))
    return states


def as_state_file(states: Iterable[ServerState], wanted: dict[tuple[str, str], Server]) -> str:
    """What a reload may inherit: the health of servers that are in use before and after.

    A line whose enablement or weight is not what the new configuration says is left out, or it would override it.
    """
    kept = []
    for state in states:
        server = wanted.get((state.backend, state.name))
        same_place = server and (server.port, server.address.lower()) == (state.port, state.address.lower())
        if server and same_place and server.enabled and state.in_use and server.weight == state.weight:
            columns = state.line.split(" ", 7)
            columns[6] = "0"
            kept.append(" ".join(columns))
    return "\n".join(["1", STATE_HEADER, *kept, ""])


STATE_HEADER = (
    "# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight "
    "srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state "
    "bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl srv_check_port srv_check_addr "
    "srv_agent_addr srv_agent_port"
)


class Row(NamedTuple):
    """A line of `show stat`: what we read of a frontend, backend or server. Empty columns are 0."""

    proxy: str
    name: str
    kind: str
    """FRONTEND, BACKEND or SERVER."""
    status: str
    sessions: int
    sessions_max: int
    sessions_total: int
    bytes_in: int
    bytes_out: int
    request_errors: int
    check: str = ""
    """Of a server that is DOWN: what its last check found, and which status it got (`L7STS 503`)."""


FRONTEND, BACKEND, SERVER = "0", "1", "2"
STATISTICS_COLUMNS = 33
PID = re.compile(r"^Pid: (\d+)$", re.MULTILINE)


async def statistics(socket: Path) -> list[Row]:
    """`show stat`: a row for each frontend, backend and server."""
    return parse_statistics(await call(socket, "show stat"))


async def statistics_of(socket: Path, worker: int) -> list[Row] | None:
    """The same, of this worker; None if another answers: after a reload the new one does before it is known."""
    answer = await call(socket, "show info;show stat")
    pid = PID.search(answer)
    return parse_statistics(answer) if pid and int(pid[1]) == worker else None


def parse_statistics(answer: str) -> list[Row]:
    """CSV (management guide, 9.1). Only free text is ever quoted, and all columns that we read come before it."""
    rows = []
    for line in answer.splitlines():
        columns = line.split(",", STATISTICS_COLUMNS)
        if len(columns) > STATISTICS_COLUMNS and not line.startswith("#"):
            numbers = (int(columns[at] or 0) for at in (4, 6, 7, 8, 9, 12))
            drained = columns[32] == SERVER and columns[17:19] == ["UP", "0"]  # HAProxy calls it UP all the same
            status = "DRAIN" if drained else columns[17]
            check = _check(columns[STATISTICS_COLUMNS]) if status == "DOWN" else ""
            rows.append(Row._make((columns[0], columns[1], columns[32], status, *numbers, check)))
    return rows


def _check(columns: str) -> str:
    """Of the columns behind those that are always read; a check that is under way is marked by `* `."""
    _, _, _, status, code, *_ = [*columns.split(",", 5), "", "", "", "", ""]
    return f"{status.removeprefix('* ')} {code}".strip()


async def information(socket: Path, timeout_s: float = CALL_TIMEOUT_S) -> dict[str, str]:
    """`show info`."""
    answer = await call(socket, "show info", timeout_s)
    return {key: value for key, _, value in (line.partition(": ") for line in answer.splitlines()) if value}


@dataclass(frozen=True)
class Processes:
    """What the master says about itself and its workers (`show proc`)."""

    master: int
    reloads: int
    failed: int
    """Reloads since the last good one that failed."""
    workers: tuple[int, ...]
    """Current ones."""
    old_workers: tuple[int, ...]
    """Replaced by a reload, finishing their connections."""


async def processes(master_socket: Path, timeout_s: float = MASTER_TIMEOUT_S) -> Processes:
    """Short deadline: while a master executes itself anew, a connection may hang."""
    return parse_processes(await call(master_socket, "show proc", timeout_s))


def parse_processes(answer: str) -> Processes:
    """Raises RuntimeUnavailable if there is no master in it."""
    section = "workers"
    found: dict[str, list[int]] = {"workers": [], "old": []}
    master: tuple[int, int, int] | None = None
    for line in answer.splitlines():
        if line.startswith("# old workers"):
            section = "old"
        elif line.startswith("# programs"):
            section = "programs"
        elif match := re.match(r"(\d+)\s+master\s+(\d+)(?:\s+\[failed: (\d+)\])?", line):
            master = (int(match[1]), int(match[2]), int(match[3] or 0))
        elif (match := re.match(r"(\d+)\s+worker\s", line)) and section in found:
            found[section].append(int(match[1]))
    if master is None:
        raise RuntimeUnavailable("show proc names no master")
    return Processes(*master, tuple(found["workers"]), tuple(found["old"]))
