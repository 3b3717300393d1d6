# SPDX-License-Identifier: Apache-2.0
"""The steps of making an image that a shell is no good at. `build` runs them, one after the other.

Everything that is written depends on what is put in alone: order, times, owners and numbers are fixed.
"""

import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement

HERE = Path(__file__).parent
DISK_MIB = 384
IDENTITY = "63617279-6174-4964-8000-000000000000"
"""Of the file system, and the seed of its hashes: it is the same in every image."""
BUSYBOX = "usr/bin/busybox"
INITRD_APPLETS = ("sh", "cat", "insmod", "mount", "poweroff", "sleep", "switch_root")
APPLETS = ("dd", "grep", "mkdir", "mount", "poweroff", "sh", "sleep", "sync", "true", "umount")
PROGRAMS = {
    "usr/bin": {"busybox", "kmod", "nsenter", "prlimit", "python3", "python3.11", "unshare", *APPLETS},
    "usr/sbin": {"depmod", "haproxy", "keepalived", "modprobe", "nft"},
}
"""All that the image has: it has no other shell, and nothing of what people type."""
INITRD_MODULES = ("virtio_pci", "virtio_blk", "virtio_net")
USERS = {"root": 0, "haproxy": 101, "nobody": 65534}
WRITTEN_TO = ("etc/caryatid", "var/lib/caryatid")
MOUNTED = ("dev", "proc", "run", "sys", "tmp")
FILES = {
    "etc/passwd": "".join(f"{name}:x:{uid}:{uid}::/:/usr/sbin/nologin\n" for name, uid in USERS.items()),
    "etc/group": "".join(f"{name}:x:{uid}:\n" for name, uid in USERS.items()),
    "etc/hostname": "amphora\n",
    "etc/hosts": "127.0.0.1 localhost\n::1 localhost\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
    "etc/resolv.conf": "",
    "usr/lib/caryatid/bin/caryatid": (
        "#!/usr/bin/python3 -I\nfrom caryatid.__main__ import main\n\nif __name__ == '__main__':\n    main()\n"
    ),
}


def listed(name: str) -> list[str]:
    """The lines of a list beside this file."""
    return [line for line in (HERE / name).read_text().splitlines() if line and not line.startswith("#")]


# -- Python's packages


