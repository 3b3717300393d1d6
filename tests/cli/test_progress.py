# SPDX-License-Identifier: Apache-2.0
"""Waiting for jobs that do not end well, and for an API that is not there."""

import json

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


def test_the_lines_of_a_job_are_printed_and_followed(shell, name):
    shell.done("lb", "create", name, "--wait")
    key = shell.json("lb", "show", name)["id"]
    job_id = shell.json("job", "list", "--filter", f"resource_id={key}")[0]["id"]
    printed = shell.done("job", "log", job_id).stdout
    assert "build amphora" in printed
    assert shell.done("job", "log", job_id, "--follow").stdout == printed
    lines = shell.json("job", "log", job_id)
    assert [line["position"] for line in lines] == [f"1.{place}" for place in range(1, len(lines) + 1)]
    followed = shell.done("job", "log", job_id, "--follow", "--json").stdout.splitlines()
    assert [json.loads(line) for line in followed] == lines


def test_a_wish_cannot_be_cancelled_and_the_answer_says_what_to_do(stuck, name):
    stuck.run("lb", "create", name)
    key = stuck.json("lb", "show", name)["id"]
    job_id = stuck.json("job", "list", "--filter", f"resource_id={key}")[0]["id"]
    result = stuck.run("job", "cancel", job_id)
    assert result.exit_code == 1
    assert "Change it back instead" in result.stderr
