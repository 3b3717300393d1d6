# SPDX-License-Identifier: Apache-2.0
"""Every feature as HAProxy configuration: compared with a file that one can read, and accepted by HAProxy itself."""

import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from caryatid.model.tls import TlsPolicy
from caryatid.model.tree import Tree
from caryatid.plan.haproxy import LogSettings, Rendered, RenderSettings, Unrenderable, render
from caryatid.target import parse
from tests.certificates import Authority

CA = (Path(__file__).parent / "log-ca.pem").read_text()
GOLDEN = Path(__file__).parent.parent / "golden" / "haproxy"
VALID = "Configuration file is valid"
CASES = sorted(path.stem for path in GOLDEN.glob("*.yaml"))
Grow = Callable[[Any], Tree]


def haproxy_check(rendered: Rendered, directory: Path) -> str:
    """What `haproxy -c` has to say about a configuration; empty: nothing."""
    file = directory / "haproxy.cfg"
    text = re.sub(r"@(DIR|RUN|KEYS)@", str(directory), rendered.text)
    (directory / "servers.state").write_text("1\n")
    for name, content in rendered.files.items():
        (directory / name).write_text(content)
    for name, bundle in rendered.keys.items():
        (directory / name).write_text(bundle.pem)
    file.write_text(re.sub(r"@MAXCONN:\d+@", "1000", text))
    done = subprocess.run(["haproxy", "-c", "-f", file], capture_output=True, text=True, check=False, timeout=20)
    lines = [line for line in (done.stdout + done.stderr).splitlines() if "[NOTICE]" not in line and line != VALID]
    return "\n".join(lines) if lines or not done.returncode else f"status {done.returncode}"


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.mark.parametrize("case", CASES)
def test_the_configuration_is_the_golden_one_and_haproxy_takes_it_without_a_warning(
    case: str, grow: Grow, authority: Authority, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    document = yaml.safe_load((GOLDEN / f"{case}.yaml").read_text())
    rendered = render(authority.bundles(grow(document)), settings=render_settings(document))
    text = rendered.text
    golden = GOLDEN / f"{case}.cfg"
    if request.config.getoption("--update-golden"):
        golden.write_text(text)
    assert text == golden.read_text()
    assert haproxy_check(rendered, tmp_path) == ""


def render_settings(document: dict[str, Any]) -> RenderSettings:
    logs = document.get("logs", {})
    targets = {purpose: parse(logs[purpose]) for purpose in ("tenant", "admin") if purpose in logs}
    tls = TlsPolicy(**document.get("tls", {}))
    return RenderSettings(
        **document.get("settings", {}), tls=tls, logs=LogSettings(**{**logs, **targets, "tls_ca": CA})
    )


def http(members: list[dict[str, Any]], **pool: Any) -> dict[str, Any]:
    return {
        "listeners": [{"name": "web", "protocol": "HTTP", "default_pool": "blue"}],
        "pools": [{"name": "blue", "protocol": "HTTP", "members": members, **pool}],
    }


ONE = {"address": "192.0.2.1", "protocol_port": 80}
TWO = {"address": "192.0.2.2", "protocol_port": 80}


@pytest.mark.parametrize(("before", "after", "runtime"), [
    ([ONE], [ONE, TWO], True),
    ([ONE], [{**ONE, "weight": 7}], True),
    ([ONE], [{**ONE, "admin_state_up": False}], True),
    ([ONE], [{**ONE, "backup": True}], True),
    ([ONE], [], True),
])  # fmt: skip
@pytest.mark.parametrize("cookies", [False, True])
def test_only_what_the_runtime_api_cannot_do_changes_the_base(
    grow: Grow, before: Any, after: Any, runtime: bool, cookies: bool
) -> None:
    how = {"session_persistence": {"type": "HTTP_COOKIE"}} if cookies else {}
    one, two = (render(grow(http(members, **how)), settings=RenderSettings()) for members in (before, after))
    switched = len(before) == len(after) and "backup" not in after[0]
    assert one.hash != two.hash
    assert (one.base_hash == two.base_hash) == (runtime and (switched or not cookies))


def test_a_change_of_anything_else_changes_the_base(grow: Grow) -> None:
    first = render(grow(http([ONE])), settings=RenderSettings())
    other = render(grow(http([ONE], lb_algorithm="LEAST_CONNECTIONS")), settings=RenderSettings())
    assert first.base_hash != other.base_hash


def test_the_same_tree_renders_the_same_in_whatever_order_its_members_come(grow: Grow) -> None:
    tree = grow(http([ONE, TWO], lb_algorithm="SOURCE_IP"))
    node = tree.listeners[0]
    assert node.default_pool is not None
    pool = replace(node.default_pool, members=tuple(reversed(node.default_pool.members)))
    turned = replace(tree, listeners=(replace(node, default_pool=pool),))
    assert render(turned, settings=RenderSettings()) == render(tree, settings=RenderSettings())


def test_the_table_of_servers_says_what_the_text_says(grow: Grow) -> None:
    members = [ONE, {**TWO, "weight": 3, "admin_state_up": False, "backup": True}]
    rendered = render(grow(http(members, healthmonitor={"type": "TCP"})), settings=RenderSettings())
    lines = [line.strip() for line in rendered.text.splitlines() if line.strip().startswith("server ")]
    assert lines == [
        f"server {s.name} {s.address}:{s.port} weight {s.weight} {s.options}{'' if s.enabled else ' disabled'}"
        for s in rendered.servers
    ]
    assert {s.backend for s in rendered.servers} == {line.split()[1] for line in rendered.text.splitlines()
                                                      if line.startswith("backend ")}  # fmt: skip


def test_every_object_is_named_in_a_comment_before_its_lines(grow: Grow) -> None:
    policy = {"action": "REJECT", "rules": [{"type": "PATH", "compare_type": "EQUAL_TO", "value": "/a"}]}
    document = http([ONE], healthmonitor={"type": "TCP"})
    document["listeners"][0]["l7policies"] = [policy]
    lines = render(grow(document), settings=RenderSettings()).text.splitlines()
    kinds = [line.split()[1] for line in lines if line.startswith("# ")]
    assert kinds == [
        "loadbalancer", "listener", "l7rule", "l7policy", "listener", "pool", "healthmonitor", "member",
    ]  # fmt: skip


@pytest.mark.parametrize(("document", "culprit"), [
    (http([ONE], lb_algorithm="SOURCE_IP_PORT"), ("pool", "blue")),
    (http([ONE], healthmonitor={"type": "PING"}), ("healthmonitor", "blue")),
])  # fmt: skip
def test_what_cannot_be_carried_out_is_refused_by_name(grow: Grow, document: Any, culprit: Any, id_of: Any) -> None:
    with pytest.raises(Unrenderable) as caught:
        render(grow(document), settings=RenderSettings())
    assert (caught.value.kind, caught.value.id) == (culprit[0], id_of(*culprit))


def test_a_value_that_got_past_validation_is_refused_by_the_name_of_its_object(grow: Grow, id_of: Any) -> None:
    tree = grow(http([ONE]))
    node = tree.listeners[0]
    assert node.default_pool is not None
    evil = node.default_pool.members[0].model_copy(update={"address": "192.0.2.1:80\n    acl x always_true"})
    pool = replace(node.default_pool, members=(evil,))
    with pytest.raises(Unrenderable) as caught:
        render(replace(tree, listeners=(replace(node, default_pool=pool),)), settings=RenderSettings())
    assert (caught.value.kind, caught.value.id) == ("member", id_of("member", "blue", 0))


def test_members_of_source_ip_pools_have_ids_of_their_own_even_when_uuids_begin_alike(grow: Grow) -> None:
    tree = grow(http([ONE, TWO], lb_algorithm="SOURCE_IP"))
    node = tree.listeners[0]
    assert node.default_pool is not None
    alike = [member.model_copy(update={"id": f"ffffffff-0000-4000-8000-00000000000{number}"})
             for number, member in enumerate(node.default_pool.members)]  # fmt: skip
    pool = replace(node.default_pool, members=tuple(alike))
    rendered = render(replace(tree, listeners=(replace(node, default_pool=pool),)), settings=RenderSettings())
    ids = [int(server.options.split("id ")[1]) for server in rendered.servers]
    assert ids == [0x7FFFFFFF, 1]
