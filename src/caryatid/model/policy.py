# SPDX-License-Identifier: Apache-2.0
"""Who may do what: one table, with the rule names of Octavia's policy (facts: octavia.md §3), and what an operator's
policy file says otherwise."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, Self

from caryatid.errors import Forbidden

from .checks import Check, RuleError, Target, Text, compiled, named_in

Who = Literal[
    "read", "read-service", "read-global", "write", "admin", "read-quota", "read-quota-global", "write-quota", "own"
]
BASE: dict[str, str] = {
    "context_is_admin": "role:admin or role:load-balancer_admin",
    "project-member": "role:member and project_id:%(project_id)s",
    "project-reader": "role:reader and project_id:%(project_id)s",
    "service": "role:service",
    "load-balancer:owner": "project_id:%(project_id)s",
    "load-balancer:admin": "is_admin:True or role:admin or role:load-balancer_admin",
    "load-balancer:global_observer": "role:admin or role:load-balancer_global_observer",
    "load-balancer:quota-admin": "role:admin or role:load-balancer_quota_admin",
    "load-balancer:member_and_owner": "rule:project-member or (role:load-balancer_member and rule:load-balancer:owner)",
    "load-balancer:observer_and_owner": (
        "rule:project-reader or (role:load-balancer_observer and rule:load-balancer:owner)"
    ),
    "load-balancer:read": (
        "rule:load-balancer:observer_and_owner or rule:load-balancer:global_observer or "
        "rule:load-balancer:member_and_owner or rule:load-balancer:admin"
    ),
    "load-balancer:read-global": "rule:load-balancer:global_observer or rule:load-balancer:admin",
    "load-balancer:write": "rule:load-balancer:member_and_owner or rule:load-balancer:admin",
    "load-balancer:read-quota": (
        "rule:load-balancer:observer_and_owner or rule:load-balancer:global_observer or "
        "rule:load-balancer:member_and_owner or rule:load-balancer:quota-admin or rule:load-balancer:admin"
    ),
    "load-balancer:read-quota-global": (
        "rule:load-balancer:global_observer or rule:load-balancer:quota-admin or rule:load-balancer:admin"
    ),
    "load-balancer:write-quota": "rule:load-balancer:quota-admin or rule:load-balancer:admin",
}
"""What the rules of actions are made of, under Octavia's names. Both sets of roles count: Keystone's (`admin`,
`member`, `reader`, `service`) and those of load balancing (`load-balancer_…`)."""
SAYS: dict[Who, str] = {
    "read": "rule:load-balancer:read",
    "read-service": "rule:load-balancer:read or rule:service",
    "read-global": "rule:load-balancer:read-global",
    "write": "rule:load-balancer:write",
    "admin": "rule:load-balancer:admin",
    "read-quota": "rule:load-balancer:read-quota",
    "read-quota-global": "rule:load-balancer:read-quota-global",
    "write-quota": "rule:load-balancer:write-quota",
    "own": "rule:load-balancer:admin or user_id:%(user_id)s",
}

READING: dict[str, Who] = {"get_all": "read", "get_one": "read"}
WRITING: dict[str, Who] = {"post": "write", "put": "write", "delete": "write"}
OPERATED: dict[str, Who] = {"post": "admin", "put": "admin", "delete": "admin"}
HIDDEN: dict[str, Who] = {"get_all": "admin", "get_one": "admin"}
EVERYWHERE: dict[str, Who] = {"get_all-global": "read-global"}
ITSELF: dict[str, Who] = {"get_all": "own", "get_one": "own"}

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
    "amphora": {
        **HIDDEN,
        "delete": "admin",
        "put_config": "admin",
        "put_failover": "admin",
        "get_stats": "admin",
        "get_diagnostics": "admin",
    },
}
HOST_ACTS = ("put_drain", "put_enable", "put_evacuate", "put_revoke")
OWN: dict[str, dict[str, Who]] = {
    "network": {**READING, **EVERYWHERE, **OPERATED},
    "subnet": {**READING, **EVERYWHERE, **OPERATED},
    "port": {**READING, **EVERYWHERE, **OPERATED},
    "host": {**HIDDEN, **OPERATED, **dict.fromkeys(HOST_ACTS, "admin")},
    "cluster": {**HIDDEN, **OPERATED, "get_status": "admin", "get_jobs": "admin"},
    "certificate": {**READING, **EVERYWHERE},
    "secret": {**READING, **EVERYWHERE, **WRITING},
    "container": {**READING, **EVERYWHERE, "post": "write", "delete": "write"},
    "job": {**READING, **EVERYWHERE, "put_cancel": "admin"},
    "event": {**READING, **EVERYWHERE},
    "subscription": {
        **READING,
        **EVERYWHERE,
        **WRITING,
        "post_secret": "write",
        "post_replay": "write",
        "post_test": "write",
    },
    "delivery": READING,
    "status": {"get_all": "read", **EVERYWHERE},
    "project": {**READING, **OPERATED, "get_all-global": "admin"},
    "user": {**ITSELF, **OPERATED, "get_all-global": "admin", "put:password": "own"},
    "role": {**ITSELF, "get_all-global": "admin", "post": "admin", "delete": "admin"},
    "token": {**ITSELF, "get_all-global": "admin", "post": "own", "delete": "own"},
    "gslb": {
        **READING,
        **EVERYWHERE,
        **WRITING,
        "get_status": "read",
        "get_history": "read",
        "get_explain": "read",
        "post_sync": "write",
        "put_unfreeze": "admin",
    },
    "gslb_pool": {**READING, **EVERYWHERE, **WRITING, "get_status": "read"},
    "gslb_member": {**READING, **EVERYWHERE, **WRITING, "get_status": "read"},
    "gslb_monitor": {
        **READING,
        **EVERYWHERE,
        **WRITING,
        "post:exec": "admin",
        "put:exec": "admin",
        "post_test": "write",
        "put_votes": "write",
    },
    "gslb_geomap": {**READING, **EVERYWHERE, **WRITING},
    "gslb_zone": {**READING, **EVERYWHERE, **WRITING, "post:shared": "admin", "put:shared": "admin"},
    "gslb_region": {**READING, **OPERATED, "post_token": "admin"},
    "gslb_backend": {**HIDDEN, **OPERATED},
    "gslb_checker": {**HIDDEN, "put_revoke": "admin", "delete": "admin"},
}
"""What Octavia does not have."""


def _rules() -> Iterator[tuple[str, Who]]:
    for family, resources in (("os_load-balancer_api", OCTAVIA), ("caryatid_api", OWN)):
        for resource, actions in resources.items():
            for action, who in actions.items():
                yield f"{family}:{resource}:{action}", who


RULES: dict[str, Who] = dict(_rules())
"""Every rule of an action by its name, `os_load-balancer_api:<resource>:<action>`."""
TEXTS: dict[str, str] = {**BASE, **{rule: SAYS[who] for rule, who in RULES.items()}}
"""What every rule says where no policy file says otherwise."""


@dataclass(frozen=True, eq=False)
class Policy:
    """The rules in force."""

    texts: Mapping[str, Text]
    checks: Mapping[str, Check] = field(repr=False)

    @classmethod
    def of(cls, changed: Mapping[str, Text]) -> Self:
        """The built-in rules, but for those that are `changed`; a rule of a new name may be added for others to name.

        Raises RuleError.
        """
        texts = {**TEXTS, **changed}
        checks = compiled(texts)
        named = {name for text in changed.values() for name in named_in(text)}
        for rule in changed.keys() - TEXTS.keys() - named:
            raise RuleError(rule, "there is no such rule, and none of the others names it.")
        return cls(texts, checks)


BUILT_IN = Policy.of({})


@dataclass(frozen=True)
class Once:
    """Under which key a request may come again (Idempotency-Key)."""

    key: str
    fingerprint: str
    """Of what it asks for."""


@dataclass(frozen=True)
class Caller:
    """Who asks."""

    user_id: str
    project_id: str | None
    roles: frozenset[str] = frozenset()
    request_id: str = ""
    is_admin: bool = False
    """May do everything, whatever the roles."""
    once: Once | None = None
    token_id: str = ""
    """The token of ours by which it was identified: it makes none that may do more. Empty: by something else."""
    policy: Policy = field(default=BUILT_IN, repr=False, compare=False)
    """The rules by which it is judged."""


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
    service_token: str = field(default="", repr=False)
    """X-Service-Token: of a service that brings along its user's token."""


@dataclass(frozen=True)
class Identified:
    """Who it is, by the word of an identity driver."""

    caller: Caller
    until: float = 0.0
    """Seconds since the epoch; until then it need not be asked again (0: it must be)."""


NOBODY = Caller(user_id="", project_id=None)
"""Whoever asks where it does not matter who asks."""


def allowed(caller: Caller, rule: str, project_id: str | None, user_id: str | None = None) -> bool:
    """Whether the caller may do what `rule` names to what the project owns, or the user; None: nobody owns it, and it
    counts as the caller's project's (a flavor).

    Raises KeyError for a rule that is not in the table.
    """
    check = caller.policy.checks[rule]
    return caller.is_admin or check(caller, Target(project_id or caller.project_id, user_id))


def require(caller: Caller, rule: str, project_id: str | None, user_id: str | None = None) -> None:
    """Raises Forbidden if the caller may not."""
    if not allowed(caller, rule, project_id, user_id):
        raise Forbidden("Policy does not allow this request to be performed.")
