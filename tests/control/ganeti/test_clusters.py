# SPDX-License-Identifier: Apache-2.0
"""What operators wish of clusters."""

import pytest
from sqlalchemy import text

from caryatid.control import writes
from caryatid.control.ganeti import clusters, showing, sight
from caryatid.errors import Conflict, NotFound, Refused
from caryatid.model import CLUSTER
from caryatid.model.cluster import Machine, MachineWish, instance_name
from caryatid.model.policy import Caller
from caryatid.store import events
from caryatid.store.ganeti import jobs, machines
from caryatid.store.ganeti.jobs import ClusterJob

PASSWORD = "correct horse battery staple"
WISH = {
    "name": "west",
    "rapi_url": "https://west.example:5080",
    "rapi_user": "caryatid",
    "rapi_password": PASSWORD,
    "nics": [{"network": "lb-mgmt", "uplink": "physnet1"}],
}
AMPHORA = "11111111-1111-4111-8111-111111111111"


@pytest.fixture
def made(door, caller):
    return writes.create(door, caller, CLUSTER, WISH).document


def machine(cluster_id):
    name = instance_name(AMPHORA, "caryatid.invalid")
    return Machine(AMPHORA, None, cluster_id, name, MachineWish(), "WANTED", changed_at=1.0)


def test_a_password_is_kept_encrypted_and_told_to_nobody(door, made):
    with door.database.read() as tx:
        assert clusters.password_of(tx, door, made["id"]) == PASSWORD
        for table in ("cluster", "cluster_credential", "event", "job"):
            assert PASSWORD not in str(tx.connection.execute(text(f"SELECT * FROM {table}")).all())
    assert not made.get("rapi_password")


def test_it_stays_when_something_else_is_changed(door, caller, made):
    writes.change(door, caller, CLUSTER, made["id"], {"description": "in the west"})
    with door.database.read() as tx:
        assert clusters.password_of(tx, door, made["id"]) == PASSWORD


def test_it_is_not_shown_to_another_server(door, caller, made):
    elsewhere = {"rapi_url": "https://elsewhere.example:5080"}
    with pytest.raises(Refused, match="the password is given again"):
        writes.change(door, caller, CLUSTER, made["id"], elsewhere)
    writes.change(door, caller, CLUSTER, made["id"], {**elsewhere, "rapi_password": "another"})
    with door.database.read() as tx:
        assert clusters.password_of(tx, door, made["id"]) == "another"


def test_all_faults_are_told_at_once(door, caller):
    wrong = {**WISH, "rapi_url": "http://west", "domain": "-", "boot_deadline_s": 1}
    with pytest.raises(Refused) as refused:
        writes.create(door, caller, CLUSTER, wrong)
    assert {fault.attribute for fault in refused.value.faults} >= {"rapi_url", "domain", "boot_deadline_s"}


@pytest.mark.parametrize("nics", [
    [{"link": "br0"}],
    [{"network": "mgmt", "link": "br0"}],
    [{"network": "mgmt", "uplink": "web"}, {"link": "br1", "uplink": "web"}],
    [],
])  # fmt: skip
def test_interfaces_must_make_sense(door, caller, nics):
    with pytest.raises(Refused):
        writes.create(door, caller, CLUSTER, {**WISH, "nics": nics})


def test_a_name_is_given_once(door, caller, made):
    with pytest.raises(Conflict, match="west already exists"):
        writes.create(door, caller, CLUSTER, WISH)


def test_a_cluster_with_machines_of_ours_stays(door, caller, made):
    with door.database.transaction() as tx:
        machines.add(tx, machine(made["id"]))
    with pytest.raises(Conflict, match="1 machines of ours"):
        writes.delete(door, caller, CLUSTER, made["id"])
    with door.database.transaction() as tx:
        machines.remove(tx, [AMPHORA])
    writes.delete(door, caller, CLUSTER, made["id"])
    with pytest.raises(NotFound):
        sight.status(door, caller, made["id"])


def test_what_nobody_has_asked_yet_is_offline(door, caller, made):
    assert made["operating_status"] == "OFFLINE"
    assert sight.status(door, caller, made["id"])["machines"] == []


def test_jobs_are_shown_the_newest_first_with_their_logs(door, caller, made):
    def job(number):
        return ClusterJob(
            made["id"], number, "create", AMPHORA, None, "a", "success", 1.0, log=[[2.0, f"job {number}"]]
        )

    with door.database.transaction() as tx:
        jobs.write(tx, [job(number) for number in (1, 2, 3)])
    found = showing.jobs(door, caller, made["id"], limit=2)
    assert [one["job_id"] for one in found] == [3, 2]
    assert found[0]["log"] == [{"at": "1970-01-01T00:00:02.000000", "text": "job 3"}]
    assert [one["job_id"] for one in showing.jobs(door, caller, made["id"], limit=2, below=2)] == [1]
    assert showing.jobs(door, caller, made["id"], limit=2, amphora_id="another") == []


def test_they_are_the_operators_business(door):
    somebody = Caller("alice", "p1", request_id="req-2")
    with pytest.raises(Exception, match="Policy does not allow"):
        writes.create(door, somebody, CLUSTER, WISH)


def test_what_was_wished_is_in_the_log_of_events(door, caller, made):
    with door.database.read() as tx:
        assert ("cluster", "create") in {(one["kind"], one["action"]) for one in events.newest(tx)}
