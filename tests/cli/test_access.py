# SPDX-License-Identifier: Apache-2.0
"""Commands against an installation that wants to know who asks."""

import json
import os
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest
from click.testing import CliRunner

from caryatid.cli.main import cli


class Person:
    """Whoever types commands, with this in the environment."""

    def __init__(self, **environment):
        self.environment = dict.fromkeys((name for name in os.environ if name.startswith("CARYATID_")), None)
        self.environment |= environment

    def run(self, *words, given=None, **more):
        words = [str(word) for word in words]
        return CliRunner().invoke(cli, words, input=given, env={**self.environment, **more})

    def done(self, *words, given=None, **more):
        result = self.run(*words, given=given, **more)
        assert result.exit_code == 0, result.output
        return result.stdout


@pytest.fixture
def admin(guarded):
    """The user of the machine: the state directory is its own."""
    return Person(CARYATID_URL=guarded["CARYATID_URL"], CARYATID_STATE_DIR=guarded["CARYATID_STATE_DIR"])


@pytest.fixture
def nobody(guarded, tmp_path):
    return Person(CARYATID_URL=guarded["CARYATID_URL"], CARYATID_STATE_DIR=str(tmp_path))


@pytest.fixture
def alice(admin, name):
    """A member of a project of her own: the name of both."""
    admin.done("project", "create", name)
    admin.done("user", "create", name)
    admin.done("user", "password", name, "--password-file", "-", given="correct horse\n")
    admin.done("role", "create", "--user", name, "--project-id", name, "--role", "member")
    return name


def secret(admin, *words):
    return admin.done("token", "create", *words, "--columns", "secret", "-o", "value").strip()


def test_the_first_administrator_needs_to_say_nothing_on_its_own_machine(admin):
    assert "admin" in admin.done("user", "list")


def test_who_shows_nothing_is_told_what_to_show(nobody):
    result = nobody.run("lb", "list")
    assert result.exit_code == 1
    assert "--token-file" in result.stderr
    assert "--login" in result.stderr


def test_a_token_is_taken_from_a_file_standard_input_or_the_environment(admin, nobody, alice, tmp_path):
    token = secret(admin, "ci", "--user", alice, "--project-id", alice, "--role", "reader")
    path = tmp_path / "token"
    path.write_text(f"{token}\n")
    nobody.done("lb", "list", "--token-file", path)
    nobody.done("lb", "list", CARYATID_TOKEN_FILE=str(path))
    nobody.done("lb", "list", "--token-file", "-", given=f"{token}\n")
    nobody.done("lb", "list", CARYATID_TOKEN=token)
    refused = nobody.run("lb", "create", f"x{uuid4().hex[:8]}", CARYATID_TOKEN=token)
    assert (refused.exit_code, "Policy" in refused.stderr) == (1, True)


@pytest.mark.parametrize(("content", "why"), [(None, "No such file"), ("", "no token"), ("two\nlines", "no token")])
def test_a_file_without_a_token_is_named(nobody, tmp_path, content, why):
    path = tmp_path / "token"
    if content is not None:
        path.write_text(content)
    result = nobody.run("lb", "list", "--token-file", path)
    assert result.exit_code == 1
    assert why in result.stderr
    assert str(path) in result.stderr


def test_a_password_is_asked_for_and_never_an_argument(nobody, alice):
    made = nobody.done("lb", "create", alice, "--login", alice, given="correct horse\n")
    assert alice in made
    assert "correct horse" not in made
    nobody.done("lb", "delete", alice, "--login", alice, CARYATID_PASSWORD="correct horse")
    assert nobody.run("lb", "list", "--login", alice, CARYATID_PASSWORD="wrong").exit_code == 1
    for command in ("user create", "user set", "user password"):
        help_ = nobody.done(*command.split(), "--help")
        assert "--password " not in help_


def test_users_change_their_own_password(nobody, alice):
    new = {"CARYATID_LOGIN": alice, "CARYATID_PASSWORD": "even longer"}
    nobody.done(
        *("user", "password", alice, "--password-file", "-", "--login", alice),
        given="even longer", CARYATID_PASSWORD="correct horse",
    )  # fmt: skip
    nobody.done("lb", "list", **new)
    dry = nobody.done("user", "password", alice, "--dry-run", "--password-file", "-", given="quite secret\n", **new)
    assert "quite secret" not in dry


def test_an_administrator_asks_in_the_name_of_any_project(admin, alice):
    admin.done("lb", "create", alice, "--project", alice)
    project = json.loads(admin.done("project", "show", alice, "--json"))
    shown = json.loads(admin.done("lb", "show", alice, "--json"))
    assert shown["project_id"] == project["id"]
    admin.done("quota", "set", alice, "--loadbalancer", "1")
    assert json.loads(admin.done("quota", "show", alice, "--json"))["loadbalancer"] == 1
    refused = admin.run("lb", "create", f"{alice}2", "--project", alice)
    assert "Quota has been met" in refused.stderr
    admin.done("lb", "delete", alice, "--wait")


def test_what_a_token_is_is_printed_once(admin, alice):
    token = secret(admin, alice, "--user", alice, "--project-id", alice)
    assert token.startswith("cyt_")
    for words in (("token", "list"), ("token", "show", alice, "--json")):
        assert token not in admin.done(*words)


def test_the_administrator_is_made_again_where_the_database_is(guarded, admin, nobody):
    before = (Path(guarded["CARYATID_STATE_DIR"]) / "admin.token").read_text()
    command = [sys.executable, "-m", "caryatid", "access", "reset-admin"]
    done = subprocess.run(command, env=guarded, capture_output=True, text=True, timeout=60, check=True)
    assert "admin.token" in done.stdout
    admin.done("user", "list")
    for _ in range(100):
        result = nobody.run("lb", "list", CARYATID_TOKEN=before.strip())
        if result.exit_code:
            break
    assert result.exit_code == 1


def test_a_policy_file_is_checked_before_it_is_used(tmp_path):
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text('"load-balancer:write": "role:builder"\n')
    bad.write_text('\n"load-balancer:write": "role:builder or"\n')

    def check(path, *words):
        command = [sys.executable, "-m", "caryatid", "policy", *words, str(path)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    done = check(good, "check")
    assert (done.returncode, done.stdout) == (0, '"load-balancer:write": "role:builder"\n')
    refused = check(bad, "check")
    assert refused.returncode == 1
    assert f"{bad}, line 2: Rule load-balancer:write: a check is wanted at its end" in refused.stderr
    assert '"load-balancer:write": "role:builder"\n' in check(good, "show", "--file").stdout
