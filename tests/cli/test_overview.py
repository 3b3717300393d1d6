# SPDX-License-Identifier: Apache-2.0
"""Everything on one screen."""

import pytest
from rich.console import Console

from caryatid.cli.overview import Overview, badness, screen


def one(name, operating="ONLINE", provisioning="ACTIVE", **more):
    statuses = {"operating_status": operating, "provisioning_status": provisioning}
    return {"id": f"id-{name}", "name": name, **statuses, **more}


def text_of(seen):
    terminal = Console(width=200, color_system=None)
    with terminal.capture() as shown:
        terminal.print(screen(seen))
    return shown.get()


def test_the_worst_comes_first():
    mixed = [
        one("fine"),
        one("b", "ERROR"),
        one("pending", provisioning="PENDING_UPDATE"),
        one("a", provisioning="ERROR"),
        one("off", "OFFLINE"),
        one("half", "DEGRADED"),
    ]
    assert [document["name"] for document in sorted(mixed, key=badness)] == ["a", "b", "half", "pending", "off", "fine"]


def test_a_status_is_a_dot_and_a_word():
    member = one("m", "ERROR", address="::1", protocol_port=80)
    pool = one("p", "DEGRADED", members=[member, one("n", address="127.0.0.1", protocol_port=81)])
    tree = one("web", listeners=[one("l", "DEGRADED", "PENDING_UPDATE", pools=[pool])])
    shown = text_of(Overview([one("web", vip_address="127.100.0.1")], {"id-web": tree}, [], []))
    assert "● ONLINE web 127.100.0.1" in shown
    assert "● DEGRADED listener l ● PENDING_UPDATE" in shown
    assert shown.index("● ERROR member m [::1]:80") < shown.index("● ONLINE member n 127.0.0.1:81")


@pytest.mark.parametrize(("rest", "said"), [("ONLINE", "all ACTIVE and ONLINE"), ("ERROR", "1 of them not")])
def test_what_does_not_fit_is_counted(rest, said):
    seen = Overview([one("a", vip_address=None), one("b", rest)], {"id-a": one("a", listeners=[])}, [], [])
    shown = text_of(seen)
    assert "Load balancers (2)" in shown
    assert f"and 1 more, {said}" in shown


def test_jobs_and_hosts_are_shown():
    host = {"name": "h1", "agent_url": "https://127.0.0.1:1", "haproxy_version": "2.6", "enabled": True,
            "duty": "SERVING", "operating_status": "ONLINE", "used": 3, "capacity": 10}  # fmt: skip
    job = {"id": "j1", "action": "create", "resource_type": "pool", "resource_id": "p1", "state": "retrying",
           "reason": "no host", "created_at": "2026"}  # fmt: skip
    shown = text_of(Overview([], {}, [host], [job], more_jobs=True))
    assert "● enabled" in shown
    assert "● retrying" in shown
    assert "no host" in shown
    assert "and more" in shown


def test_the_screen_shows_what_is_there(shell, name):
    name = f"!{name}"  # comes first among those that are as well as it
    shell.done("lb", "create", name)
    shell.done("listener", "create", name, "--lb", name, "--protocol", "HTTP", "--protocol-port", 80, "--wait")
    shown = shell.done("status").stdout
    assert name in shown
    assert "Jobs not finished" in shown
    seen = shell.json("status")
    tree = next(found for found in seen["loadbalancers"] if found["name"] == name)
    assert set(seen) == {"loadbalancers", "hosts", "jobs"}
    assert "vip_address" in tree


def test_a_load_balancer_is_shown_as_a_tree(shell, name):
    shell.done("lb", "create", name)
    shell.done("listener", "create", f"{name}-l", "--lb", name, "--protocol", "HTTP", "--protocol-port", 80)
    assert f"listener {name}-l" in shell.done("lb", "status", name).stdout
    assert shell.json("lb", "status", name)["listeners"][0]["name"] == f"{name}-l"
