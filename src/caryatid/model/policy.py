# SPDX-License-Identifier: Apache-2.0
"""Who may do what: one table, with the rule names of Octavia's policy (facts: octavia.md §3)."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from caryatid.errors import Forbidden

Who = Literal["read", "read-service", "read-global", "write", "admin", "read-quota", "read-quota-global", "write-quota"]

ANYWHERE: dict[Who, frozenset[str]] = {
    "read": frozenset({"admin", "load-balancer_admin", "load-balancer_global_observer"}),
    "read-service": frozenset({"admin", "load-balancer_admin", "load-balancer_global_observer", "service"}),
    "read-global": frozenset({"admin", "load-balancer_admin", "load-balancer_global_observer"}),
    "write": frozenset({"admin", "load-balancer_admin"}),
    "admin": frozenset({"admin", "load-balancer_admin"}),
    "read-quota": frozenset(
        {"admin", "load-balancer_admin", "load-balancer_global_observer", "load-balancer_quota_admin"}
    ),
    "read-quota-global": frozenset(
        {"admin", "load-balancer_admin", "load-balancer_global_observer", "load-balancer_quota_admin"}
    ),
    "write-quota": frozenset({"admin", "load-balancer_admin", "load-balancer_quota_admin"}),
}
"""Roles that may do it to what any project owns."""

READERS = frozenset({"reader", "member", "load-balancer_observer", "load-balancer_member"})
WRITERS = frozenset({"member", "load-balancer_member"})
AT_HOME: dict[Who, frozenset[str]] = {
    "read": READERS,
    "read-service": READERS,
    "read-quota": READERS,
    "write": WRITERS,
}
"""Roles that may do it to what their own project owns, or what nobody owns (a flavor)."""

READING: dict[str, Who] = {"get_all": "read", "get_one": "read"}
WRITING: dict[str, Who] = {"post": "write", "put": "write", "delete": "write"}
OPERATED: dict[str, Who] = {"post": "admin", "put": "admin", "delete": "admin"}
HIDDEN: dict[str, Who] = {"get_all": "admin", "get_one": "admin"}
EVERYWHERE: dict[str, Who] = {"get_all-global": "read-global"}

OCTAVIA: dict[str, dict[str, Who]] = {
    "loadbalancer": {
        **READING,
        **EVERYWHERE,
        **WRITING,
        "get_stats": "read",
        "get_status": "read",
        "put_failover": "admin",
        "post:vip_sg_ids": "write",
        "put:vip_sg_ids": "write",
    },
    "listener": {**READING, **EVERYWHERE, **WRITING, "get_stats": "read"},
    "pool": {**READING, **EVERYWHERE, **WRITING},
    "member": {**READING, **WRITING, "get_all": "read-service"},
    "healthmonitor": {**READING, **EVERYWHERE, **WRITING},
    "l7policy": {**READING, **EVERYWHERE, **WRITING},
    "l7rule": {**READING, **WRITING},
    "ratelimitpolicy": {**READING, **EVERYWHERE, **WRITING},
    "ratelimitrule": {**READING, **WRITING},
    "quota": {
        "get_all": "read-quota",
        "get_all-global": "read-quota-global",
        "get_one": "read-quota",
        "get_defaults": "read-quota",
        "put": "write-quota",
        "delete": "write-quota",
    },
    "provider": {"get_all": "read"},
    "provider-flavor": {"get_all": "admin"},
    "provider-availability-zone": {"get_all": "admin"},
    "flavor": {**READING, **OPERATED},
    "flavor-profile": {**HIDDEN, **OPERATED},
    "availability-zone": {**READING, **OPERATED},
    "availability-zone-profile": {**HIDDEN, **OPERATED},
    "amphora": {**HIDDEN, "delete": "admin", "put_config": "admin", "put_failover": "admin", "get_stats": "admin"},
}
HOST_ACTS = ("put_drain", "put_enable", "put_evacuate", "put_revoke")
OWN: dict[str, dict[str, Who]] = {
    "network": {**READING, **EVERYWHERE, **OPERATED},
    "subnet": {**READING, **EVERYWHERE, **OPERATED},
    "port": {**READING, **EVERYWHERE, **OPERATED},
    "host": {**HIDDEN, **OPERATED, **dict.fromkeys(HOST_ACTS, "admin")},
    "certificate": {**READING, **EVERYWHERE},
    "secret": {**READING, **EVERYWHERE, **WRITING},
    "container": {**READING, **EVERYWHERE, "post": "write", "delete": "write"},
    "job": {**READING, **EVERYWHERE},
    "event": {**READING, **EVERYWHERE},
    "status": {"get_all": "admin"},
}
"""What Octavia does not have."""


def _rules() -> Iterator[tuple[str, Who]]:
    for family, resources in (("os_load-balancer_api", OCTAVIA), ("caryatid_api", OWN)):
        for resource, actions in resources.items():
            for action, who in actions.items():
                yield f"{family}:{resource}:{action}", who


RULES: dict[str, Who] = dict(_rules())
"""Every rule by its name, `os_load-balancer_api:<resource>:<action>`."""


@dataclass(frozen=True)
class Caller:
    """Who asks."""

    user_id: str
    project_id: str | None
    roles: frozenset[str] = frozenset()
    request_id: str = ""
    is_admin: bool = False
    """May do everything, whatever the roles."""


@dataclass(frozen=True)
class Shown:
    """What a request shows of who sends it."""

    token: str = field(default="", repr=False)
    """X-Auth-Token, or the Bearer of Authorization."""
    user: str = ""
    """Of HTTP basic authentication."""
    password: str = field(default="", repr=False)
    project_id: str = ""
    """X-Project-Id: for which of the user's projects it is, where that is not said by the token."""
    address: str = ""
    """Where it comes from."""


@dataclass(frozen=True)
class Identified:
    """Who it is, by the word of an identity driver."""

    caller: Caller
    until: float = 0.0
    """Seconds since the epoch; until then it need not be asked again (0: it must be)."""


NOBODY = Caller(user_id="", project_id=None)
"""Whoever asks where it does not matter who asks."""


def allowed(caller: Caller, rule: str, project_id: str | None) -> bool:
    """Whether the caller may do what `rule` names to what the project owns; None: nobody owns it.

    Raises KeyError for a rule that is not in the table.
    """
    who = RULES[rule]
    if caller.is_admin or caller.roles & ANYWHERE[who]:
        return True
    at_home = project_id is None or project_id == caller.project_id
    return at_home and bool(caller.roles & AT_HOME.get(who, frozenset()))


def require(caller: Caller, rule: str, project_id: str | None) -> None:
    """Raises Forbidden if the caller may not."""
    if not allowed(caller, rule, project_id):
        raise Forbidden("Policy does not allow this request to be performed.")
