# SPDX-License-Identifier: Apache-2.0
"""The image of amphorae's machines, as the tree is now: made once for all tests that boot it.

Tests run in namespaces from which no packages can be got, so it is made before (conftest.py).
"""

import fcntl
import hashlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).parents[3]
MADE = REPOSITORY / "build"
MAKE_S = 540
FILES = ("amphora.img", "vmlinuz", "initrd.img", "amphora.manifest")


def make() -> None:
    """It is there afterwards; nothing is done if nothing has changed. About half a minute."""
    MADE.mkdir(exist_ok=True)
    with (MADE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        known, wanted = MADE / "amphora.sources", _digest()
        if all((MADE / name).exists() for name in FILES) and known.exists() and known.read_text() == wanted:
            return
        known.unlink(missing_ok=True)
        command = [REPOSITORY / "ganeti" / "image" / "build", MADE]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=MAKE_S)
        assert done.returncode == 0, f"The image could not be made:\n{done.stderr[-3000:]}"
        known.write_text(wanted)


def _digest() -> str:
    """Stands for all that it is made of, but for packages."""
    digest = hashlib.sha256()
    for path in _sources():
        digest.update(f"{path.relative_to(REPOSITORY)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def _sources() -> Iterator[Path]:
    yield from (REPOSITORY / "requirements.lock", REPOSITORY / "pyproject.toml")
    for directory, pattern in (("ganeti/image", "*"), ("src/caryatid", "*.py")):
        yield from sorted(path for path in (REPOSITORY / directory).rglob(pattern) if path.is_file())
