# SPDX-License-Identifier: Apache-2.0
"""Who may do what."""

import pytest

from caryatid.errors import Forbidden
from caryatid.model import KINDS
from caryatid.model.policy import RULES, Caller, allowed, require

API = "os_load-balancer_api"
MAIN = (
    *("loadbalancer", "listener", "pool", "member", "healthmonitor", "l7policy", "l7rule"),
    *("ratelimitpolicy", "ratelimitrule"),
)


def caller(*roles: str, project: str | None = "mine", admin: bool = False) -> Caller:
    return Caller("user", project, frozenset(roles), is_admin=admin)


@pytest.mark.parametrize("resource", MAIN)
@pytest.mark.parametrize(("roles", "reads", "writes"), [
    (("reader",), True, False),
    (("member",), True, True),
    (("member", "reader"), True, True),
    (("load-balancer_observer",), True, False),
    (("load-balancer_member",), True, True),
    (("load-balancer_quota_admin",), False, False),
    (("anything",), False, False),
    ((), False, False),
])  # fmt: skip
def test_project_roles_work_in_their_own_project_only(
    resource: str, roles: tuple[str, ...], reads: bool, writes: bool
) -> None:
    for action, may in (("get_all", reads), ("get_one", reads), ("post", writes), ("put", writes), ("delete", writes)):
        assert allowed(caller(*roles), f"{API}:{resource}:{action}", "mine") == may
        assert not allowed(caller(*roles), f"{API}:{resource}:{action}", "theirs")


@pytest.mark.parametrize("role", ["admin", "load-balancer_admin"])
@pytest.mark.parametrize("rule", sorted(RULES))
def test_an_administrator_may_do_everything_anywhere(role: str, rule: str) -> None:
    assert allowed(caller(role), rule, "theirs")


@pytest.mark.parametrize("rule", sorted(RULES))
def test_without_authentication_everything_is_allowed_and_without_roles_nothing(rule: str) -> None:
    assert allowed(caller(admin=True), rule, "theirs")
    assert not allowed(caller(), rule, "mine")


@pytest.mark.parametrize("rule", sorted(rule for rule in RULES if rule.startswith(API)))
def test_a_global_observer_reads_everywhere_and_changes_nothing(rule: str) -> None:
    action = rule.split(":", 2)[2]
    reads = action.startswith("get_") and RULES[rule] != "admin"
    assert allowed(caller("load-balancer_global_observer"), rule, "theirs") == reads


@pytest.mark.parametrize("action", ["get_all-global", "put", "delete"])
def test_quotas_are_set_by_those_who_have_the_role(action: str) -> None:
    assert allowed(caller("load-balancer_quota_admin"), f"{API}:quota:{action}", "theirs")
    assert not allowed(caller("member"), f"{API}:quota:{action}", "mine")
    assert allowed(caller("reader"), f"{API}:quota:get_one", "mine")


def test_a_service_reads_members_and_nothing_else() -> None:
    may = {rule for rule in RULES if allowed(caller("service"), rule, "theirs")}
    assert may == {f"{API}:member:get_all"}


@pytest.mark.parametrize(
    "rule", ["amphora:get_all", "loadbalancer:put_failover", "flavor:post", "flavor-profile:get_one"]
)
def test_operators_actions_are_not_for_projects(rule: str) -> None:
    assert not allowed(caller("member", "reader"), f"{API}:{rule}", "mine")
    assert not allowed(caller("member", "reader"), f"{API}:{rule}", None)


def test_what_nobody_owns_is_read_by_any_project() -> None:
    assert allowed(caller("reader"), f"{API}:flavor:get_all", None)
    assert not allowed(caller("other"), f"{API}:flavor:get_all", None)


def test_who_has_no_project_owns_nothing() -> None:
    assert not allowed(caller("member", project=None), f"{API}:pool:get_one", "theirs")


def test_security_groups_have_rules_of_their_own() -> None:
    assert RULES[f"{API}:loadbalancer:post:vip_sg_ids"] == RULES[f"{API}:loadbalancer:put:vip_sg_ids"] == "write"


def test_every_kind_has_rules_for_reading_and_every_creatable_one_for_writing() -> None:
    for kind in KINDS:
        family = API if kind.path.startswith(("/lbaas", "/octavia")) else "caryatid_api"
        resource = f"{family}:{kind.policy or kind.name}"
        actions = {"get_all", "get_one", *(("put", "delete") if kind.changeable else ())}
        assert {f"{resource}:{action}" for action in actions} <= RULES.keys(), kind.name


def test_a_refusal_is_a_403_and_an_unknown_rule_a_fault_of_ours() -> None:
    require(caller("member"), f"{API}:pool:put", "mine")
    with pytest.raises(Forbidden, match=r"^Policy does not allow this request to be performed\.$"):
        require(caller("member"), f"{API}:pool:put", "theirs")
    with pytest.raises(KeyError):
        require(caller("member"), f"{API}:pool:fly", "mine")
