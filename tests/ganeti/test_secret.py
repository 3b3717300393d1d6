# SPDX-License-Identifier: Apache-2.0
"""What a machine is told goes through Ganeti, and stays nowhere in it."""

import pytest

from bench.waiting import until
from caryatid.wire.rapi.answers import Problem
from caryatid.wire.seed import Seed, read
from tests.ganeti.cluster import wanted
from tests.ganeti.test_definition import DEFINITION

pytestmark = pytest.mark.system
NAME = "amphora-0f1d7a9e-5b0a-4c52-8f3b-1f6c2d3e4f50.caryatid.invalid"
SEED = Seed(token="for this one alone", amphora_id="0f1d7a9e-5b0a-4c52-8f3b-1f6c2d3e4f50", name=NAME, port=9443)
JOB_S = 60


def made(ganeti, **more):
    """The job that makes the instance, when it has ended."""
    body = {
        "os_type": "caryatid+hooks",
        "disk_template": "file",
        "disks": [{"size": 1024}],
        "osparams_secret": {"seed": SEED.encode()},
        **more,
    }
    job_id = ganeti.rapi().create(wanted(NAME, "caryatid", **body))
    assert isinstance(job_id, int), job_id
    return until(lambda: ended(ganeti, job_id), "the job has ended", JOB_S, 0.2)


def ended(ganeti, job_id):
    job = ganeti.rapi().job(job_id)
    assert not isinstance(job, Problem), job
    return job if job.status in {"success", "error", "canceled"} else None


@pytest.fixture(autouse=True, scope="module")
def definition(ganeti):
    ganeti.put(DEFINITION, "/srv/ganeti/os/caryatid")


def test_a_machine_is_told_by_its_disk_alone_and_ganeti_keeps_nothing_of_it(ganeti):
    assert made(ganeti).status == "success"
    beginning = ganeti.run("head", "-c", "4096", f"/run/ganeti/instance-disks/{NAME}:0").rstrip("\0")
    found = read(beginning[16 : 16 + int(beginning[:16])])
    assert found.seed == SEED
    [nic] = found.nics
    assert str(nic.address).startswith("10.99.0.")
    assert str(nic.address).endswith("/24")
    assert nic.gateway == "10.99.0.3"
    kept = ganeti.run("sh", "-c", f"grep -rl {SEED.encode()} /var/lib/ganeti /var/log/ganeti /run/ganeti || true")
    assert set(kept.split()) <= {f"/run/ganeti/instance-disks/{NAME}:0"}
    ganeti.remove(NAME)


def test_a_job_that_fails_says_why_and_not_with_what(ganeti):
    """Ganeti shows the last that a script has said."""
    job = made(ganeti, os_type="caryatid+default")
    assert job.status == "error"
    said = repr(job)
    assert "There is no image at /srv/caryatid/amphora.img on this node" in said
    assert SEED.encode() not in said
    if NAME in ganeti.instances():
        ganeti.remove(NAME)


def test_a_machine_without_a_seed_is_not_made(ganeti):
    job = made(ganeti, osparams_secret={})
    assert job.status == "error"
    assert "There is no seed." in repr(job)
    if NAME in ganeti.instances():
        ganeti.remove(NAME)
