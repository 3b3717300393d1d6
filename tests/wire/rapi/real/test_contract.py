# SPDX-License-Identifier: Apache-2.0
"""docs/ganeti-rapi.md against a real Ganeti: what each call answers, and how the client reads it.

Each test makes instances of its own names, and needs nothing that another has left.
"""

import json
import threading
import time

import pytest

from bench.waiting import until
from caryatid.wire.rapi.answers import Info, Job, Node, Problem, Waited, Wanted
from caryatid.wire.rapi.client import Rapi
from caryatid.wire.rapi.exchange import Answer
from tests.ganeti.cluster import NETWORK, NODE, PASSWORD, READER, READER_PASSWORD, URL, USER, RealCluster, wanted

WITHIN_S = 60
UNKNOWN = 99999
SLOW_OS = """#!/bin/sh
echo "$OSP_SEED" > /run/slow.seed
until [ -e /run/slow.go ]; do sleep 0.1; done
"""


@pytest.fixture
def rapi(ganeti: RealCluster) -> Rapi:
    return ganeti.rapi(timeout_s=WITHIN_S)


@pytest.fixture
def ask(rapi: Rapi):
    """What the wire says: status, and the document."""

    def asked(method: str, path: str, body: object = None) -> tuple[int, object]:
        content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        answer = rapi._exchange.ask(method, path, content, time.monotonic() + WITHIN_S)
        assert isinstance(answer, Answer), answer
        return answer.status, json.loads(answer.content) if answer.content else None

    return asked


def ended(rapi: Rapi, job_id: int | Problem) -> Job:
    assert isinstance(job_id, int), job_id
    return until(lambda: job if (job := rapi.job(job_id)).final else None, f"job {job_id} has ended", WITHIN_S, 0.1)


def made(rapi: Rapi, name: str, *tags: str, **other) -> int:
    """The job; the instance is there."""
    job_id = rapi.create(wanted(name, *tags, **other))
    job = ended(rapi, job_id)
    assert job.status == "success", job
    return job_id


def busy(cluster: RealCluster, seconds: int) -> int:
    """A job that runs so long."""
    return int(cluster.run("gnt-debug", "delay", "--submit", "--print-jobid", "--no-master", str(seconds)))


def test_a_cluster_says_who_it_is(rapi):
    info = rapi.info()
    assert isinstance(info, Info)
    assert (info.name, info.master, info.default_hypervisor) == ("cluster.gnt.test", NODE, "fake")
    assert info.software_version.startswith("3.")
    assert "instance-create-reqv1" in info.features
    assert set(info.disk_templates) == {"file", "diskless"}


def test_nodes_say_what_they_have(rapi):
    [node] = rapi.nodes()
    assert node == Node(NODE, "default", free_memory_mib=node.free_memory_mib, free_disk_mib=node.free_disk_mib)
    assert node.free_memory_mib > 0
    assert node.free_disk_mib > 0


def test_the_cluster_s_own_certificate_is_trusted_and_no_other(ganeti):
    assert isinstance(ganeti.rapi().info(), Info)
    other = ganeti.run("sh", "-c", "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=10.99.0.1 -keyout /dev/null")
    found = Rapi(URL, USER, PASSWORD, other).info()
    assert found.trouble == "unreachable"
    assert "certificate is not trusted" in found.text


def test_a_name_that_is_taken_is_accepted_and_the_job_fails(rapi, ask):
    made(rapi, "twice.gnt.test")
    status, job_id = ask("POST", "/2/instances", dict(wanted("twice.gnt.test").body))
    assert status == 200
    job = ended(rapi, job_id)
    assert (job.status, job.error_kind, job.error_code) == ("error", "OpPrereqError", "already_exists")
    assert "twice.gnt.test" in job.error


def test_of_two_who_ask_for_one_name_one_gets_it(rapi, ganeti):
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(rapi.create(wanted("race.gnt.test")))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WITHIN_S)
    assert sorted(ended(rapi, one).status for one in found) == ["error", "error", "error", "success"]
    assert ganeti.instances().count("race.gnt.test") == 1


