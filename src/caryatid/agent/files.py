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
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import orjson
from pydantic import BaseModel, ConfigDict

from caryatid.agent.keys import Keys, named_in
from caryatid.agent.settings import AgentSettings, make_private
from caryatid.places import write_atomically
from caryatid.wire.agent import DIRECTORY_TOKEN, KEYS_TOKEN, RUN_TOKEN, Server
from caryatid.wire.network import Plug

TOMBSTONE_AGE_S = 7 * 24 * 3600
OUTPUT_BYTES_MAX = 1 << 20
MAXCONN = re.compile(r"@MAXCONN:(\d{1,9})@")
GLOBAL = re.compile(r"^global$", re.MULTILINE)
GLOBAL_MAXCONN = re.compile(r"^    maxconn (\d+)$", re.MULTILINE)
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
    network: Plug | None = None
    """How it is connected; None: it uses the host's own network."""
    number: int = 0
    """No other amphora of this host has it; 0: it needs none."""
    uid: int = 0
    """Of its workers alone; 0: they run as all others do."""
    claims: bool = False
    """It was told to have its VIPs, and has not given them up since."""
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
    uid: int = 0
    """Theirs alone, instead of that user's: then they see no other files than those in `run`. 0: none."""
    keys_dir: Path | None = None
    """In memory; None: nothing is, here."""

    @classmethod
    def of(cls, settings: AgentSettings, amphora_id: str) -> "Files":
        """The directory of its sockets is named by a digest: Unix sockets have short paths."""
        short = hashlib.sha256(amphora_id.encode()).hexdigest()[:12]
        return cls(
            settings.amphorae_dir / amphora_id,
            settings.sockets_dir / short,
            settings.worker_user,
            keys_dir=place / short if (place := settings.keys_dir) else None,
        )

    @property
    def keys(self) -> Keys | None:
        """None: nothing secret can be kept here."""
        return Keys(self.keys_dir, self.uid) if self.keys_dir else None

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
    def ruleset(self) -> Path:
        return self.directory / "firewall.nft"

    @property
    def datagrams(self) -> Path:
        """Who has them, and how they are checked."""
        return self.directory / "datagrams.json"

    @property
    def datagrams_state(self) -> Path:
        """What of that is in the kernel: gone when the namespace is."""
        return self.run / "datagrams.json"

    @property
    def keepalived(self) -> Path:
        return self.directory / "keepalived.conf"

    @property
    def keepalived_candidate(self) -> Path:
        return self.directory / "keepalived.conf.new"

    @property
    def keepalived_output(self) -> Path:
        return self.directory / "keepalived.log"

    @property
    def keepalived_pid(self) -> Path:
        return self.run / "keepalived.pid"

    @property
    def vrrp_pid(self) -> Path:
        return self.run / "vrrp.pid"

    @property
    def vrrp_fifo(self) -> Path:
        """Where keepalived says what becomes of the pair."""
        return self.run / "vrrp.fifo"

    @property
    def connected(self) -> Path:
        """There once its namespace is all that it shall be; an agent may have been killed while it was not."""
        return self.run / "connected"

    @property
    def serving(self) -> Path:
        """What keepalived adds to its priority: whether HAProxy serves."""
        return self.run / "serving"

    @property
    def stats_socket(self) -> Path:
        return self.run / "stats.sock"

    @property
    def master_socket(self) -> Path:
        return self.run / "master.sock"

    @property
    def peers_socket(self) -> Path:
        """Where an HAProxy that is replaced tells its successor whom it sent where, if it has no address for that."""
        return self.run / "peers.sock"

    @property
    def log_socket(self) -> Path:
        return self.run / "log.sock"

    def make(self) -> None:
        """Make both directories."""
        make_private(self.directory)
        make_private(self.run, passable=bool(self.user or self.uid))
        if self.uid:
            self._mirror()

    def _mirror(self) -> None:
        """Make `run` mean the same where it is the root directory: HAProxy's paths are read before and after chroot."""
        mirror = self.run / self.run.relative_to("/")
        mirror.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
        if not mirror.is_symlink():
            mirror.symlink_to("/")

    def remove(self) -> None:
        """Remove all of it."""
        for path in (self.directory, self.run):
            shutil.rmtree(path, ignore_errors=True)
        if self.keys:
            self.keys.remove()

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

    def save_servers(self, servers: Iterable[Server]) -> None:
        write_atomically(self.servers, orjson.dumps(list(servers), default=tuple), durable=False)

    def render(self, text: str) -> str:
        """The text with its tokens replaced: what only the host knows."""
        most = connections_max(besides=text.count("\n    bind ") + text.count(" check "))
        text = MAXCONN.sub(lambda found: str(min(int(found[1]), most)), self.render_paths(text))
        return GLOBAL.sub(self._global_section(), text, count=1)

    def server_table(self, servers: Iterable[Server]) -> dict[tuple[str, str], Server]:
        """Servers by (backend, name), with the tokens in their options replaced."""
        return {(one.backend, one.name): one._replace(options=self.render_paths(one.options)) for one in servers}

    def render_paths(self, text: str) -> str:
        """Of the tokens, only those for directories."""
        if "@" not in text:
            return text
        text = text.replace(DIRECTORY_TOKEN, str(self.directory)).replace(RUN_TOKEN, str(self.run))
        return text.replace(KEYS_TOKEN, str(self.keys_dir)) if self.keys_dir else text

    def _global_section(self) -> str:
        if self.uid:
            return f"global\n    uid {self.uid}\n    gid {self.uid}\n    chroot {self.run}"
        if not self.user:
            return "global"
        group = grp.getgrgid(pwd.getpwnam(self.user).pw_gid).gr_name
        return f"global\n    user {self.user}\n    group {group}"

    def give_to_worker(self, path: Path) -> None:
        """Let the workers write to a socket of ours, and nobody else."""
        if self.uid or self.user:
            os.chown(path, self.uid or pwd.getpwnam(self.user).pw_uid, -1)
        path.chmod(0o600)

    def give_made(self) -> None:
        """The same for the socket over which workers speak with their successors, which HAProxy makes itself."""
        if self.peers_socket.exists():
            self.give_to_worker(self.peers_socket)

    def open_files(self) -> int:
        """How many files HAProxy may have open with the stored configuration."""
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = open_files(self.configuration.read_text())
        return wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)

    def load_ruleset(self) -> str:
        """The one for nftables that is in effect; empty: none."""
        try:
            return self.ruleset.read_text()
        except OSError:
            return ""

    def save_ruleset(self, ruleset: str) -> None:
        write_atomically(self.ruleset, ruleset.encode(), durable=False)

    def arrange_keys(self) -> list[str]:
        """The names in the stored configuration stand for what it says. Returns the digests of contents that are not
        here; then nothing has changed."""
        wanted = named_in(self.configuration)
        if self.keys is None:
            return list(wanted.values())
        missing = self.keys.missing(wanted.values()) if wanted else []
        if not missing:
            self.keys.link(wanted)
        return missing

    def prune_keys(self) -> None:
        """What neither the stored configuration nor the last good one names is gone, soon."""
        if self.keys:
            self.keys.keep({*named_in(self.configuration).values(), *named_in(self.good).values()})

    def has_frontend(self) -> bool:
        """Whether the stored configuration needs a process."""
        try:
            return needs_process(self.configuration.read_text())
        except OSError:
            return False

    def trim_output(self) -> None:
        """HAProxy and keepalived append to these files; cut what has grown."""
        for path in (self.output, self.keepalived_output):
            with contextlib.suppress(OSError):
                if path.stat().st_size > OUTPUT_BYTES_MAX:
                    os.truncate(path, 0)

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


def open_files(text: str) -> int:
    """As many as HAProxy asks for itself, and some: two for each connection, and for each server a check."""
    connections = int(found[1]) if (found := GLOBAL_MAXCONN.search(text)) else 0
    return 2 * connections + 2 * text.count("\n    server ") + 1000


def needs_process(text: str) -> bool:
    """Without any frontend HAProxy would have nothing to do (and would refuse to start)."""
    return FRONTEND.search(text) is not None


def connections_max(besides: int = 0) -> int:
    """HAProxy needs two files a connection, `besides` one for each port and each check, and refuses to start if it
    cannot have them."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1_000_000 if hard == resource.RLIM_INFINITY else max((hard - 100 - besides) // 2, 10)


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
