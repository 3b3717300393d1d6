# SPDX-License-Identifier: Apache-2.0
"""Private keys, and what goes with them, on an amphora's host: in memory alone, never on a disk.

Each amphora has a directory on a file system in memory (`AgentSettings.keys_dir`). Contents are kept by their digests;
what a configuration names are links to them:

    <name>.pem      -> contents/<SHA-256>   certificate, chain and private key; authorities; revocation lists
    <name>.pem.ocsp -> contents/<SHA-256>   what is stapled to the first, in DER

The links follow from the stored configuration, whose last lines say what its names stand for (`noted`). So each text
that there is, the last good one too, has contents of its own, and nothing else has to be remembered. The directory may
be emptied at any time: then the contents are asked for anew.
"""

import base64
import binascii
import hashlib
import os
import re
import shutil
import time
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from caryatid.agent.settings import UnusableDirectory, make_private
from caryatid.errors import CaryatidError

AMPHORA_BYTES_MAX = 32 << 20
HOST_BYTES_MAX = 256 << 20
ON_THE_WAY_S = 120.0
"""How long contents that no configuration names are kept for one that is to come."""
NOTE = re.compile(r"^# key ([a-z0-9-]+\.pem(?:\.ocsp)?) ([0-9a-f]{64})\n?", re.MULTILINE)
PEM = "-----BEGIN "
NO_MEMORY = (
    "This host has no place in memory for private keys: mount a tmpfs on /dev/shm, or run the agent with its runtime "
    "directory on one."
)


class NotTaken(CaryatidError):
    """There is no place for it in memory."""


class Unfit(CaryatidError):
    """It is not what it is said to be."""


def noted(text: str, keys: Mapping[str, str]) -> str:
    """The configuration, saying at its end what its names stand for, and nothing that it said before of it."""
    return NOTE.sub("", text) + "".join(f"# key {name} {digest}\n" for name, digest in sorted(keys.items()))


def named(text: str) -> dict[str, str]:
    """What the names of a stored configuration stand for: name → digest."""
    return dict(NOTE.findall(text))


def named_in(configuration: Path) -> dict[str, str]:
    """The same of a file; nothing if there is none."""
    try:
        return named(configuration.read_text())
    except OSError:
        return {}


@dataclass(frozen=True)
class Keys:
    """The keys of one amphora."""

    directory: Path
    uid: int = 0
    """Who owns the files; 0: the agent's own user. The directory is the agent's, and lets nobody else in."""

    @property
    def contents(self) -> Path:
        return self.directory / "contents"

    def missing(self, digests: Iterable[str]) -> list[str]:
        """Those whose contents are not here, each once."""
        held: set[str] = set()
        with suppress(OSError):
            held.update(entry.name for entry in os.scandir(self.contents))
        return [digest for digest in dict.fromkeys(digests) if digest not in held]

    def take(self, contents: Mapping[str, str]) -> None:
        """Afterwards these contents are here. Raises Unfit, and then nothing has changed; NotTaken."""
        files = {digest: _checked(digest, content) for digest, content in contents.items()}
        new = {digest: files[digest] for digest in self.missing(files)}
        size = sum(map(len, new.values()))
        if size + _size(self.directory) > AMPHORA_BYTES_MAX or size + _size(self.directory.parent) > HOST_BYTES_MAX:
            raise NotTaken("The host keeps no more keys and certificates for this load balancer, or for all together.")
        try:
            for path in (self.directory.parent, self.directory, self.contents, self.directory.parent):
                make_private(path)  # the first once more: where all may write, somebody could have been quicker
            for digest, content in new.items():
                self._write(self.contents / digest, content)
        except UnusableDirectory as error:
            raise NotTaken(str(error)) from error
        except OSError as error:
            raise NotTaken(f"{self.directory.parent} does not take keys: {error.strerror}.") from error

    def read(self, digest: str) -> str:
        """A content, as it was taken. Raises OSError."""
        content = (self.contents / digest).read_bytes()
        return content.decode() if content.startswith(PEM.encode()) else base64.b64encode(content).decode()

    def link(self, wanted: Mapping[str, str]) -> None:
        """Afterwards the names stand for these contents, which are here, and there are no other names."""
        present = self._links()
        for name, digest in wanted.items():
            if present.get(name) != digest:
                temporary = self.directory / f".{name}"
                temporary.unlink(missing_ok=True)
                temporary.symlink_to(f"{self.contents.name}/{digest}")
                temporary.replace(self.directory / name)
        for name in present.keys() - wanted.keys():
            (self.directory / name).unlink(missing_ok=True)

    def keep(self, digests: Collection[str]) -> None:
        """Afterwards no contents are here but these, and such as have just come."""
        oldest = time.time() - ON_THE_WAY_S
        with suppress(FileNotFoundError):
            for entry in os.scandir(self.contents):
                if entry.name not in digests and entry.stat().st_mtime < oldest:
                    Path(entry.path).unlink(missing_ok=True)
        for path in (self.contents, self.directory):
            with suppress(OSError):
                path.rmdir()

    def remove(self) -> None:
        """Nothing is left."""
        shutil.rmtree(self.directory, ignore_errors=True)

    def _links(self) -> dict[str, str]:
        """What the names stand for now."""
        with suppress(FileNotFoundError):
            found = [entry.name for entry in os.scandir(self.directory) if entry.is_symlink()]
            return {name: (self.directory / name).readlink().name for name in found}
        return {}

    def _write(self, path: Path, content: bytes) -> None:
        temporary = path.with_name(f".{path.name}")
        temporary.unlink(missing_ok=True)
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            if self.uid:
                os.fchown(file.fileno(), self.uid, self.uid)
            file.write(content)
        temporary.replace(path)


def plain_swaps(swaps: Path = Path("/proc/swaps"), devices: Path = Path("/sys/class/block")) -> list[str]:
    """Where memory may be swapped out to that is not known to be encrypted (dm-crypt), or in memory again (zram)."""
    try:
        names = [line.split()[0] for line in swaps.read_text().splitlines()[1:]]
    except OSError:
        return []
    return [name for name in names if not _is_safe(devices / Path(name).resolve().name)]


def _is_safe(device: Path) -> bool:
    with suppress(OSError):
        if device.name.startswith("zram") or (device / "dm" / "uuid").read_text().startswith("CRYPT-"):
            return True
    below = list((device / "slaves").glob("*"))
    return bool(below) and all(_is_safe(device.parent / one.name) for one in below)


def remove_others(directory: Path, known: Iterable[Keys | None]) -> None:
    """Keys of amphorae that are no more are gone."""
    kept = {keys.directory for keys in known if keys}
    with suppress(FileNotFoundError):
        for path in directory.iterdir():
            if path not in kept:
                Keys(path).remove()


def _checked(digest: str, content: str) -> bytes:
    """As a file has it. Raises Unfit, which says nothing of what it is."""
    if hashlib.sha256(content.encode()).hexdigest() != digest:
        raise Unfit(f"The contents that were sent as {digest} have another SHA-256.")
    if content.startswith(PEM):
        return content.encode()
    try:
        return base64.b64decode(content, validate=True)
    except binascii.Error:
        raise Unfit(f"The contents {digest} are neither PEM nor base64.") from None


def _size(directory: Path) -> int:
    """Bytes of all files below."""
    size = 0
    for parent, _, names in os.walk(directory):
        for name in names:
            with suppress(FileNotFoundError):
                size += Path(parent, name).lstat().st_size
    return size
