# SPDX-License-Identifier: Apache-2.0
"""Where things are that more than one program looks for."""

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
