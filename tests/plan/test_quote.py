# SPDX-License-Identifier: Apache-2.0
"""Nothing that a user may say becomes HAProxy syntax."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from caryatid.errors import Refused
from caryatid.model import HEALTHMONITOR, L7POLICY, L7RULE, POOL
from caryatid.model.kind import Kind
from caryatid.model.l7 import TARGETS
from caryatid.plan import quote
from caryatid.plan.haproxy import RenderSettings, render

NASTY = st.text(
    alphabet=st.one_of(
        st.sampled_from(list(" \t\n\r\\'\"#$%{}[]()@!|;,:-/=<>`~^&*?.+\x00\x7f\x85\u2028\ud800é☃axn0DIRUN")),
        st.characters(),
    ),
    min_size=1,
    max_size=30,
)
FRAGMENTS = st.lists(
    st.sampled_from([
        *("@DIR@", "@RUN@", "@MAXCONN:1@", "$HOME", "${HOME}", "%[src]", "%%", "\\x41", "\\ ", "'", '"', "--"),
        *(" if ", "-f /etc/passwd", "\n    acl x always_true", "# x", "|| TRUE", "a"),
    ]),
    min_size=1,
    max_size=5,
).map("".join)
TEXT = NASTY | FRAGMENTS
ID = "5f6f1f3c-0d5b-4b0e-9a54-2f4b5c1d7e90"
COMPARES = ["EQUAL_TO", "STARTS_WITH", "ENDS_WITH", "CONTAINS", "REGEX"]
RULE = st.fixed_dictionaries({
    "type": st.sampled_from(["HOST_NAME", "PATH", "FILE_TYPE", "HEADER", "COOKIE"]),
    "compare_type": st.sampled_from(COMPARES),
    "key": st.one_of(st.from_regex(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,8}", fullmatch=True), TEXT),
    "value": TEXT,
    "invert": st.booleans(),
})
POLICY = st.fixed_dictionaries({
    "action": st.sampled_from(["REJECT", "REDIRECT_TO_URL", "REDIRECT_PREFIX", "REDIRECT_TO_POOL"]),
    "redirect_url": TEXT.map("http://h/".__add__),
    "redirect_prefix": TEXT.map("https://h".__add__),
    "description": TEXT,
    "rules": st.lists(RULE, min_size=1, max_size=3),
})
MONITOR = st.fixed_dictionaries({
    "type": st.sampled_from(["HTTP", "HTTPS"]),
    "url_path": TEXT.map("/".__add__),
    "http_version": st.just(1.1),
    "domain_name": st.one_of(st.just("www.example.org"), TEXT),
    "expected_codes": st.one_of(st.just("200"), TEXT),
})
PERSISTENCE = st.fixed_dictionaries({"type": st.just("APP_COOKIE"), "cookie_name": st.one_of(st.just("it's%"), TEXT)})
DIRECTIVES = frozenset({
    *("global", "defaults", "frontend", "backend"),
    *("hard-stop-after", "load-server-state-from-file", "log", "maxconn", "no", "retries", "server-state-file"),
    *("acl", "balance", "bind", "cookie", "default_backend", "http-check", "http-request", "http-reuse", "mode"),
    *("option", "server", "stats", "stick", "stick-table", "timeout", "use_backend"),
})


def words(line: str) -> list[str]:
    """The words of a line, by the rules of HAProxy's manual (2.2. Quoting and escaping)."""
    found: list[str] = []
    current: str | None = None
    rest = iter(line)
    for char in rest:
        if char == "'":
            current = (current or "") + "".join(_until_quote(rest))
        elif char == "\\":
            following = next(rest)
            current = (current or "") + (chr(int(next(rest) + next(rest), 16)) if following == "x" else following)
        elif char in " \t":
            found += [] if current is None else [current]
            current = None
        elif char == "#":
            break
        else:
            assert char not in '"$', "never outside quotes"
            current = (current or "") + char
    return found + ([] if current is None else [current])


def _until_quote(rest: Iterator[str]) -> Iterator[str]:
    for char in rest:
        if char == "'":
            return
        yield char
    raise AssertionError("a quote is not closed")


@given(TEXT)
def test_a_word_means_exactly_its_value_or_is_refused(value: str) -> None:
    bad = re.search(r"[\x00-\x1f\x7f\ud800-\udfff]", value)
    if bad:
        with pytest.raises(quote.Unquotable):
            quote.word(value)
    else:
        assert words(quote.word(value)) == [value]
        assert words(quote.log_format(value)) == [value.replace("%", "%%")]


@given(TEXT)
def test_no_word_holds_a_token_of_the_agent(value: str) -> None:
    try:
        assert "@" not in quote.word(value)
    except quote.Unquotable:
        assert re.search(r"[\x00-\x1f\x7f\ud800-\udfff]", value)


@pytest.mark.parametrize("value", ["", "a b", "a\n", "a#", "é", "a'", "a@b"])
def test_a_name_is_plain_or_refused(value: str) -> None:
    with pytest.raises(quote.Unquotable):
        quote.name(value)