def requirements(lock: Path) -> None:
    """Print the part of the lock file that agents need."""
    needed = set(_needed("caryatid", {_plain(name) for name in listed("left-out")}, set()))
    for block in re.split(r"\n(?=\S)", lock.read_text()):
        if (found := re.match(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?==", block)) and _plain(found[1]) in needed:
            print(block)


def _needed(name: str, without: set[str], seen: set[str], extras: Iterable[str] = ()) -> Iterator[str]:
    for text in distribution(name).requires or ():
        wanted = Requirement(text)
        held = [wanted.marker.evaluate({"extra": extra}) for extra in ("", *extras)] if wanted.marker else [True]
        plain = _plain(wanted.name)
        if not any(held) or plain in without or plain in seen:
            continue
        seen.add(plain)
        yield plain
        yield from _needed(wanted.name, without, seen, wanted.extras)


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


# -- the tree


def furnish(root: Path) -> None:
    """Afterwards the tree is an amphora's: what is not needed is gone, what is ours is there, no program gives rights
    away, and times are those of SOURCE_DATE_EPOCH."""
    for name in listed("removed"):
        for path in root.glob(name.lstrip("/")):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    _keep_modules(next((root / "usr/lib/modules").iterdir()))
    _keep_licences(root / "usr/share/doc")
    for directory in (*WRITTEN_TO, *MOUNTED):
        shutil.rmtree(root / directory, ignore_errors=True)
        (root / directory).mkdir(parents=True, mode=0o700 if directory in WRITTEN_TO else 0o755)
    for name, text in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_text(text)
    (root / "usr/lib/caryatid/bin/caryatid").chmod(0o755)
    shutil.copyfile(HERE / "init", root / "usr/lib/caryatid/init")
    (root / "usr/lib/caryatid/init").chmod(0o755)
    _run("chroot", root, "/usr/sbin/ldconfig", "-X")
    _keep_programs(root)


def _keep_modules(modules: Path) -> None:
    """What is listed, and what it depends on; then the indexes are made anew."""
    depmod = ("chroot", modules.parents[3], "/usr/sbin/depmod", modules.name)
    _run(*depmod)
    wanted = tuple(listed("modules"))
    kept: set[str] = set()
    for line in (modules / "modules.dep").read_text().splitlines():
        name, _, needed = line.partition(":")
        if name.startswith(wanted):
            kept |= {name, *needed.split()}
    for path in sorted((modules / "kernel").rglob("*.ko")):
        if str(path.relative_to(modules)) not in kept:
            path.unlink()
    _remove_empty(modules / "kernel")
    _run(*depmod)


def _keep_licences(documents: Path) -> None:
    for path in sorted(documents.rglob("*")):
        if not path.is_dir() and path.name != "copyright":
            path.unlink()
    _remove_empty(documents)


def _remove_empty(directory: Path) -> None:
    for path in sorted((one for one in directory.rglob("*") if one.is_dir()), reverse=True):
        if not any(path.iterdir()):
            path.rmdir()


def _keep_programs(root: Path) -> None:
    for directory, kept in PROGRAMS.items():
        for path in (root / directory).iterdir():
            if path.name not in kept:
                path.unlink()
    for name in APPLETS:
        path = root / "usr/bin" / name
        path.unlink(missing_ok=True)
        path.symlink_to("busybox")


def settle(root: Path) -> None:
    """The last of it: nothing gives rights away, and nothing says when it was made."""
    epoch = int(os.environ["SOURCE_DATE_EPOCH"])
    for path in (root, *sorted(root.rglob("*"))):
        mode = path.lstat().st_mode
        if not stat.S_ISLNK(mode) and mode & (stat.S_ISUID | stat.S_ISGID):
            path.chmod(stat.S_IMODE(mode) & 0o1777)
        os.utime(path, (epoch, epoch), follow_symlinks=False)


# -- what a machine boots from


def initrd(root: Path, into: Path) -> None:
    """The first file system: one program, the modules of the disk, and a script."""
    version = next((root / "usr/lib/modules").iterdir()).name
    command = ("chroot", root, "/usr/sbin/modprobe", "-S", version, "--show-depends")
    order: list[str] = []
    for name in INITRD_MODULES:
        for line in _run(*command, name).splitlines():
            path = line.removeprefix("insmod ").strip()
            if line.startswith("insmod ") and path not in order:
                order.append(path)
    files = dict.fromkeys(("bin", "dev", "modules", "proc", "root", "sys"), (stat.S_IFDIR | 0o755, b""))
    files |= {f"bin/{name}": (stat.S_IFLNK | 0o777, b"busybox") for name in INITRD_APPLETS}
    files["bin/busybox"] = (stat.S_IFREG | 0o755, (root / BUSYBOX).read_bytes())
    files["init"] = (stat.S_IFREG | 0o755, (HERE / "initrd-init").read_bytes())
    names = [Path(path).name for path in order]
    files["modules/order"] = (stat.S_IFREG | 0o644, "\n".join([*names, ""]).encode())
    for name, path in zip(names, order, strict=True):
        files[f"modules/{name}"] = (stat.S_IFREG | 0o644, (root / path.lstrip("/")).read_bytes())
    into.write_bytes(b"".join(archive(files)))


def archive(files: dict[str, tuple[int, bytes]]) -> Iterator[bytes]:
    """A cpio archive as the kernel reads it (`newc`), from names, modes and contents."""
    entries = [*sorted(files.items()), ("TRAILER!!!", (0, b""))]
    for number, (name, (mode, content)) in enumerate(entries, 1):
        fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
        head = b"070701" + "".join(f"{field:08x}" for field in fields).encode() + name.encode() + b"\0"
        yield head + bytes(-len(head) % 4) + content + bytes(-len(content) % 4)


def disk(root: Path, into: Path) -> None:
    """The tree as a file system."""
    epoch = os.environ["SOURCE_DATE_EPOCH"]
    environment = {**os.environ, "E2FSPROGS_FAKE_TIME": epoch}
    options = f"hash_seed={IDENTITY},lazy_itable_init=0,lazy_journal_init=0,nodiscard"
    with into.open("wb") as file:
        file.truncate(DISK_MIB << 20)
    make = f"mke2fs -q -F -t ext4 -b 4096 -m 0 -J size=8 -L amphora -U {IDENTITY} -E {options} -d"
    _run(*make.split(), root, into, environment=environment)
    # What it takes from the tree are the times of this very moment, too.
    lines = []
    for path in (root, *sorted(root.rglob("*"))):
        name = f"/{path.relative_to(root)}" if path != root else "/"
        lines += [f'set_inode_field "{name}" {what} @{epoch}' for what in ("atime", "ctime", "crtime")]
        lines += [f'set_inode_field "{name}" {what}_extra 0' for what in ("atime", "ctime", "crtime", "mtime")]
    _run("debugfs", "-w", "-f", "/dev/stdin", into, environment=environment, told="\n".join([*lines, ""]))
    _run("e2fsck", "-fn", into)


def manifest(root: Path) -> None:
    """Print every file that there is: mode, size, name."""
    for path in sorted(root.rglob("*")):
        found = path.lstat()
        size = found.st_size if stat.S_ISREG(found.st_mode) else 0
        print(f"{stat.filemode(found.st_mode)} {size:>9} {path.relative_to(root)}")


def _run(*words: object, environment: dict[str, str] | None = None, told: str = "") -> str:
    command = [str(word) for word in words]
    done = subprocess.run(command, env=environment, input=told, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command[:6])} …: {done.stderr[-2000:] or done.stdout[-2000:]}")
    return done.stdout


STEPS = {
    "requirements": requirements,
    "furnish": furnish,
    "settle": settle,
    "initrd": initrd,
    "disk": disk,
    "manifest": manifest,
}

if __name__ == "__main__":
    STEPS[sys.argv[1]](*map(Path, sys.argv[2:]))
