# SPDX-License-Identifier: Apache-2.0
"""`caryatid cluster`: what it says, and what it sends."""

import json

import pytest

GIVEN = ("--rapi-url", "https://cluster.example:5080", "--rapi-user", "caryatid", "--nic", "network=mgmt,uplink=web")
PASSWORD = "correct horse battery staple"


@pytest.fixture
def cluster(shell, name):
    made = shell.json("cluster", "create", name, *GIVEN, "--rapi-password-file", "-", given=f"{PASSWORD}\n")
    yield made
    shell.done("cluster", "delete", made["id"])


def test_a_password_comes_out_of_a_file_and_is_shown_nowhere(shell, name, cluster):
    assert "--rapi-password " not in shell.done("cluster", "create", "--help").stdout
    assert "rapi_password" not in cluster
    dry = shell.done("cluster", "set", name, "--rapi-password-file", "-", "--dry-run", given=PASSWORD)
    assert PASSWORD not in dry.output
    assert PASSWORD not in shell.done("cluster", "show", name, "--json").stdout


def test_an_empty_file_is_no_password(shell, name):
    refused = shell.run("cluster", "create", name, *GIVEN, "--rapi-password-file", "-", given="\n")
    assert refused.exit_code != 0
    assert "should have one line in it" in refused.output


def test_interfaces_are_written_as_pairs_and_certificates_read_from_a_file(shell, name, cluster, tmp_path):
    assert cluster["nics"][0]["network"] == "mgmt"
    assert cluster["nics"][0]["uplink"] == "web"
    (tmp_path / "ca.pem").write_text("-----BEGIN CERTIFICATE-----\n")
    changed = shell.json("cluster", "set", name, "--rapi-ca", f"@{tmp_path}/ca.pem", "--machine", "memory_mib=1024")
    assert changed["rapi_ca"] == "-----BEGIN CERTIFICATE-----\n"
    assert changed["machine"]["memory_mib"] == 1024


def test_how_a_cluster_is_that_nobody_has_asked_yet(shell, name, cluster):
    told = shell.json("cluster", "status", name)
    assert told["cluster"]["operating_status"] == "OFFLINE"
    assert told["machines"] == []
    assert told["config_age_s"] is None
    assert "OFFLINE" in shell.done("cluster", "status", name).stdout


def test_a_cluster_where_nothing_was_done_has_no_jobs(shell, name, cluster):
    assert json.loads(shell.done("cluster", "jobs", name, "--limit", "5", "--json").stdout) == []
    assert shell.run("cluster", "jobs", name, "--limit", "0").exit_code != 0
