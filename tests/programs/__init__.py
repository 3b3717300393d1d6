# SPDX-License-Identifier: Apache-2.0
"""Programs that tests run and that cannot share our environment: they want other versions of what we have.

Each has a lock file here (`make lock` renews it) and an environment of its own beside ours, made when first asked for.
"""

import fcntl
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
MAKING_S = 300


def program(name: str) -> Path:
    """The program that the package `name` installs under that name."""
    lock = HERE / f"{name}.lock"
    home = Path(sys.prefix) / "programs" / name
    home.mkdir(parents=True, exist_ok=True)
    made = home / "made.lock"
    with (home / "making").open("w") as making:
        fcntl.flock(making, fcntl.LOCK_EX)
        if not made.exists() or made.read_bytes() != lock.read_bytes():
            _make(home / "venv", lock)
            made.write_bytes(lock.read_bytes())
    return home / "venv/bin" / name


def _make(home: Path, lock: Path) -> None:
    """With uv if it is there: it takes a tenth of the time."""
    uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    _run(sys.executable, "-m", "venv", "--clear", *(["--without-pip"] if uv else []), home)
    python = home / "bin/python"
    pip = (uv, "pip", "install", "-q", "--python", python) if uv else (python, "-m", "pip", "install", "-q")
    _run(*pip, "--require-hashes", "-r", lock)


def _run(*command: object) -> None:
    done = subprocess.run(list(map(str, command)), check=False, capture_output=True, text=True, timeout=MAKING_S)
    assert done.returncode == 0, done.stderr