@pytest.mark.parametrize("value", ["localhost", "/etc/passwd", "fd@3", "abns@x", "${H}", "::1 backup", "::1\n"])
def test_an_address_is_numbers_or_refused(value: str) -> None:
    with pytest.raises(quote.Unquotable):
        quote.host(value)
    with pytest.raises(quote.Unquotable):
        quote.cidr(f"{value}/8")


@pytest.mark.parametrize("key", ["a)", "a,b", "a b", 'a"', "", "a\\"])
def test_the_argument_of_a_fetch_is_a_token_or_refused(key: str) -> None:
    with pytest.raises(quote.Unquotable):
        quote.fetch("req.hdr", key)


def document(policies: list[Any], monitor: dict[str, Any] | None, persistence: dict[str, Any] | None) -> dict[str, Any]:
    pool = {"name": "blue", "protocol": "HTTP", "members": [{"address": "192.0.2.1", "protocol_port": 80}]}
    more = {"healthmonitor": monitor, "session_persistence": persistence}
    return {
        "pools": [pool | {key: value for key, value in more.items() if value}],
        "listeners": [{"name": "web", "protocol": "HTTP", "default_pool": "blue", "l7policies": policies}],
    }


def accepted(grow: Any, policies: Any, monitor: Any, persistence: Any) -> Any:
    """The tree of those parts that the model accepts."""
    good = []
    for policy in policies:
        rules = [rule for rule in policy["rules"] if takes(L7RULE, rule, l7policy_id=ID)]
        wanted = {**{name: policy[name] for name in ("action", "description")}, **target_of(policy)}
        if rules and takes(L7POLICY, {**wanted, "listener_id": ID}):
            pool = {"redirect_pool": "blue"} if wanted.pop("redirect_pool_id", None) else {}
            good.append({**wanted, **pool, "rules": rules})
    checks = takes(HEALTHMONITOR, {"delay": 1, "timeout": 1, "max_retries": 1, **monitor, "pool_id": ID})
    pool = {"protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN", "loadbalancer_id": ID}
    persists = takes(POOL, {**pool, "session_persistence": persistence})
    return grow(document(good, monitor if checks else None, persistence if persists else None))


def target_of(policy: dict[str, Any]) -> dict[str, Any]:
    target = TARGETS[policy["action"]]
    return {} if target is None else {target: ID if target == "redirect_pool_id" else policy[target]}


def takes(kind: Kind, wanted: dict[str, Any], **more: str) -> bool:
    try:
        kind.new(wanted, {"id": ID, "project_id": "p", "created_at": "2026-11-20T19:05:25.123456", **more})
    except Refused:
        return False
    return True


TREES: dict[str, Any] = {"policies": st.lists(POLICY, max_size=3), "monitor": MONITOR, "persistence": PERSISTENCE}
SLOW = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])


@given(**TREES)
@settings(SLOW, max_examples=60)
def test_no_accepted_input_adds_a_directive(grow: Any, policies: Any, monitor: Any, persistence: Any) -> None:
    tree = accepted(grow, policies, monitor, persistence)
    rendered = render(tree, settings=RenderSettings())
    assert "\r" not in rendered.text
    lines = [line for line in rendered.text.split("\n") if line and not line.startswith("# ")]
    said = [words(line) for line in lines]
    assert {line[0] for line in said} <= DIRECTIVES
    rules = [rule for node in tree.policies for rule in node.rules]
    acls = [line for line in said if line[0] == "acl" and line[1] != "chosen"]
    assert len(acls) == len(rules) + sum(rule.type == "HOST_NAME" for rule in rules)
    for rule in rules:
        values = {line[-1] for line in acls if line[1] == rule.id}
        dotted = rule.type == "FILE_TYPE" and rule.compare_type != "REGEX"
        assert values == {"." + rule.value.removeprefix(".") if dotted else rule.value}
    targets = [node.policy.redirect_url or node.policy.redirect_prefix for node in tree.policies]
    wanted = [target.replace("%", "%%") for target in targets if target]
    assert [line[line.index("if") - 1] for line in said if line[:2] == ["http-request", "redirect"]] == wanted
    assert sum(line[0] == "http-request" for line in said) <= len(targets)
    found = tree.pools[0].healthmonitor
    uris = [line[line.index("uri") + 1] for line in said if line[:2] == ["http-check", "send"]]
    assert uris == ([found.url_path] if found else [])


@given(**TREES)
@settings(SLOW, max_examples=25)
def test_haproxy_takes_every_accepted_input(
    grow: Any, policies: Any, monitor: Any, persistence: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    tree = accepted(grow, policies, monitor, persistence)
    assert check(render(tree, settings=RenderSettings()).text, tmp_path_factory.getbasetemp()) == ""


def check(text: str, directory: Path) -> str:
    """What `haproxy -c` has against a configuration."""
    text = re.sub(r"@MAXCONN:\d+@", "1000", text.replace("@DIR@", str(directory)).replace("@RUN@", str(directory)))
    done = subprocess.run(
        ["haproxy", "-c", "-q", "-f", "/dev/stdin"], input=text, capture_output=True, text=True, check=False, timeout=20
    )
    return done.stderr if done.returncode else ""
