# SPDX-License-Identifier: Apache-2.0
"""`caryatid subscription`: what it says, and what it sends."""

import pytest

from tests.receiver import Receiver

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture
def subscription(shell, name):
    made = shell.json("subscription", "create", name, "--callback-url", "http://localhost:1/", "--disable")
    yield made
    shell.done("subscription", "delete", made["id"])


def test_the_secret_is_shown_when_it_is_made(shell, name, subscription):
    assert subscription["signing_secret"].startswith("whsec_")
    assert "signing_secret" not in shell.json("subscription", "show", name)
    changed = shell.json("subscription", "set", name, "--event-type", "pool.*", "--event-type", "member.create")
    assert changed["event_types"] == ["pool.*", "member.create"]


def test_a_secret_comes_out_of_a_file_and_is_on_no_command_line(shell, name, subscription):
    assert "--secret " not in shell.done("subscription", "create", "--help").stdout
    printed = shell.done("subscription", "secret", name, "--secret-file", "-", "--dry-run", given=SECRET).stdout
    assert SECRET not in printed
    made = shell.json("subscription", "secret", name, "--secret-file", "-", "--overlap", "60", given=SECRET + "\n")
    assert made["signing_secret"] == SECRET
    assert made["old_secret_until"] is not None


def test_a_test_that_fails_is_a_failure(shell, name, subscription):
    receiver = Receiver()
    result = shell.run("subscription", "test", name)
    receiver.stop()
    assert result.exit_code != 0
    assert "localhost is not at a public address." in result.output


def test_what_was_not_accepted_is_listed_and_sent_again(shell, name, subscription):
    assert shell.json("subscription", "deliveries", name, "--state", "dead") == []
    assert shell.json("subscription", "replay", name)["deliveries"] == 0
    assert shell.json("subscription", "replay", name, "--after", "0")["cursor"] == "0"
    assert shell.run("subscription", "replay", name, "--after", "x").exit_code != 0
