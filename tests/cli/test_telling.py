# SPDX-License-Identifier: Apache-2.0
"""`caryatid gslb-monitor tell` and `caryatid gslb-checker`."""

import pytest

FIRST, SECOND = "192.0.2.31", "192.0.2.32"


@pytest.fixture
def told(shell, name):
    """A monitor that is told, and two pools that use it, with two members of which one name is in both."""
    shell.done("gslb-monitor", "create", name, "--type", "passive")
    for number, members in enumerate((("one", FIRST), ("one", SECOND))):
        pool = f"{name}-{number}"
        shell.done("gslb-pool", "create", pool, "--monitor", name)
        shell.done("gslb-member", "create", members[0], "--pool", pool, "--address", members[1])
    return name


def ids(shell, name):
    return [shell.json("gslb-member", "list", "--pool", f"{name}-{number}")[0]["id"] for number in range(2)]


def test_members_are_found_by_name_address_or_id_in_the_pools_that_use_the_monitor(shell, told):
    first, second = ids(shell, told)
    region = shell.json("gslb-region", "show", "local")["id"]
    words = ("gslb-monitor", "tell", told, "--member", FIRST, "--member", second, "--down", "--reason", "because")
    votes = shell.json(*words)
    assert [(one["member_id"], one["vote"], one["reason"]) for one in votes] == [
        (first, "DOWN", "because"),
        (second, "DOWN", "because"),
    ]
    assert all(one["until"] > one["at"] for one in votes)
    (seen,) = shell.json("gslb-member", "show", first, "--pool", f"{told}-0")["per_region"]
    assert (seen["vote"], seen["reason"], seen["region_id"]) == ("DOWN", "because", region)
    shown = shell.done("gslb-monitor", "tell", told, "--member", SECOND, "--up", "--region", "local").stdout
    assert "UP" in shown


def test_who_is_meant_must_be_clear_and_how_it_is_said(shell, told):
    both = shell.run("gslb-monitor", "tell", told, "--member", "one", "--up")
    assert both.exit_code == 1
    assert all(key in both.output for key in ("names more than one", *ids(shell, told)))
    nobody = shell.run("gslb-monitor", "tell", told, "--member", "nobody", "--up")
    assert "No pool that uses this monitor has a member nobody." in nobody.output
    assert "Give --up or --down." in shell.run("gslb-monitor", "tell", told, "--member", FIRST).output


def test_what_is_refused_says_what_to_do(shell, told):
    shell.done("gslb-monitor", "create", f"{told}-tried", "--type", "tcp")
    refused = shell.run("gslb-monitor", "tell", f"{told}-tried", "--member", ids(shell, told)[0], "--up")
    assert refused.exit_code == 1
    assert "Make one of type passive" in " ".join(refused.output.split())
    refused = shell.run("gslb-monitor", "test", told, "--address", FIRST)
    assert "caryatid gslb-monitor tell" in " ".join(refused.output.split())


def test_checkers_are_listed_and_nobody_revokes_who_is_not_there(shell):
    assert isinstance(shell.json("gslb-checker", "list", "--filter", "revoked=true"), list)
    refused = shell.run("gslb-checker", "revoke", "nobody")
    assert refused.exit_code == 1
    assert "GSLB Checker nobody not found." in refused.output
    assert "certificate_expiration" in shell.done("explain", "gslb-checker").stdout
