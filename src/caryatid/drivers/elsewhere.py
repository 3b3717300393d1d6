# SPDX-License-Identifier: Apache-2.0
"""Load balancers of an Octavia and ports of a Neutron that are not ours: where they are, and how.

They are asked as the service's own user of Keystone, or with a token that the settings name. Nothing is followed, so
nobody else sees the token. What is another project's is not there, for whoever asks on behalf of this one.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final, Literal

import httpx2

from .asking import Answer, Asking, NotAnsweredError
from .keystone import Tokens
from .setup import Keystone

Json = Mapping[str, Any]
Word = Literal["UP", "DOWN", "UNKNOWN"]
TIMEOUT_S: Final = 4.0
ADDRESSES_MAX: Final = 32
"""Of one load balancer, or port."""
TOKEN_BYTES_MAX: Final = 1 << 14
FORBIDDEN: Final = frozenset({401, 403})
WELL: Final = frozenset({"ONLINE", "DEGRADED", "NO_MONITOR"})
"""Operating statuses in which an Octavia's load balancer is answered with."""
LEAVING: Final = frozenset({"PENDING_DELETE", "DELETED"})
"""Provisioning statuses in which it is not, whatever it still does."""
PORTS: Final[Mapping[str, Word]] = {"ACTIVE": "UP", "DOWN": "DOWN", "ERROR": "DOWN"}
"""What statuses of ports mean; another one (BUILD) says nothing."""


@dataclass(frozen=True, slots=True)
class There:
    """It is there."""

    addresses: tuple[str, ...]
    """The first one first."""
    word: Word | None
    """How it is; None: nobody says."""
    reason: str = ""
    """Why it is not UP."""


@dataclass(frozen=True, slots=True)
class Missing:
    """There is none such, as far as its project is concerned."""

    why: str


@dataclass(frozen=True, slots=True)
class Silent:
    """Whether it is there is not known."""

    why: str
    """A sentence."""
    whole: bool = False
    """It was not answered at all: likely nothing else will be, either."""


Outcome = There | Missing | Silent


class Elsewhere:
    """Threads may share it."""

    def __init__(
        self,
        keystone: Keystone | None = None,
        token_file: Path | None = None,
        authorities: str = "",
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """`token_file`: shown instead of a token of Keystone's; read each time, so it may be renewed. Without either no
        token is shown. `authorities`: PEM, against which certificates are checked; empty: the machine's."""
        self._keystone, self._token_file = keystone, token_file
        self._authorities, self._timeout_s = authorities, timeout_s

    @cached_property
    def _asking(self) -> Asking:
        """Made when it is needed first: most installations follow nobody."""
        return Asking.of(self._authorities, self._timeout_s)

    @cached_property
    def _tokens(self) -> Tokens | None:
        return Tokens(self._keystone, self._asking) if self._keystone and self._token_file is None else None

    def close(self) -> None:
        """Connections that were kept are no more; it may be used again."""
        asking = self.__dict__.pop("_asking", None)
        self.__dict__.pop("_tokens", None)
        if asking is not None:
            asking.http.close()

    def loadbalancer(self, url: str, key: str, project_id: str) -> Outcome:
        """The project's load balancer at the Octavia of that URL."""
        base = url.rstrip("/").removesuffix("/v2.0").removesuffix("/v2")
        return self._ask("Octavia", f"{base}/v2/lbaas/loadbalancers/{key}", "loadbalancer", project_id)

    def port(self, url: str, key: str, project_id: str) -> Outcome:
        """The project's port at the Neutron of that URL."""
        base = url.rstrip("/").removesuffix("/v2.0")
        return self._ask("Neutron", f"{base}/v2.0/ports/{key}", "port", project_id)

    def _ask(self, whom: str, url: str, envelope: str, project_id: str) -> Outcome:
        try:
            answer = self._answer(url)
        except NotAnsweredError as error:
            return Silent(str(error), whole=True)
        what = f"{TITLES[envelope]} {url.rpartition('/')[2]}"
        if answer.status == httpx2.codes.OK:
            return _understood(whom, what, envelope, answer.content, project_id)
        if answer.status == httpx2.codes.NOT_FOUND:
            return Missing(f"{whom} knows no {what}")
        if answer.status in FORBIDDEN:
            return Silent(f"{whom} does not let {self._user()} read {what} ({answer.status}).")
        return Silent(f"{whom} answers {answer.status}.")

    def _user(self) -> str:
        if self._token_file is not None:
            return "who has our token"
        return f"the user {self._keystone.user}" if self._keystone else "who shows no token"

    def _answer(self, url: str) -> Answer:
        """Raises NotAnsweredError."""

        def ask(headers: Mapping[str, str]) -> Answer:
            return self._asking.ask("GET", url, headers={"Accept": "application/json", **headers})

        if self._tokens is not None:
            return self._tokens.asked(lambda token: ask({"X-Auth-Token": token}))
        return ask({} if self._token_file is None else {"X-Auth-Token": _read(self._token_file)})


def _understood(whom: str, what: str, envelope: str, content: bytes, project_id: str) -> Outcome:
    try:
        document = json.loads(content)[envelope]
        mine = str(document.get("project_id") or document["tenant_id"]) == project_id
        return READERS[envelope](document) if mine else Missing(f"{whom} knows no {what} of project {project_id}")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return Silent(f"{whom} answers, but not as {whom} does.")


def _read(path: Path) -> str:
    """The token in the file. Raises NotAnsweredError, which names the file and nothing in it."""
    try:
        with path.open("rb") as file:
            token = file.read(TOKEN_BYTES_MAX).decode().strip()
    except (OSError, UnicodeError) as error:
        raise NotAnsweredError(f"The token in {path} cannot be read: {type(error).__name__}.") from None
    if not token.isascii() or not token.isprintable():
        raise NotAnsweredError(f"What is in {path} is no token.")
    return token


def _loadbalancer(document: Json) -> There:
    """Raises ValueError, KeyError, TypeError for what is none."""
    vips = [document["vip_address"], *(vip["ip_address"] for vip in document.get("additional_vips") or ())]
    status, phase = str(document["operating_status"]), str(document["provisioning_status"])
    addresses = _addresses(vips)
    if phase in LEAVING:
        return There(addresses, "DOWN", f"provisioning status {phase}")
    if status in WELL:
        return There(addresses, "UP")
    return There(addresses, "DOWN", f"operating status {status}, expected {', '.join(sorted(WELL))}")


def _port(document: Json) -> There:
    """Raises ValueError, KeyError, TypeError for what is none."""
    addresses = _addresses(fixed["ip_address"] for fixed in document["fixed_ips"])
    if document.get("admin_state_up") is False:
        return There(addresses, "DOWN", "admin_state_up is false")
    status = str(document["status"])
    word = PORTS.get(status, "UNKNOWN")
    return There(addresses, word, "" if word == "UP" else f"status {status}, expected ACTIVE")


def _addresses(found: Iterable[Any]) -> tuple[str, ...]:
    """As they are written usually, each once. Raises ValueError."""
    known = tuple(dict.fromkeys(_plain(found)))
    if len(known) > ADDRESSES_MAX:
        raise ValueError(len(known))
    return known


def _plain(found: Iterable[Any]) -> Iterator[str]:
    yield from (str(ip_address(address)) for address in found if address is not None)


TITLES: Final = {"loadbalancer": "load balancer", "port": "port"}
READERS: Final = {"loadbalancer": _loadbalancer, "port": _port}
