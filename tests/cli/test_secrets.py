# SPDX-License-Identifier: Apache-2.0
"""Secrets come from files or standard input, and are never on a screen."""

import pytest

MARK = "a-word-that-must-not-be-seen"


@pytest.fixture
def secret(shell, name):
    """Name of a secret."""
    shell.done("secret", "create", name, "--file", "-", "--type", "certificate", given=MARK)
    return name


def test_a_secret_is_kept_shown_renewed_and_deleted(shell, secret, tmp_path):
    shown = shell.json("secret", "show", secret)
    assert (shown["name"], shown["secret_type"]) == (secret, "certificate")
    assert shown["content_types"] == {"default": "text/plain"}
    assert [one["secret_ref"] for one in shell.json("secret", "list") if one["name"] == secret] == [shown["secret_ref"]]
    file = tmp_path / "bundle.p12"
    file.write_bytes(b"\x00\xff")
    shell.done("secret", "set", shown["secret_ref"], "--file", file)
    renewed = shell.json("secret", "show", secret)
    assert renewed["content_types"] == {"default": "application/octet-stream"}
    assert renewed["updated"] > shown["updated"]
    shell.done("secret", "delete", secret)
    assert shell.run("secret", "show", secret).exit_code == 1


def test_binary_files_are_kept_as_they_are(shell, name, tmp_path):
    file = tmp_path / "bundle.p12"
    file.write_bytes(b"\x30\x80\xff")
    made = shell.json("secret", "create", name, "--file", file, "--expiration", "2100-01-01")
    assert made["content_types"] == {"default": "application/octet-stream"}
    assert made["expiration"].startswith("2100-01-01")


@pytest.mark.parametrize("more", [(), ("--json",), ("--dry-run",)])
def test_what_a_secret_is_is_never_printed(shell, name, more):
    for given in (MARK, MARK.encode() + b"\xff"):
        result = shell.run("secret", "create", name, "--file", "-", *more, given=given)
        assert result.exit_code == 0
        assert MARK not in result.output
    refused = shell.run("secret", "create", name, "--file", "-", given=MARK * 10_000)
    assert refused.exit_code == 1
    assert MARK not in refused.output


def test_secrets_are_put_together_by_name(shell, secret, name):
    made = shell.json("container", "create", f"{name}-c", "--certificate", secret, "--private-key", secret)
    assert [one["name"] for one in made["secret_refs"]] == ["certificate", "private_key"]
    assert shell.json("container", "show", f"{name}-c") == made
    assert made["container_ref"] in {one["container_ref"] for one in shell.json("container", "list")}
    other = shell.json("container", "create", "--type", "generic", "--secret", f"mine={secret}")
    assert [one["name"] for one in other["secret_refs"]] == ["mine"]
    shell.done("container", "delete", made["container_ref"], other["container_ref"])
    assert shell.run("container", "show", f"{name}-c").exit_code == 1


def test_a_name_that_two_secrets_have_is_refused_with_both(shell, secret):
    shell.done("secret", "create", secret)
    result = shell.run("secret", "show", secret)
    assert result.exit_code == 1
    assert result.output.count("/v1/secrets/") == 2