@pytest.mark.parametrize(
    ("other", "kind", "code", "words"),
    [
        pytest.param({"os_type": "nope+x"}, "OpExecError", "", "OS nope not found", id="OS"),
        pytest.param(
            {"hypervisor": "kvm"}, "OpPrereqError", "wrong_state", "not enabled in the cluster", id="hypervisor"
        ),
        pytest.param(
            {"nics": [{"network": "nope", "ip": "pool"}]},
            "OpPrereqError",
            "unknown_entity",
            "'nope' not found",
            id="network",
        ),
        pytest.param(
            {"disk_template": "plain", "disks": [{"size": 10}]},
            "OpPrereqError",
            "",
            "'plain' is not enabled",
            id="disk",
        ),
        pytest.param(
            {"beparams": {"minmem": 64, "maxmem": 64, "vcpus": 1}},
            "OpPrereqError",
            "wrong_input",
            "violates policy: memory-size",
            id="policy",
        ),
        pytest.param({"pnode": "nope"}, "OpPrereqError", "unknown_entity", "Node 'nope' not known", id="node"),
        pytest.param({"name_check": True}, "OpPrereqError", "resolver_error", "does not resolve", id="name"),
        pytest.param(
            {"pnode": None, "iallocator": "hail", "group_name": "nope"},
            "OpPrereqError",
            "insufficient_resources",
            "nope",
            id="group",
        ),
    ],
)
def test_what_cannot_be_is_accepted_and_the_job_says_why(rapi, other, kind, code, words):
    body = {**wanted("never.gnt.test").body, **other}
    job_id = rapi.create(Wanted("never.gnt.test", {name: value for name, value in body.items() if value is not None}))
    job = ended(rapi, job_id)
    assert (job.status, job.error_kind, job.error_code) == ("error", kind, code)
    assert words in job.error


def test_what_is_not_understood_is_refused_at_once(rapi, ask):
    body = dict(wanted("never.gnt.test").body)
    for wrong in (
        b"{",
        {"__version__": 1},
        {**body, "__version__": 2},
        {**body, "bogus": 1},
        {**body, "osparams_secret": "hidden"},
    ):
        status, document = ask("POST", "/2/instances", wrong)
        assert status == 400
        assert "hidden" not in str(document)
    found = rapi.create(Wanted("never.gnt.test", {**body, "bogus": 1}))
    assert (found.trouble, found.status) == ("refused", 400)
    assert "bogus" in found.text


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/2/instances/never.gnt.test", None, 404),
        ("GET", "/2/nothing", None, 404),
        ("GET", "/2/jobs/six", None, 404),
        ("GET", "/2/instances?bulk=yes", None, 400),
        ("PUT", "/2/query/instance", {}, 400),
        ("PUT", "/2/query/nothing", {"fields": ["name"]}, 502),
        ("PUT", "/2/query/instance", {"fields": ["name"], "qfilter": ["nothing"]}, 502),
        ("GET", "/2/instances/never.gnt.test/tags", None, 500),
        ("GET", "/2/jobs/1/wait", None, 500),
        ("GET", "/2/jobs/1/wait", {}, 400),
        ("PATCH", "/2/info", {}, 501),
        ("HEAD", "/2/info", None, 501),
    ],
)
def test_other_statuses(ask, method, path, body, status):
    assert ask(method, path, body)[0] == status


def test_a_job_that_is_unknown_is_all_null(rapi, ask):
    status, document = ask("GET", f"/2/jobs/{UNKNOWN}")
    assert status == 200
    assert set(document.values()) == {UNKNOWN, None}
    assert rapi.job(UNKNOWN) == Job(UNKNOWN, "")
    assert rapi.jobs([UNKNOWN]) == (Job(UNKNOWN, ""),)
    assert rapi.cancel(UNKNOWN) is False
    found = rapi.wait(UNKNOWN, "", 0)
    assert (found.trouble, found.status) == ("missing", 500)


def test_who_waits_for_a_job_hears_each_line_once(rapi):
    job_id = rapi.create(wanted("waited.gnt.test"))
    heard, seen, status = [], [], ""
    while not Job(job_id, status).final:
        news = rapi.wait(job_id, status, max(heard, default=0))
        assert isinstance(news, Waited)
        heard += [line.serial for line in news.lines]
        seen, status = [*seen, news.status], news.status
    assert seen == sorted(seen, key=["queued", "waiting", "running", "success"].index)
    assert status == "success"
    job = rapi.job(job_id)
    assert heard == [line.serial for line in job.log]
    assert heard == sorted(set(heard))
    assert job.result == [NODE]
    assert job.received_at <= job.started_at <= job.ended_at
    assert (job.summary, job.instances) == ("INSTANCE_CREATE(waited.gnt.test)", ("waited.gnt.test",))
    assert rapi.jobs([job_id, job_id]) == rapi.jobs([job_id])


