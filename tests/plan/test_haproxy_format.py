# SPDX-License-Identifier: Apache-2.0
"""Formats of flow logs: whatever is let through, HAProxy takes; whatever HAProxy refuses, is not let through."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from caryatid.plan.haproxy import LogSettings, Misformatted, RenderSettings, Unrenderable, render
from caryatid.plan.haproxy import format as form
from caryatid.target import parse

FIELDS = sorted(
    [f"%{name}" for name in form.ANYWHERE | form.HTTP_ONLY]
    + [f"%[{fetch}]" for fetch in form.FETCHES | form.HTTP_FETCHES]
    + [f"%[{fetch}(cn)]" for fetch in form.FETCHES_WITH_FIELD]
)
POOLS = [{"name": name, "protocol": name, "members": []} for name in ("HTTP", "TCP")]
LISTENERS = [
    {"name": pool["name"], "protocol": pool["name"], "protocol_port": 8080 + number, "default_pool": pool["name"]}
    for number, pool in enumerate(POOLS)
]
BALANCER = {"listeners": LISTENERS, "pools": POOLS}


def rendered(grow: Any, text: str) -> str:
    logs = LogSettings(tenant=parse("192.0.2.1,tcp://192.0.2.2"), format=text)
    return render(grow(BALANCER), settings=RenderSettings(logs=logs)).text


def complaint(text: str, directory: Path) -> str:
    """What `haproxy -c` has against a configuration."""
    text = re.sub(r"@MAXCONN:\d+@", "1000", text.replace("@DIR@", str(directory)).replace("@RUN@", str(directory)))
    done = subprocess.run(
        ["haproxy", "-c", "-f", "/dev/stdin"], input=text, capture_output=True, text=True, check=False, timeout=20
    )
    return done.stderr or f"status {done.returncode}" if done.returncode else ""


def test_haproxy_takes_every_field_that_is_let_through_on_every_listener(grow: Any, tmp_path: Path) -> None:
    flags = "".join(f"%{{+Q,{flag}}}{field.removeprefix('%')} " for flag in ("+E", "-X") for field in FIELDS[:9])
    for text in (" ".join(FIELDS), flags, form.DEFAULT, "{{ project_id }}{{lb_id}} {{ listener_id }}", "100%% { it's"):
        assert complaint(rendered(grow, text), tmp_path) == "", text


@pytest.mark.parametrize("text", [
    "", "%", "a %", "%zz", "%cia", "%[nonsense]", "%[src", "%{+Q", "%{zz}ci", "%[src(cn)]", "%[src,lower]",
    "{{ nobody }}",
    "{{ lb_id", "a\n    acl x always_true", "a\x00", "\x7f", "a" * (form.LENGTH_MAX + 1), "%[env(HOME)]", "%[lua.f]",
    "%[req.hdr(a)]", "%{+Q}%ci", "\ud800", "%B{{ lb_id }}", "%bc{{ lb_id }}",
])  # fmt: skip
def test_a_format_that_haproxy_would_not_take_or_that_asks_for_more_is_refused(text: str) -> None:
    with pytest.raises(Misformatted):
        LogSettings(format=text)


def test_a_flavors_format_is_refused_by_the_name_of_the_load_balancer(grow: Any, id_of: Any) -> None:
    tree = grow({**BALANCER, "flavor": {"log_format": "%zz"}})
    with pytest.raises(Unrenderable) as caught:
        render(tree, settings=RenderSettings(logs=LogSettings(tenant=parse("192.0.2.1"))))
    assert (caught.value.kind, caught.value.id) == ("loadbalancer", id_of("loadbalancer"))


@pytest.mark.parametrize("flows", [True, False])
def test_a_flavor_that_says_nothing_leaves_it_to_the_operator(grow: Any, flows: bool) -> None:
    told = RenderSettings(logs=LogSettings(tenant=parse("192.0.2.1"), flows=flows))
    texts = {
        render(grow({**BALANCER, "flavor": flavor}), settings=told).text
        for flavor in ({}, {"log_flows": None, "log_format": None}, {"log_flows": flows})
    }
    assert len(texts) == 1
    assert ("log-format" in texts.pop()) == flows


NASTY = st.text(st.sampled_from("'\"\\ #$%{}[]()@,\t\n\x00aé+-Q"), max_size=12)
OTHERS = ["%%", "{{ lb_id }}", "@DIR@", "@RUN@", "$HOME", "\\x41", "'", "%{+Q}b"]
PIECES = st.lists(NASTY | st.sampled_from(FIELDS) | st.sampled_from(OTHERS), min_size=1, max_size=8).map("".join)


@given(PIECES)
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_accepted_format_adds_a_directive_and_haproxy_takes_it(
    grow: Any, tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    try:
        found = rendered(grow, text)
    except Misformatted:
        return
    plain = rendered(grow, "x")
    assert [line.split(maxsplit=1)[0] for line in found.split("\n") if line] == [
        line.split(maxsplit=1)[0] for line in plain.split("\n") if line
    ]
    assert not re.search(r"log-format .*@", found)
    assert complaint(found, tmp_path_factory.getbasetemp()) == ""


@given(NASTY.filter(lambda text: not form.CONTROL.search(text)))
def test_an_id_is_written_as_it_is_whatever_it_looks_like(project: str) -> None:
    filled = form.fill(form.parse("{{ project_id }}"), {"project_id": project}, http=True)
    assert filled.replace("%%", "%") == project
