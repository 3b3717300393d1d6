# SPDX-License-Identifier: Apache-2.0
"""What Ganeti 3.0 says, word by word, and what an operator is told to do."""

import pytest

from caryatid.plan.ganeti.remedies import STATUSES, TEXT_MAX, TROUBLES, of_job, of_problem, of_status
from caryatid.wire.rapi.answers import Job, Problem

HAIL = (
    "Can't compute nodes using iallocator 'hail': Request failed: Group default (preferred): No valid allocation "
    "solutions, failure reasons: "
)
POLICY = "Instance allocation to group 7c5e (default) violates policy: "
OS = "OS Parameters validation failed on node node1: "
SAID = [
    (
        "insufficient_resources",
        f"{HAIL}FailMem: 1",
        "add a node",
        False,
    ),
    (
        "insufficient_resources",
        f"{HAIL}FailCPU: 1",
        "--ipolicy-vcpu-ratio",
        False,
    ),
    (
        "insufficient_resources",
        "Not enough memory on node node1 for creating instance amphora-x: needed 512 MiB, available 3 MiB",
        "Free memory",
        False,
    ),
    (
        "insufficient_resources",
        "Not enough disk space on target node node1 vg xenvg: required 1024 MiB, available 12 MiB",
        "Free memory or disk",
        False,
    ),
    (
        "wrong_input",
        f"{POLICY}memory-size value 64 is not in range [128, 32768]",
        "--ipolicy-bounds-specs",
        True,
    ),
    (
        "wrong_input",
        f"{POLICY}Disk template file is not allowed (allowed templates: plain)",
        "--ipolicy-disk-templates",
        True,
    ),
    (
        "",
        "Disk template 'plain' is not enabled in cluster. Enabled disk templates are: diskless,file",
        "disk_template",
        True,
    ),
    (
        "",
        "OS Parameters validation failed on node node1: Directory for OS nosuch not found in search path",
        "gnt-os diagnose",
        True,
    ),
    (
        "",
        "OS Parameters validation failed on node node1: OS 'caryatid' does not support variant 'x'",
        "gnt-os diagnose",
        True,
    ),
    (
        "",
        f"{OS}The following parameters are not supported by the OS noop: seed",
        "parameters.list",
        True,
    ),
    ("unknown_entity", "Network 'lb' not found", "gnt-network add", True),
    ("unknown_entity", "Node group 'lb' not found", "gnt-group add", True),
    ("wrong_state", "Unable to get a free IP for NIC 0 from the address pool", "gnt-network info", False),
    (
        "wrong_input",
        "No netparams found for network lb. Probably not connected to node's node1 nodegroup",
        "gnt-network connect",
        True,
    ),
    ("wrong_state", "Selected hypervisor (kvm) not enabled in the cluster (fake)", "--enabled-hypervisors", True),
    ("wrong_state", "Can't use drained node node1", "gnt-node list", False),
    ("wrong_state", "Can't use offline node: node1", "gnt-node list", False),
    ("resolver_error", "The given name (x.invalid) does not resolve: Name or service not known", "resolve", True),
    ("already_exists", "Instance 'x' is already in the cluster", "gnt-instance remove", True),
    ("wrong_input", "Something that nobody has seen", "attributes", True),
    ("", "Something that nobody has seen", "gnt-job info 7", False),
    ("", "Failed to connect to 10.99.0.1:1811", "ganeti-noded", False),
]


@pytest.mark.parametrize(("code", "text", "remedy", "hopeless"), SAID)
def test_what_ganeti_says_has_a_remedy(code, text, remedy, hopeless):
    why = of_job(Job(7, "error", error=text, error_kind="OpPrereqError", error_code=code))
    assert text.rstrip(".") in why.reason
    assert remedy in why.remedy
    assert why.hopeless is hopeless


def test_a_job_that_was_cancelled_is_asked_for_again():
    assert "cancelled" in of_job(Job(7, "canceled")).reason


@pytest.mark.parametrize("trouble", sorted(TROUBLES))
def test_no_answer_has_a_remedy(trouble):
    why = of_problem(Problem(trouble, "RAPI c.example.test: POST /2/instances: nothing"))
    assert why.remedy
    assert why.reason == "RAPI c.example.test: POST /2/instances: nothing."


def test_a_certificate_that_is_not_trusted_is_somebodys_to_mend():
    why = of_problem(Problem("unreachable", "RAPI c.example.test: its certificate is not trusted: self-signed"))
    assert "rapi_ca" in why.remedy
    assert why.hopeless


def test_queues_that_take_nothing_say_what_opens_them():
    assert "gnt-cluster queue undrain" in of_problem(Problem("drained", "500")).remedy
    assert "gnt-job autoarchive" in of_problem(Problem("full", "503")).remedy


@pytest.mark.parametrize("status", [*STATUSES, "ERROR_other"])
def test_every_status_says_why_the_machine_is_lost(status):
    why = of_status(status, "n1")
    assert why.reason
    assert why.remedy
    assert ("n1" in why.reason) == (status.startswith("ERROR") and status in STATUSES)


def test_long_words_are_cut():
    why = of_job(Job(7, "error", error="x\n" * 9999))
    assert len(why.reason) <= TEXT_MAX + len("Ganeti: ") + 1
    assert "\n" not in why.reason
