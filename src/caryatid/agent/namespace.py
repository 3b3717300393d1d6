# SPDX-License-Identifier: Apache-2.0
"""Network namespaces: made, entered, left and removed; each is a file that other programs can name.

Whoever enters one does so with its own thread alone (setns(2)): nothing else of the agent notices. Sockets opened
inside stay inside, whatever the thread does afterwards; `/proc/sys/net` shows the namespace of the reading thread.
"""

import contextlib
import ctypes
import errno
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from caryatid.errors import CaryatidError

CLONE_NEWNET = 0x40000000
MNT_DETACH = 2
MS_BIND, MS_REC, MS_SHARED = 0x1000, 0x4000, 0x100000
COMMAND_DEADLINE_S = 10.0
SEARCHED = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/usr/bin:/bin"
OWN = "/proc/thread-self/ns/net"
SYSCTL = Path("/proc/sys")


class NamespaceError(CaryatidError):
    """The kernel, or a program that was asked, did not do it."""


def find(program: str) -> str:
    """Its path; empty if it is not installed."""
    return shutil.which(program, path=SEARCHED) or ""


def short(amphora_id: str) -> str:
    """What stands for an amphora in names of interfaces and namespaces: they are short."""
    return hashlib.sha256(amphora_id.encode()).hexdigest()[:10]


@dataclass(frozen=True)
class Namespace:
    """A network namespace, by the file that holds it."""

    path: Path

    @classmethod
    def of(cls, beginning: Path, amphora_id: str) -> "Namespace":
        """`beginning`: AgentSettings.namespaces."""
        return cls(beginning.with_name(beginning.name + short(amphora_id)))

    @property
    def exists(self) -> bool:
        """Whether the file holds a namespace: after a reboot, or a crash in `make`, it may be empty."""
        try:
            return self.path.stat().st_dev != self.path.parent.stat().st_dev
        except OSError:
            return False

    def make(self) -> bool:
        """Afterwards it is there; True if it was not before. Raises NamespaceError."""
        if self.exists:
            return False
        prepare(self.path.parent)
        self.path.unlink(missing_ok=True)
        self.path.touch(mode=0o444)
        try:
            _run(["unshare", f"--net={self.path}", "true"])
        except NamespaceError:
            self.path.unlink(missing_ok=True)
            raise
        return True

    def remove(self) -> None:
        """Afterwards it is gone with all its interfaces, as soon as nothing runs in it. May be repeated."""
        while self.exists and _libc().umount2(os.fsencode(self.path), MNT_DETACH) == 0:
            pass  # `ip netns` may have bound the directory once more over itself
        self.path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """The calling thread is inside until the block ends. Must not hold an `await`. Raises NamespaceError."""
        with contextlib.ExitStack() as opened:
            try:
                back = opened.enter_context(open(OWN, "rb"))  # noqa: PTH123 - a descriptor is wanted
                target = opened.enter_context(self.path.open("rb"))
            except OSError as error:
                raise NamespaceError(f"Namespace {self.path.name} cannot be opened: {error.strerror}.") from error
            _setns(target.fileno())
            try:
                yield
            finally:
                _setns(back.fileno())

    def spawn_prefix(self) -> list[str]:
        """What to put before a command so that it runs inside; its pid stays that of what was started."""
        return [find("nsenter") or "nsenter", f"--net={self.path}", "--"]

    def addresses(self, interface: str) -> set[str]:
        """All addresses on an interface, canonical, without prefix lengths; empty if there is no such interface."""
        from caryatid.agent.links import Links

        with self.entered(), Links() as links:
            return {str(address.ip) for address in links.addresses(interface)}

    def holds(self, interface: str, address: str) -> bool:
        """Whether the address (canonical) is on the interface."""
        return address in self.addresses(interface)

    def drop(self, interface: str, addresses: Sequence[str]) -> None:
        """Afterwards none of these is on the interface, with whatever prefix."""
        from caryatid.agent.links import Links

        with self.entered(), Links() as links:
            for found in links.addresses(interface):
                if str(found.ip) in addresses:
                    links.remove_address(interface, found)

    def set_sysctls(self, values: Mapping[str, str]) -> None:
        """Write each (`net/…`); what this kernel does not have is left out."""
        with self.entered():
            set_sysctls(values)


def set_sysctls(values: Mapping[str, str]) -> dict[str, str]:
    """The same in the namespace of the calling thread. Returns what was otherwise before. Raises NamespaceError where
    we may not."""
    before = {}
    for name, value in values.items():
        path = SYSCTL / name
        try:
            if (was := path.read_text().strip()) != value:
                path.write_text(value)
                before[name] = was
        except FileNotFoundError:
            continue
        except OSError as error:
            raise NamespaceError(f"{path} cannot be set to {value}: {error.strerror}.") from error
    return before


def prepare(directory: Path) -> None:
    """Make the directory a shared mount of its own, as `ip netns` does, so that other mount namespaces see it too.

    Whether it is one already, only the kernel can tell: EINVAL, and that alone, means that it is not. (Each binding too
    many would double all that is mounted there.) What is mounted below it stays visible.
    """
    directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    wrong = _mount(directory, MS_SHARED | MS_REC)
    if wrong == errno.EINVAL:
        wrong = _mount(directory, MS_BIND | MS_REC) or _mount(directory, MS_SHARED | MS_REC)
    if wrong:
        raise NamespaceError(f"{directory} cannot be shared: {os.strerror(wrong)}.")


def _mount(directory: Path, flags: int) -> int:
    """The directory, mounted on itself or changed, as the flags say (mount(2)); the error's number, or 0."""
    path = os.fsencode(directory)
    return ctypes.get_errno() if _libc().mount(path, path, None, flags, None) else 0


def attempt() -> None:
    """Make one that is gone at once. Raises NamespaceError."""
    _run(["unshare", "--net", "--mount", "true"])


def ours(beginning: Path) -> list[Namespace]:
    """All namespaces that this agent has ever made and that are still there."""
    with contextlib.suppress(OSError):
        return [Namespace(path) for path in sorted(beginning.parent.iterdir()) if path.name.startswith(beginning.name)]
    return []


def _run(command: list[str]) -> None:
    program = find(command[0])
    try:
        ended = subprocess.run(
            [program or command[0], *command[1:]], capture_output=True, check=False, timeout=COMMAND_DEADLINE_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NamespaceError(f"{command[0]}: {error}") from error
    if ended.returncode:
        raise NamespaceError(f"{command[0]}: {ended.stderr.decode(errors='replace').strip()}")


def _setns(descriptor: int) -> None:
    if _libc().setns(descriptor, CLONE_NEWNET) != 0:
        raise NamespaceError(f"setns: {os.strerror(ctypes.get_errno())}")


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
