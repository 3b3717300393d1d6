# SPDX-License-Identifier: Apache-2.0
"""The language of policy rules: oslo.policy, which it is taken from, comes to the same verdict."""

import json
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oslo_config import cfg
from oslo_policy import policy as oslo

from caryatid.model import policyfile
from caryatid.model.checks import RuleError, Target, compiled
from caryatid.model.policy import RULES, TEXTS, Caller, Policy, allowed

ROLES = ("admin", "member", "reader", *(f"load-balancer_{word}" for word in ("member", "admin", "quota_admin")), "x")
PROJECTS = ("p1", "p2")
USERS = ("u1", "u2")
NAMES = ("a", "b", "c")
SEVERAL = settings(max_examples=200, deadline=None)
ENFORCER = oslo.Enforcer(cfg.ConfigOpts(), use_conf=False)

CHECKS = st.one_of(
    st.sampled_from(ROLES).map("role:{}".format),
    st.sampled_from(ROLES).map(lambda role: f"role:{role.upper()}"),
    st.sampled_from(["project_id:%(project_id)s", "user_id:%(user_id)s", "project_id:p1", "user_id:u2"]),
    st.sampled_from(["is_admin:True", "is_admin:False", "system_scope:all", "role:%(user_id)s", "@", "!"]),
)
SPACE = st.sampled_from([" ", "  ", "\n "])


def compound(inner):
    word = st.sampled_from([" and ", " or ", " AND ", "\n or "])
    joined = st.tuples(inner, word, inner).map("".join)
    return st.one_of(joined, inner.map("({})".format), inner.map("( {} )".format), inner.map("not ({})".format))


EXPRESSIONS = st.recursive(st.one_of(CHECKS, CHECKS.map("not {}".format)), compound, max_leaves=12)
CALLERS = st.builds(
    Caller,
    user_id=st.sampled_from(USERS),
    project_id=st.sampled_from(PROJECTS),
    roles=st.frozensets(st.sampled_from(ROLES)),
)
TARGETS = st.builds(Target, st.sampled_from(PROJECTS), st.sampled_from(USERS))


def verdict(rules, name, caller, target):
    """What oslo.policy says, with `is_admin` as Octavia fills it in."""
    ENFORCER.set_rules(oslo.Rules.from_dict(rules), use_conf=False)
    known = {"user_id": caller.user_id, "project_id": caller.project_id, "roles": [*caller.roles]}
    known |= {"system_scope": None, "domain_id": None}
    known["is_admin"] = ENFORCER.enforce("context_is_admin", {}, known)
    return bool(ENFORCER.enforce(name, target._asdict(), known))


@SEVERAL
@given(EXPRESSIONS, CALLERS, TARGETS)
def test_oslo_says_the_same_of_any_expression(text, caller, target):
    rules = {"context_is_admin": "role:admin", "rule": text}
    assert compiled(rules)["rule"](caller, target) == verdict(rules, "rule", caller, target)


@SEVERAL
@given(st.lists(EXPRESSIONS, min_size=3, max_size=3), CALLERS, TARGETS)
def test_oslo_says_the_same_of_rules_that_name_each_other(texts, caller, target):
    first, second, third = texts
    rules = {
        "context_is_admin": "role:load-balancer_admin",
        "c": third,
        "b": f"rule:c or ({second})",
        "a": f"({first}) and not rule:b",
    }
    assert compiled(rules)["a"](caller, target) == verdict(rules, "a", caller, target)


@SEVERAL
@given(st.lists(st.one_of(CHECKS, st.lists(CHECKS, max_size=3)), max_size=3), CALLERS, TARGETS)
def test_oslo_says_the_same_of_lists_of_lists(lists, caller, target):
    rules = {"context_is_admin": "role:admin", "rule": lists}
    assert compiled(rules)["rule"](caller, target) == verdict(rules, "rule", caller, target)


