# SPDX-License-Identifier: Apache-2.0
"""Where things are that more than one program looks for, and how they are written."""

import os
from pathlib import Path

ADMIN_TOKEN = "admin.token"  # noqa: S105  the name of a file
"""In the state directory: the first administrator's token."""
CLOUDS = "clouds.yaml"
"""In the state directory: the same for OpenStack's clients."""


def state_dir() -> Path:
    """The state directory, where no setting says otherwise."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "caryatid"


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
