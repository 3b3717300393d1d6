# SPDX-License-Identifier: Apache-2.0
"""What an amphora leaves on disk: its directory, the configuration in effect, and the numbers that must not fall."""

import contextlib
import grp
import hashlib
import os
import pwd
import re
import resource
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import orjson
from pydantic import BaseModel, ConfigDict

from caryatid.agent.settings import AgentSettings, make_private
from caryatid.wire.agent import DIRECTORY_TOKEN, RUN_TOKEN, Configuration, Server

TOMBSTONE_AGE_S = 7 * 24 * 3600
OUTPUT_BYTES_MAX = 1 << 20
MAXCONN = re.compile(r"@MAXCONN:(\d{1,9})@")
GLOBAL = re.compile(r"^global$", re.MULTILINE)
FRONTEND = re.compile(r"^(?:frontend|listen)\s", re.MULTILINE)


class Record(BaseModel):
    """What must survive the agent. `hash` is empty while an installation is under way, or when its end is not known."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    amphora_id: str
    loadbalancer_id: str
    generation: int
    fence: int
    hash: str = ""
    base_hash: str = ""
    pid: int = 0
    pid_start: int = 0
    """Start time of the master in clock ticks since boot, as in /proc: with the pid it names one process."""

    @property
    def order(self) -> tuple[int, int]:
        """What never falls."""
        return (self.fence, self.generation)


@dataclass(frozen=True)
class Files:
    """The paths of one amphora."""

    directory: Path
    run: Path
    user: str = ""
    """Whom HAProxy's workers run as; empty: the agent's own user."""

    @classmethod
    def of(cls, settings: AgentSettings, amphora_id: str) -> "Files":
        """The directory of its sockets is named by a digest: Unix sockets have short paths."""
        short = hashlib.sha256(amphora_id.encode()).hexdigest()[:12]
        return cls(settings.amphorae_dir / amphora_id, settings.sockets_dir / short, settings.worker_user)

    @property
    def configuration(self) -> Path:
        return self.directory / "haproxy.cfg"

    @property
    def candidate(self) -> Path:
        return self.directory / "haproxy.cfg.new"

    @property
    def previous(self) -> Path:
        return self.directory / "haproxy.cfg.previous"

    @property
    def good(self) -> Path:
        """The last text that an HAProxy has started with."""
        return self.directory / "haproxy.cfg.good"

    @property
    def servers(self) -> Path:
        return self.directory / "servers.json"

    @property
    def server_state(self) -> Path:
        return self.directory / "servers.state"

    @property
    def record(self) -> Path:
        return self.directory / "record.json"

    @property
    def output(self) -> Path:
        return self.directory / "output.log"

    @property
    def stats_socket(self) -> Path:
        return self.run / "stats.sock"

    @property
    def master_socket(self) -> Path:
        return self.run / "master.sock"

    @property
    def log_socket(self) -> Path:
        return self.run / "log.sock"

    def make(self) -> None:
        """Make both directories."""
        make_private(self.directory)
        make_private(self.run, passable=bool(self.user))

    def remove(self) -> None:
        """Remove all of it."""
        for path in (self.directory, self.run):
            shutil.rmtree(path, ignore_errors=True)

    def load_record(self) -> Record | None:
        """None if there is none that can be read."""
        try:
            return Record.model_validate_json(self.record.read_bytes())
        except (OSError, ValueError):
            return None

    def save_record(self, record: Record, *, durable: bool) -> None:
        write_atomically(self.record, record.model_dump_json().encode(), durable=durable)

    def load_servers(self) -> list[Server]:
        """The server table in effect; empty if unknown, which makes every later difference a reload."""
        try:
            return [Server(*row) for row in orjson.loads(self.servers.read_bytes())]
        except (OSError, ValueError, TypeError):
            return []

    def save_servers(self, servers: list[Server]) -> None:
        write_atomically(self.servers, orjson.dumps(servers, default=tuple), durable=False)

    def render(self, text: str) -> str:
        """The text with its tokens replaced: what only the host knows."""
        text = text.replace(DIRECTORY_TOKEN, str(self.directory)).replace(RUN_TOKEN, str(self.run))
        text = MAXCONN.sub(lambda found: str(min(int(found[1]), connections_max())), text)
        return GLOBAL.sub(self._global_section(), text, count=1)

    def _global_section(self) -> str:
        if not self.user:
            return "global"
        group = grp.getgrgid(pwd.getpwnam(self.user).pw_gid).gr_name
        return f"global\n    user {self.user}\n    group {group}"

    def give_to_worker(self, path: Path) -> None:
        """Let the workers write to a socket of ours, and nobody else."""
        if self.user:
            os.chown(path, pwd.getpwnam(self.user).pw_uid, -1)
        path.chmod(0o600)

    def has_frontend(self) -> bool:
        """Whether the stored configuration needs a process."""
        try:
            return needs_process(self.configuration.read_text())
        except OSError:
            return False

    def trim_output(self) -> None:
        """HAProxy appends to this file; cut it when it has grown."""
        with contextlib.suppress(OSError):
            if self.output.stat().st_size > OUTPUT_BYTES_MAX:
                os.truncate(self.output, 0)

    def output_since(self, offset_bytes: int) -> str:
        """What HAProxy wrote after this offset, at most the last 64 KiB."""
        try:
            with self.output.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(offset_bytes if offset_bytes <= size else 0, size - 65536))
                return file.read().decode(errors="replace")
        except OSError:
            return ""

    def output_size(self) -> int:
        try:
            return self.output.stat().st_size
        except OSError:
            return 0


def needs_process(text: str) -> bool:
    """Without any frontend HAProxy would have nothing to do (and would refuse to start)."""
    return FRONTEND.search(text) is not None


def connections_max() -> int:
    """HAProxy needs two files a connection and refuses to start if it cannot have them."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1_000_000 if hard == resource.RLIM_INFINITY else max((hard - 100) // 2, 10)


def write_atomically(path: Path, content: bytes, *, durable: bool) -> None:
    """Readers see the old or the new content, never a part. With `durable` it is on disk when this returns."""
    temporary = path.with_name(f".{path.name}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
        if durable:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
    temporary.replace(path)
    if durable:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def load_tombstones(directory: Path) -> dict[str, Record]:
    """Deleted amphorae whose late configurations are still refused. Those of more than a week ago are forgotten."""
    found = {}
    for path in directory.glob("*.json"):
        try:
            if path.stat().st_mtime < time.time() - TOMBSTONE_AGE_S:
                path.unlink()
                continue
            record = Record.model_validate_json(path.read_bytes())
        except (OSError, ValueError):
            continue
        found[record.amphora_id] = record
    return found


def save_tombstone(directory: Path, record: Record) -> None:
    write_atomically(directory / f"{record.amphora_id}.json", record.model_dump_json().encode(), durable=True)


def server_table(configuration: Configuration) -> dict[tuple[str, str], Server]:
    """Servers by (backend, name)."""
    return {(server.backend, server.name): server for server in configuration.servers}