@SEVERAL
@given(st.sampled_from(sorted(RULES)), CALLERS, TARGETS)
def test_oslo_says_the_same_of_the_built_in_rules(rule, caller, target):
    assert allowed(caller, rule, target.project_id, target.user_id) == verdict(TEXTS, rule, caller, target)


OWNERS = {
    "context_is_admin": "role:admin or role:load-balancer_admin",
    "whoever_owns": "is_admin:True or project_id:%(project_id)s",
    "load-balancer:read": "rule:whoever_owns",
    "load-balancer:write": "rule:whoever_owns",
    "load-balancer:read-global": "is_admin:True",
}
SYSTEM = {
    "context_is_admin": "role:admin and system_scope:all",
    "load-balancer:admin": "is_admin:True or role:load-balancer_admin",
    "load-balancer:read": "is_admin:True or (role:reader and project_id:%(project_id)s)",
    "load-balancer:write": "is_admin:True or (role:member and project_id:%(project_id)s)",
}


@pytest.mark.parametrize("changed", [OWNERS, SYSTEM], ids=["admin or owner", "scoped"])
@SEVERAL
@given(rule=st.sampled_from(sorted(RULES)), caller=CALLERS, target=TARGETS)
def test_oslo_says_the_same_with_a_policy_file(changed, rule, caller, target):
    found = policyfile.read(json.dumps(changed), "policy.json")
    mine = found.checks[rule](caller, target)
    assert mine == verdict({**TEXTS, **changed}, rule, caller, target)


@pytest.mark.parametrize(("text", "why"), [
    ("role:admin or", "at its end"),
    ("and role:admin", "before 'and'"),
    ("role:admin role:member", "one too many"),
    ("(role:admin", "not closed"),
    ("role:admin)", "one too many"),
    ("()", "a check is wanted"),
    ("admin", "is no check"),
    ("http://example.com/", "is no check"),
    ("colour:red", "is no check"),
    ("project_id:%(tenant)s", "only %\\(project_id\\)s"),
    ("rule:nowhere", "there is not"),
    ("rule:rule", "leads to itself"),
    ("is_admin:True and rule:circle", "leads to itself"),
    (3, "neither an expression nor"),
    ([["role:admin", 1]], "is no check"),
    ("(" * 200 + "role:admin" + ")" * 200, "deep"),
    ("not " * 200 + "role:admin", "deep"),
])  # fmt: skip
def test_what_cannot_be_understood_is_refused_and_named(text, why):
    with pytest.raises(RuleError, match=why):
        compiled({"context_is_admin": "role:admin", "circle": "rule:rule", "rule": text})


@settings(max_examples=300, deadline=None)
@given(st.text(string.printable, max_size=60))
def test_no_text_is_more_than_a_rule_or_a_refusal(text):
    try:
        check = compiled({"context_is_admin": "role:admin", "rule": text})["rule"]
    except RuleError:
        return
    assert check(Caller("u", "p"), Target("p")) in {True, False}


def test_what_nobody_owns_has_no_owner():
    check = compiled({"context_is_admin": "!", "rule": "project_id:%(project_id)s or user_id:%(user_id)s"})["rule"]
    assert not check(Caller("None", None), Target(None, None))
    assert check(Caller("u", "p"), Target("p", None))
    assert check(Caller("u", None), Target(None, "u"))


def test_rules_are_changed_one_by_one_and_new_ones_must_be_named():
    found = Policy.of({"load-balancer:write": "role:builder", "mine": "role:x", "load-balancer:owner": "rule:mine"})
    builder = Caller("u", "p", frozenset({"builder"}), policy=found)
    assert allowed(builder, "os_load-balancer_api:pool:post", "theirs")
    assert not allowed(builder, "os_load-balancer_api:pool:get_all", "p")
    with pytest.raises(RuleError, match="there is no such rule"):
        Policy.of({"os_load-balancer_api:pool:fly": "role:admin"})
