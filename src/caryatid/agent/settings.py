# SPDX-License-Identifier: Apache-2.0
"""What an operator decides about an agent."""

import ctypes
import hashlib
import os
import pwd
import re
import shutil
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast

from caryatid.errors import CaryatidError

SOCKET_PATH_MAX = 107 - len("/0123456789ab/master.sock.12345.tmp")
"""Bytes that the runtime directory's path may have, so that Unix sockets below it fit, HAProxy's temporary ones too."""


HAPROXY_USER = "haproxy"
"""As distributions call it."""
CAN_CHANGE_USER = 1 << 6 | 1 << 7
"""CAP_SETGID and CAP_SETUID (capabilities(7))."""


SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - a directory in it is made 0700 and checked to be ours
IN_MEMORY = frozenset({0x01021994, 0x858458F6})
"""tmpfs and ramfs (statfs(2))."""
RUN_NETNS = Path("/run/netns")
"""Where `ip netns` looks."""
UPLINK = re.compile(r"(?P<name>[A-Za-z0-9_.-]{1,12})=(?:(?P<how>bridge|macvlan):)?(?P<interface>[^\s/:,]{1,15})")
"""Names of interfaces have 15 bytes at most, and a bridge is called `cy-<name>`."""
How = Literal["bridge", "macvlan", "existing"]


class UnusableDirectory(CaryatidError):
    """A directory that the agent would need is not safe or not possible to use."""


class UnusableUplink(CaryatidError):
    """The setting `agent_uplinks` cannot be understood."""


@dataclass(frozen=True)
class Uplink:
    """A physical network, and how amphorae get on it."""

    name: str
    how: How
    """`bridge`: `interface` is put into a bridge of the agent's; `macvlan`: amphorae are on it beside the host;
    `existing`: `interface` is a bridge of the operator's."""
    interface: str

    @classmethod
    def parse(cls, text: str) -> "tuple[Uplink, ...]":
        """`name=bridge:nic`, `name=macvlan:nic` or `name=bridge-that-exists`, with commas between. Raises
        UnusableUplink."""
        found = {}
        for part in filter(None, map(str.strip, text.split(","))):
            read = UPLINK.fullmatch(part)
            if read is None or read["name"] in found:
                raise UnusableUplink(
                    f"Uplink {part!r} is not understood: write name=bridge:nic, name=macvlan:nic or name=bridge, each "
                    "name once and with 12 characters at most."
                )
            found[read["name"]] = cls(read["name"], cast(How, read["how"] or "existing"), read["interface"])
        return tuple(found.values())