def test_a_job_that_has_ended_lets_nobody_wait(rapi):
    job_id = made(rapi, "ended.gnt.test")
    assert rapi.wait(job_id, "success", 1000) == Waited("success")


def test_a_job_in_which_nothing_happens_is_told_as_it_was(rapi, ganeti):
    job_id = busy(ganeti, 60)
    until(lambda: rapi.job(job_id).status == "running", "the job runs", WITHIN_S)
    last = max((line.serial for line in rapi.job(job_id).log), default=0)
    begun = time.monotonic()
    assert rapi.wait(job_id, "running", last) == Waited("running")
    assert time.monotonic() - begun > 5  # it does not come back at once, for ever
    assert job_id in [job.id for job in rapi.unfinished()]
    assert rapi.cancel(job_id) is False


def test_only_what_has_not_begun_can_be_cancelled(rapi, ganeti):
    first = busy(ganeti, 60)
    body = {**wanted("cancelled.gnt.test").body, "depends": [[first, ["success"]]]}
    second = rapi.create(Wanted("cancelled.gnt.test", body))
    [waiting] = [job for job in rapi.unfinished() if job.id == second]
    assert (waiting.instances, waiting.summary) == (("cancelled.gnt.test",), "INSTANCE_CREATE(cancelled.gnt.test)")
    assert rapi.cancel(second) is True
    job = ended(rapi, second)
    assert job.status == "canceled"
    assert job.error
    assert "cancelled.gnt.test" not in ganeti.instances()


def test_a_job_that_is_archived_is_known_by_its_id_alone(rapi, ganeti):
    job_id = made(rapi, "archived.gnt.test")
    before = rapi.job(job_id)
    ganeti.archive(job_id)
    assert rapi.job(job_id) == before
    assert [job.status for job in rapi.jobs([job_id])] == ["success"]
    assert rapi.wait(job_id, "success", 0).trouble == "missing"


def test_what_has_a_tag_is_found_by_it(rapi):
    made(rapi, "tagged.gnt.test", "caryatid", "caryatid:one")
    made(rapi, "foreign.gnt.test", "caryatid:two")
    [found] = rapi.instances("caryatid:one")
    assert (found.name, found.node, found.admin_state) == ("tagged.gnt.test", NODE, "up")
    assert set(found.tags) == {"caryatid", "caryatid:one"}
    assert found.uuid
    assert found.created_at <= found.changed_at
    [address] = found.addresses
    assert address.startswith("10.99.0.")
    assert [live.name for live in rapi.live("caryatid")] == ["tagged.gnt.test"]
    assert rapi.instances("nobody has this") == rapi.live("nobody has this") == ()


def test_a_crash_is_seen_live_and_changes_no_configuration(rapi, ganeti):
    made(rapi, "crashed.gnt.test", "crashed")
    before = rapi.instances("crashed")
    [running] = rapi.live("crashed")
    assert (running.status, running.node) == ("running", NODE)
    ganeti.crash("crashed.gnt.test")
    [down] = rapi.live("crashed")
    assert (down.status, down.node) == ("ERROR_down", NODE)
    assert rapi.instances("crashed") == before


def test_what_is_removed_is_not_found_and_cannot_be_removed_again(rapi):
    made(rapi, "removed.gnt.test", "removed")
    assert ended(rapi, rapi.delete("removed.gnt.test")).status == "success"
    assert rapi.instances("removed") == ()
    job = ended(rapi, rapi.delete("removed.gnt.test"))
    assert (job.status, job.error_kind, job.error_code) == ("error", "OpPrereqError", "unknown_entity")


