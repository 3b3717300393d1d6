# SPDX-License-Identifier: Apache-2.0
"""Waiting for jobs that do not end well, and for an API that is not there."""

import pytest


@pytest.fixture
def stuck(without_hosts, shell_of):
    return shell_of(without_hosts)


def test_a_wait_that_is_too_short_ends_with_3_and_the_change_goes_on(stuck, name):
    result = stuck.run("lb", "create", name, "--wait", "--timeout", "0.3")
    assert result.exit_code == 3
    job_id = result.stderr.rsplit("caryatid job wait ", 1)[1].strip()
    assert stuck.json("job", "show", job_id)["resource_id"] == stuck.json("lb", "show", name)["id"]


def test_a_job_that_fails_ends_the_wait_with_1_and_its_reason(stuck, name):
    result = stuck.run("lb", "create", name, "--wait", "--timeout", "60")
    assert result.exit_code == 1
    key = stuck.json("lb", "show", name)["id"]
    reason = stuck.json("job", "list", "--filter", f"resource_id={key}")[0]["reason"]
    assert reason
    assert f"Create of loadbalancer {key} failed: {reason}" in result.stderr


def test_an_api_that_is_not_there_ends_with_4(shell_of, unused_port):
    result = shell_of(f"http://127.0.0.1:{unused_port}").run("lb", "list")
    assert result.exit_code == 4
    assert "Nothing answers at" in result.stderr


@pytest.mark.parametrize("url", ["nonsense", "ftp://127.0.0.1", "http://[", "http://127.0.0.1:bad"])
def test_an_address_that_is_none_is_said_to_be(shell_of, url):
    result = shell_of(url).run("lb", "list")
    assert result.exit_code in {1, 4}
    assert result.stderr.startswith("Error: ")
