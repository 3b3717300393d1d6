# SPDX-License-Identifier: Apache-2.0
"""Options of backends, as drivers read them: JSON, or the words of a command line. All raise DnsRefusedError."""

from .base import Backend, DnsRefusedError

SECONDS_MAX = 600.0
FLAGS = {True: True, False: False, "true": True, "false": False}


def flag(backend: Backend, name: str, *, default: bool) -> bool:
    wished = backend.options.get(name, default)
    if not isinstance(wished, bool | str) or wished not in FLAGS:
        raise DnsRefusedError(f"The option {name} is true or false.")
    return FLAGS[wished]


def seconds(backend: Backend, name: str, default: float) -> float:
    wished = backend.options.get(name, default)
    try:
        number = -1.0 if isinstance(wished, bool) else float(wished)
    except (TypeError, ValueError):
        number = -1.0
    if not 0 <= number <= SECONDS_MAX:
        raise DnsRefusedError(f"The option {name} is a number of seconds, 0 to {SECONDS_MAX:g}.")
    return number