def test_an_instance_is_there_before_its_job_has_ended_and_its_secret_nowhere(rapi, ganeti, ask, tmp_path):
    script = tmp_path / "create"
    script.write_text(SLOW_OS)
    ganeti.run("cp", "-r", "/srv/ganeti/os/noop", "/srv/ganeti/os/slow")
    ganeti.put(script, "/srv/ganeti/os/slow/create")
    secret = "what-only-this-amphora-may-know"
    other = {"os_type": "slow+default", "disk_template": "file", "disks": [{"size": 16}]}
    job_id = rapi.create(wanted("slow.gnt.test", "slow", **other, osparams_secret={"seed": secret}))
    until(lambda: ganeti.run("find", "/run", "-name", "slow.seed"), "the OS is being made", WITHIN_S)
    assert ganeti.run("cat", "/run/slow.seed").strip() == secret
    assert not rapi.job(job_id).final
    assert [one.name for one in rapi.instances("slow")] == ["slow.gnt.test"]
    assert [one.status for one in rapi.live("slow")] == ["ADMIN_down"]
    ganeti.run("touch", "/run/slow.go")
    assert ended(rapi, job_id).status == "success"
    assert [one.status for one in rapi.live("slow")] == ["running"]
    assert secret not in str(ask("GET", f"/2/jobs/{job_id}"))
    kept = ganeti.run("sh", "-c", f"grep -rlF {secret} /var/lib/ganeti /var/log/ganeti /srv /run/ganeti; true")
    assert kept == ""


def test_a_drained_queue_takes_nothing(rapi, ganeti):
    ganeti.drain()
    try:
        found = rapi.create(wanted("drained.gnt.test"))
        assert (found.trouble, found.status) == ("drained", 500)
        assert rapi.delete("drained.gnt.test").trouble == "drained"
        assert isinstance(rapi.info(), Info)
    finally:
        ganeti.undrain()
    made(rapi, "drained.gnt.test")


def test_who_may_what(ganeti):
    reader = ganeti.rapi(READER, READER_PASSWORD)
    assert isinstance(reader.info(), Info)
    assert reader.instances("nobody has this") == ()
    for found in (reader.create(wanted("denied.gnt.test")), reader.delete("denied.gnt.test"), reader.wait(1, "", 0)):
        assert (found.trouble, found.status) == ("denied", 403)
    for stranger in (ganeti.rapi(USER, "wrong"), ganeti.rapi("nobody", PASSWORD)):
        for found in (stranger.info(), stranger.instances("x"), stranger.create(wanted("denied.gnt.test"))):
            assert (found.trouble, found.status) == ("denied", 401)


def test_an_address_comes_from_the_network_and_goes_back(rapi):
    nic = {"network": NETWORK, "ip": "10.99.0.200"}
    made(rapi, "first.gnt.test", "addressed", nics=[nic])
    job = ended(rapi, rapi.create(wanted("second.gnt.test", nics=[nic])))
    assert (job.status, job.error_kind) == ("error", "OpPrereqError")
    assert ended(rapi, rapi.delete("first.gnt.test")).status == "success"
    made(rapi, "second.gnt.test", "addressed", nics=[nic])
    assert [one.addresses for one in rapi.instances("addressed")] == [("10.99.0.200",)]


def test_while_rapi_is_dead_nothing_is_carried_out(rapi, ganeti):
    ganeti.kill("rapi")
    try:
        for found in (rapi.info(), rapi.create(wanted("unheard.gnt.test")), rapi.delete("unheard.gnt.test")):
            assert found.trouble == "unreachable"
    finally:
        ganeti.daemon("start", "rapi")
    until(lambda: isinstance(rapi.info(), Info), "RAPI is back", WITHIN_S)
    assert "unheard.gnt.test" not in ganeti.instances()


def test_while_luxid_is_dead_nobody_knows(rapi, ganeti):
    ganeti.kill("luxid")
    try:
        found = ganeti.rapi(timeout_s=8).create(wanted("perhaps.gnt.test"))
        assert (found.trouble, found.status) == ("ambiguous", 0)
        found = rapi.create(wanted("perhaps.gnt.test"))
        assert (found.trouble, found.status) == ("ambiguous", 504)  # after half a minute
    finally:
        ganeti.daemon("start", "luxid")
    until(lambda: isinstance(rapi.info(), Info), "luxid is back", WITHIN_S)
    made(rapi, "after.gnt.test")
