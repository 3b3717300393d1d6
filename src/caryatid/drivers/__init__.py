# SPDX-License-Identifier: Apache-2.0
"""How the outside is touched. A driver is found by family and name among the installed entry points."""

from importlib.metadata import entry_points
from typing import Any, Literal

from caryatid.errors import CaryatidError

Family = Literal["amphora", "compute", "network", "secrets", "identity"]


class NoSuchDriver(CaryatidError):
    pass


def load(family: Family, name: str) -> Any:
    """The class of driver `name`, registered in the entry point group `caryatid.<family>`.

    Raises NoSuchDriver, naming those that are installed.
    """
    found = {point.name: point for point in entry_points(group=f"caryatid.{family}")}
    if name not in found:
        raise NoSuchDriver(f"There is no {family} driver {name!r}; installed: {', '.join(sorted(found)) or 'none'}.")
    return found[name].load()