def _find_haproxy() -> str:
    return shutil.which("haproxy", path=f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin") or "haproxy"


def _find_user() -> str:
    """Root gives its rights away where it can: workers need none once the master has bound their ports."""
    try:
        status = Path("/proc/self/status").read_text()
        rights = int(status.partition("CapEff:")[2].split(maxsplit=1)[0], 16)
        uid = pwd.getpwnam(HAPROXY_USER).pw_uid
    except (OSError, ValueError, IndexError, KeyError):
        return ""
    may = os.geteuid() == 0 and rights & CAN_CHANGE_USER == CAN_CHANGE_USER and mapped(uid)
    return HAPROXY_USER if may else ""


def mapped(uid: int) -> bool:
    """Whether there is such a user and group here: in a user namespace there may be a few only."""
    for name in ("uid_map", "gid_map"):
        try:
            lines = [line.split() for line in Path("/proc/self", name).read_text().splitlines()]
        except OSError:
            return False
        if not any(int(first) <= uid < int(first) + int(count) for first, _, count in lines):
            return False
    return True


@dataclass(frozen=True)
class AgentSettings:
    """Everything an agent must be told. Times are seconds."""

    state_dir: Path
    """Keys, numbers and configurations; survives reboots."""
    run_dir: Path | None = None
    """Unix sockets. None: a short path that follows from `state_dir`."""
    listen: str = "127.0.0.1:0"
    """Address and port of the agent's API. Port 0 chooses one and remembers it."""
    advertise: str = ""
    """URL under which the controller reaches this agent; empty: `https://` and where it listens."""
    join: str = ""
    """URL of the conductor, whatever the token or an earlier enrolment says; empty: as they say."""
    haproxy: str = field(default_factory=_find_haproxy)
    """Path of HAProxy."""
    run_as: str = field(default_factory=_find_user)
    """User of HAProxy's workers, if the agent is root; empty: the agent's own. See worker_user."""
    token_file: Path | None = None
    """Holds the enrolment token; read once, only while the host is not enrolled. `-` is standard input."""
    token: str = field(default="", repr=False)
    """The token itself, if it came otherwise."""
    name: str = field(default_factory=lambda: os.uname().nodename)
    """What the host calls itself."""
    capacity: int = 1000
    """Amphorae that it may carry."""
    labels: dict[str, str] = field(default_factory=dict)
    """What placement may ask for."""
    uplinks: tuple[Uplink, ...] = ()
    """Physical networks that amphorae can be on."""
    uid_base: int = 0
    """Amphora number n in a namespace runs as this uid and gid plus n, where the agent may; 0: as `run_as`."""
    report_interval_s: float | None = None
    """None: as the conductor says."""
    snapshot_interval_s: float | None = None
    """None: as the conductor says."""

    @property
    def amphorae_dir(self) -> Path:
        return self.state_dir / "amphorae"

    @property
    def tombstones_dir(self) -> Path:
        return self.state_dir / "tombstones"

    @property
    def sockets_dir(self) -> Path:
        """The runtime directory. The same for the same state directory, so that a new agent finds its HAProxies."""
        if self.run_dir is not None:
            return self.run_dir
        digest = self._digest()
        base = "/run" if self.run_as else os.environ.get("XDG_RUNTIME_DIR", "")
        if base and os.access(base, os.W_OK) and len(base) < SOCKET_PATH_MAX - 20:
            return Path(base) / f"caryatid-{digest}"
        return Path("/tmp") / f"caryatid-{os.getuid()}-{digest}"  # noqa: S108 - made 0700 and checked to be ours

    @property
    def keys_dir(self) -> Path | None:
        """Where private keys are: beside the sockets, if that is in memory; None: nowhere here is."""
        places = (self.sockets_dir / "keys", SHARED_MEMORY / f"caryatid-{os.getuid()}-{self._digest()}")
        return next(filter(in_memory, places), None)

    @property
    def namespaces(self) -> Path:
        """How the paths of amphorae's network namespaces begin: where `ip netns` looks, if we may write there. The
        names tell this agent's from those of others on the machine."""
        may = os.geteuid() == 0 and os.access(RUN_NETNS.parent, os.W_OK)
        directory = RUN_NETNS if may else self.sockets_dir / "netns"
        return directory / f"cy-{self._digest()}-"

    @property
    def worker_user(self) -> str:
        """`run_as`, where that user can reach its log socket: all above it must let others pass."""
        passable = all(path.stat().st_mode & 0o001 for path in self.sockets_dir.resolve().parents if path.exists())
        return self.run_as if passable else ""

    def _digest(self) -> str:
        """Stands for the state directory."""
        return hashlib.sha256(str(self.state_dir.resolve()).encode()).hexdigest()[:8]

    def make_directories(self) -> None:
        """Make what is missing, all of it 0700 and our own. Raises UnusableDirectory."""
        for path in (self.state_dir, self.amphorae_dir, self.tombstones_dir):
            make_private(path)
        make_private(self.sockets_dir, passable=bool(self.worker_user))
        if len(str(self.sockets_dir)) > SOCKET_PATH_MAX:
            raise UnusableDirectory(
                f"The runtime directory {self.sockets_dir} is longer than {SOCKET_PATH_MAX} bytes; sockets do not fit."
            )


def in_memory(path: Path) -> bool:
    """Whether what is written there is kept in memory, as the kernel says of the nearest directory that there is."""
    while not path.exists():
        path = path.parent
    told = ctypes.create_string_buffer(1024)
    if ctypes.CDLL(None).statfs(os.fsencode(path), told):
        return False
    return ctypes.c_long.from_buffer(told).value & 0xFFFFFFFF in IN_MEMORY


def make_private(path: Path, *, passable: bool = False) -> None:
    """Make a directory 0700, or check that it is a real one of ours: in a shared place others could have made it.

    `passable`: 0711, for workers of another user that must reach a socket of theirs inside.
    """
    mode = 0o711 if passable else 0o700
    path.mkdir(mode=mode, parents=True, exist_ok=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise UnusableDirectory(f"{path} is not a directory of uid {os.getuid()}.")
    if stat.S_IMODE(found.st_mode) != mode:
        path.chmod(mode)
