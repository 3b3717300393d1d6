# SPDX-License-Identifier: Apache-2.0
"""Who has been wrong too often has to wait, longer each time, whatever it shows meanwhile."""

import threading
from collections import OrderedDict
from dataclasses import dataclass
from hashlib import blake2b
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final

KNOWN_MAX: Final = 20_000
FIRST_S: Final = 1.0
LONGEST_S: Final = 900.0
FORGOTTEN_S: Final = 1800.0
"""After this long without another failure it is as if there had been none."""
OF_USER: Final = 5
OF_ADDRESS: Final = 30
"""Failures that cost nothing; more of them from one address, behind which there may be many people."""
CLIENTS_BITS: Final = 64
"""Bits of an IPv6 address that are not the client's to choose."""


@dataclass
class _Failures:
    count: int = 0
    last: float = 0.0
    until: float = 0.0


class Lockout:
    """Counts failures, each of a user name and an address, in this process alone. Threads may share it.

    When it knows too many, what has been longest without a failure is forgotten. `now` is in seconds, from anywhere.
    """

    def __init__(self, known_max: int = KNOWN_MAX) -> None:
        self._known: OrderedDict[bytes, _Failures] = OrderedDict()
        self._known_max = known_max
        self._lock = threading.Lock()

    def wait_s(self, user: str, address: str, now: float) -> float:
        """Seconds for which nothing is looked at; 0: it may try."""
        with self._lock:
            found = [self._known.get(key) for key in _keys(user, address)]
        return max(0.0, *(one.until - now for one in found if one), 0.0)

    def failed(self, user: str, address: str, now: float) -> None:
        """It was wrong once more."""
        with self._lock:
            for key, free in zip(_keys(user, address), (OF_USER, OF_ADDRESS), strict=True):
                one = self._known.pop(key, _Failures())
                if now > one.last + FORGOTTEN_S:
                    one = _Failures()
                one.count += 1
                one.last = now
                if one.count > free:
                    one.until = now + min(LONGEST_S, FIRST_S * 2.0 ** min(one.count - free - 1, 20))
                self._known[key] = one
            while len(self._known) > self._known_max:
                self._known.popitem(last=False)

    def passed(self, user: str) -> None:
        """It was right: its failures are forgotten; those of the address are not, which may have many names."""
        with self._lock:
            self._known.pop(_key("user", user), None)


def _keys(user: str, address: str) -> tuple[bytes, bytes]:
    return _key("user", user), _key("address", _network(address))


def _key(of: str, name: str) -> bytes:
    """As long for a name of any length, which who asks chooses."""
    return blake2b(f"{of} {name}".encode(), digest_size=16).digest()


def _network(address: str) -> str:
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return address
    return str(parsed.ipv4_mapped or ip_network((parsed, CLIENTS_BITS), strict=False))
