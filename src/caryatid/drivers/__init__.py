# SPDX-License-Identifier: Apache-2.0
"""How the outside is touched. A driver is found by family and name among the installed entry points."""

from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal

from caryatid.errors import CaryatidError

Family = Literal["amphora", "compute", "network", "secrets", "identity", "dns", "checks", "member_types"]
"""Of drivers; and of what else installed packages may bring: checks, and types of members of gslbs."""


class NoSuchDriver(CaryatidError):
    pass


def installed(family: Family) -> list[str]:
    """Names of the family's drivers, in order."""
    return sorted(_points(family))


def load(family: Family, name: str) -> Any:
    """The class of driver `name`, registered in the entry point group `caryatid.<family>`.

    Raises NoSuchDriver, naming those that are installed.
    """
    found = _points(family)
    if name not in found:
        raise NoSuchDriver(f"There is no {family} driver {name!r}; installed: {', '.join(sorted(found)) or 'none'}.")
    return found[name].load()


@cache
def _points(family: Family) -> Mapping[str, EntryPoint]:
    """Read once: it takes as long as twenty wishes."""
    return {point.name: point for point in entry_points(group=f"caryatid.{family}")}
