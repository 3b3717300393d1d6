# SPDX-License-Identifier: Apache-2.0
"""What an operator decides about an agent."""

import hashlib
import os
import shutil
import stat
from dataclasses import dataclass, field
from pathlib import Path

from caryatid.errors import CaryatidError

SOCKET_PATH_MAX = 107 - len("/0123456789ab/master.sock.12345.tmp")
"""Bytes that the runtime directory's path may have, so that every Unix socket below it, also HAProxy's temporary ones, fits."""


class UnusableDirectory(CaryatidError):
    """A directory that the agent would need is not safe or not possible to use."""


def _find_haproxy() -> str:
    return shutil.which("haproxy", path=f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin") or "haproxy"


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
    haproxy: str = field(default_factory=_find_haproxy)
    """Path of HAProxy."""
    token_file: Path | None = None
    """Holds the enrolment token; read once, only while the host is not enrolled. `-` is standard input."""
    name: str = field(default_factory=lambda: os.uname().nodename)
    """What the host calls itself."""
    capacity: int = 1000
    """Amphorae that it may carry."""
    labels: dict[str, str] = field(default_factory=dict)
    """What placement may ask for."""
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
        digest = hashlib.sha256(str(self.state_dir.resolve()).encode()).hexdigest()[:8]
        base = os.environ.get("XDG_RUNTIME_DIR", "")
        if base and os.access(base, os.W_OK) and len(base) < SOCKET_PATH_MAX - 20:
            return Path(base) / f"caryatid-{digest}"
        return Path("/tmp") / f"caryatid-{os.getuid()}-{digest}"  # noqa: S108 - made 0700 and checked to be ours

    def make_directories(self) -> None:
        """Make what is missing, all of it 0700 and our own. Raises UnusableDirectory."""
        for path in (self.state_dir, self.amphorae_dir, self.tombstones_dir, self.sockets_dir):
            make_private(path)
        if len(str(self.sockets_dir)) > SOCKET_PATH_MAX:
            message = f"The runtime directory {self.sockets_dir} is longer than {SOCKET_PATH_MAX} bytes; Unix sockets would not fit."
            raise UnusableDirectory(message)


def make_private(path: Path) -> None:
    """Make a directory 0700, or check that it is a real one of ours: others could have made it first in a shared place."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise UnusableDirectory(f"{path} is not a directory of uid {os.getuid()}.")
    if found.st_mode & 0o077:
        path.chmod(0o700)
