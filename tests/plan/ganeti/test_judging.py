# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import pytest

from caryatid.plan.ganeti.judging import LATE_S, LINGER_S, asked, unwanted
from caryatid.wire.rapi.answers import Job, Problem
from tests.plan.ganeti.clusters import BOOT_DEADLINE_S, NOW, instance, judged, live, machine

LATER = NOW + LATE_S + 1


def job(status, code="", text="", number=7, kind="OpPrereqError"):
    failed = {"error": text or "it failed", "error_code": code, "error_kind": kind} if status == "error" else {}
    return Job(number, status, **failed)


def made(one, number=7):
    return Job(number, "running", f"INSTANCE_CREATE({one.name})")


def removing(one, number=8):
    return Job(number, "queued", f"INSTANCE_REMOVE({one.name})")


# wanted


def test_a_new_wish_is_asked_for_without_a_look_first():
    verdict = judged(machine())
    assert (verdict.act, verdict.machine.phase, verdict.machine.asked_at) == ("create", "CREATING", NOW + 1)


def test_a_wish_that_has_failed_waits_for_its_time_and_for_a_look_since_then():
    one = machine(tries=1, next_at=NOW + 10, reason="r")
    assert judged(one, config_at=NOW + 5, now=NOW + 5).act == ""
    assert judged(one, config_at=NOW, now=NOW + 20).act == ""
    assert judged(one, config_at=NOW + 5, now=NOW + 20).act == "create"


def test_what_a_failed_try_has_left_is_removed_before_the_next_one():
    one = machine(tries=1, reason="r")
    verdict = judged(one, instance=instance(one), config_at=NOW + 1)
    assert (verdict.act, verdict.machine.phase) == ("delete", "WANTED")
    removed = asked(verdict.machine, 8, NOW + 2)
    assert not judged(removed, job=job("running", number=8)).changed
    rested = judged(removed, now=NOW + 3, job=job("success", number=8))
    assert (rested.act, rested.machine.job_id, rested.machine.asked_at) == ("", None, None)
    assert judged(rested.machine, now=NOW + 5, config_at=NOW + 4).act == "create"


def test_a_removal_of_what_was_left_that_is_not_answered_is_waited_for_longer_than_it_can_be_late():
    one = machine(tries=1, reason="r", asked_at=NOW)
    assert not judged(one, now=LATER, config_at=LATER, unfinished_at=LATER).changed
    over = NOW + LINGER_S + 1
    assert judged(one, now=over, config_at=over, unfinished_at=over).machine.asked_at is None
    assert judged(one, unfinished=[removing(one)], unfinished_at=NOW + 1).machine.job_id == 8


def test_somebody_elses_instance_of_that_name_is_never_removed():
    one = machine(tries=1, reason="r")
    verdict = judged(one, instance=instance(one, tags=("theirs",)), config_at=NOW + 1)
    assert verdict.act == ""
    assert verdict.machine.hopeless
    assert "not ours" in verdict.machine.reason


# creating


def test_a_job_that_succeeds_has_its_machine_boot_with_a_deadline():
    done = Job(7, "success", result=["n2"])
    verdict = judged(machine("CREATING", job_id=7, reason="was drained", remedy="x", tries=3), job=done)
    booting = verdict.machine
    assert (booting.phase, booting.node, booting.job_id) == ("BOOTING", "n2", None)
    assert booting.deadline_at == NOW + 1 + BOOT_DEADLINE_S
    assert (booting.reason, booting.remedy, booting.tries) == (None, None, 0)


@pytest.mark.parametrize("status", ["queued", "waiting", "running", "canceling"])
def test_a_job_that_is_not_over_is_waited_for(status):
    assert not judged(machine("CREATING", job_id=7), job=job(status)).changed


def test_another_job_says_nothing():
    assert not judged(machine("CREATING", job_id=7), job=job("success", number=6)).changed


def test_a_job_that_fails_is_asked_for_again_later_with_reason_and_remedy():
    one = machine("CREATING", job_id=7, tries=1, asked_at=NOW)
    text = "Not enough memory on node n1 for creating instance: needed 512 MiB, available 3 MiB"
    after = judged(one, job=job("error", "insufficient_resources", text)).machine
    assert (after.phase, after.tries, after.job_id, after.asked_at) == ("WANTED", 2, None, None)
    assert after.next_at == NOW + 1 + 4
    assert "Not enough memory" in after.reason
    assert "add a node" in after.remedy
    assert not after.hopeless


def test_waiting_grows_to_a_minute_and_no_further():
    one = machine("CREATING", job_id=7)
    waits = [judged(replace(one, tries=n), job=job("error")).machine.next_at - NOW - 1 for n in (0, 1, 2, 3, 4, 5, 500)]
    assert waits == [2, 4, 8, 16, 32, 60, 60]


def test_what_cannot_work_says_so_and_is_tried_each_minute():
    text = "OS Parameters validation failed on node n1: Directory for OS x not found in search path"
    after = judged(machine("CREATING", job_id=7), job=job("error", "", text, kind="OpExecError")).machine
    assert after.hopeless
    assert after.next_at == NOW + 1 + 60


def test_a_lost_answer_is_found_out_by_name():
    one = machine("CREATING", asked_at=NOW)
    assert judged(one, unfinished=[made(one)], unfinished_at=NOW + 1).machine.job_id == 7
    assert not judged(one, unfinished=[made(machine(number=2))], unfinished_at=NOW + 1).changed
    adopted = judged(one, instance=instance(one), config_at=NOW + 1, unfinished_at=NOW + 1)
    assert (adopted.machine.phase, adopted.machine.node) == ("BOOTING", "n1")


def test_an_instance_that_may_still_be_in_the_making_is_not_adopted():
    one = machine("CREATING", asked_at=NOW)
    assert not judged(one, instance=instance(one), config_at=NOW + 2, unfinished_at=NOW + 1).changed
    assert not judged(one, instance=instance(one), config_at=NOW + 2).changed


def test_what_nobody_has_heard_of_is_asked_for_again_after_a_minute():
    one = machine("CREATING", asked_at=NOW)
    assert not judged(one, now=LATER, config_at=NOW + LATE_S - 1, unfinished_at=LATER).changed
    again = judged(one, now=LATER, config_at=LATER, unfinished_at=LATER).machine
    assert (again.phase, again.asked_at, again.next_at) == ("WANTED", None, LATER)
    assert again.reason


def test_a_job_that_the_cluster_does_not_know_is_no_answer():
    one = machine("CREATING", job_id=7, asked_at=NOW)
    assert judged(one, job=job("")).machine.job_id is None


def test_a_name_that_is_taken_is_ours_if_its_tags_say_so():
    one = machine("CREATING", job_id=7, asked_at=NOW)
    taken = judged(one, job=job("error", "already_exists", "Instance 'x' is already in the cluster")).machine
    assert (taken.phase, taken.job_id) == ("CREATING", None)
    ours = judged(taken, now=NOW + 3, instance=instance(one), config_at=NOW + 2, unfinished_at=NOW + 2)
    assert (ours.machine.phase, ours.machine.reason, ours.machine.hopeless) == ("BOOTING", None, False)
    theirs = judged(taken, now=LATER + 2, config_at=LATER + 2, unfinished_at=LATER + 2).machine
    assert (theirs.phase, theirs.hopeless) == ("WANTED", True)
    assert "already" in theirs.reason


@pytest.mark.parametrize("trouble", ["unreachable", "denied", "refused", "drained", "full", "missing"])
def test_what_was_not_taken_is_wanted_still(trouble):
    one = machine("CREATING", asked_at=NOW)
    after = asked(one, Problem(trouble, "POST /2/instances: 500"), NOW + 1)
    assert (after.phase, after.tries, after.asked_at) == ("WANTED", 1, None)
    assert after.remedy
    assert after.next_at > NOW + 1


@pytest.mark.parametrize("trouble", ["ambiguous", "broken"])
def test_what_may_have_been_taken_is_not_asked_for_at_once_again(trouble):
    after = asked(machine("CREATING", asked_at=NOW), Problem(trouble, "POST /2/instances: 504"), NOW + 1)
    assert (after.phase, after.asked_at, after.job_id) == ("CREATING", NOW, None)
    assert "504" in after.reason


# booting and ready


def test_an_agent_that_does_not_come_in_time_loses_its_machine():
    one = machine("BOOTING", deadline_at=NOW + 10)
    assert judged(one, now=NOW + 9).act == ""
    verdict = judged(one, now=NOW + 10)
    assert (verdict.act, verdict.machine.phase) == ("lost", "DEAD")
    assert "boot_deadline_s" in verdict.machine.reason
    assert verdict.machine.remedy


@pytest.mark.parametrize("phase", ["BOOTING", "READY"])
@pytest.mark.parametrize(
    "status", ["ERROR_down", "ERROR_nodedown", "ADMIN_down", "USER_down", "ERROR_nodeoffline", None]
)
def test_an_instance_that_does_not_run_twice_in_a_row_is_lost(phase, status):
    one = machine(phase, deadline_at=NOW + 1000)
    seen = {"live": live(one, status) if status else None, "instance": instance(one)}
    once = judged(one, now=NOW + 1, live_at=NOW + 1, **seen)
    assert (once.act, once.machine.phase) == ("", phase)
    assert not judged(once.machine, now=NOW + 1, live_at=NOW + 1, **seen).changed
    twice = judged(once.machine, now=NOW + 3, live_at=NOW + 3, **seen)
    assert (twice.act, twice.machine.phase) == ("lost", "DEAD")
    assert twice.machine.reason
    assert twice.machine.remedy


def test_a_look_that_saw_it_running_in_between_ends_the_row():
    one = machine("READY")
    for seconds, status in enumerate(["ERROR_down", "running", "ERROR_down", "running"], 1):
        at = NOW + seconds * 2
        verdict = judged(one, now=at, live=live(one, status), live_at=at, instance=instance(one))
        assert verdict.act == ""
        one = verdict.machine


@pytest.mark.parametrize("status", ["running", "ERROR_up", "ERROR_wrongnode", ""])
def test_what_runs_or_is_not_known_is_not_lost(status):
    one = machine("READY")
    for seconds in range(2, 10, 2):
        at = NOW + seconds
        one = judged(one, now=at, live=live(one, status), live_at=at, instance=instance(one)).machine
    assert one.phase == "READY"


def test_a_look_from_before_it_was_made_says_nothing():
    one = machine("BOOTING", deadline_at=NOW + 100)
    assert not judged(one, live_at=NOW - 1, config_at=NOW - 1).changed


def test_a_node_that_does_not_answer_is_doubted_while_the_agent_does():
    one = machine("READY")
    for seconds in range(2, 10, 2):
        at = NOW + seconds
        seen = {"live": live(one, "ERROR_nodedown"), "live_at": at, "heard_at": at - 1}
        one = judged(one, now=at, instance=instance(one), **seen).machine
    assert (one.phase, one.status) == ("READY", "ERROR_nodedown")
    gone = judged(one, now=NOW + 40, live=live(one, "ERROR_nodedown"), live_at=NOW + 40, heard_at=NOW + 7)
    assert gone.act == "lost"


def test_an_instance_that_was_removed_behind_our_back_is_lost():
    one = judged(machine("READY"), now=NOW + 1, config_at=NOW + 1).machine
    assert (one.phase, one.status, one.source) == ("READY", "", "config")
    verdict = judged(one, now=NOW + 11, config_at=NOW + 11)
    assert verdict.act == "lost"
    assert "not there any more" in verdict.machine.reason


def test_that_nothing_has_changed_is_no_change():
    one = machine("READY", node="n1", address="192.0.2.9", status="running", seen_at=NOW + 1, source="live")
    seen = {"instance": instance(one), "config_at": NOW + 5, "live": live(one), "live_at": NOW + 5}
    assert not judged(one, now=NOW + 6, **seen).changed


def test_where_it_is_follows_the_configuration():
    one = machine("READY", node="n1")
    moved = judged(one, config_at=NOW + 1, instance=instance(one, node="n2", addresses=("192.0.2.77",))).machine
    assert (moved.node, moved.address) == ("n2", "192.0.2.77")


def test_an_agent_that_was_faster_than_its_job_keeps_it_until_it_is_over():
    one = machine("READY", job_id=7)
    assert not judged(one, job=job("running")).changed
    assert judged(one, job=job("success")).machine.job_id is None


def test_the_dead_stay_dead():
    one = machine("DEAD", reason="r", status="ERROR_down")
    assert not judged(one, live=live(one), live_at=NOW + 1, instance=instance(one), config_at=NOW + 1).changed


# unwanted and deleting


def test_what_was_never_asked_for_is_forgotten_once_it_is_seen_not_to_be_there():
    one = unwanted(machine(), NOW)
    assert judged(one, config_at=NOW - 1).act == ""
    assert judged(one, config_at=NOW + 1).act == "forget"


def test_what_is_being_made_is_made_and_then_removed():
    one = unwanted(machine("CREATING", job_id=7, asked_at=NOW), NOW)
    assert not judged(one, job=job("running"), config_at=NOW + 1).changed
    verdict = judged(one, job=job("success"), instance=instance(one), config_at=NOW + 1)
    assert (verdict.act, verdict.machine.phase) == ("delete", "DELETING")
    failed = judged(one, now=NOW + 2, job=job("error"), config_at=NOW + 1)
    assert (failed.act, failed.machine.phase) == ("", "UNWANTED")
    assert judged(failed.machine, now=NOW + 4, config_at=NOW + 3).act == "forget"


def test_what_may_still_be_made_is_not_forgotten():
    one = unwanted(machine("CREATING", asked_at=NOW), NOW)
    assert not judged(one, config_at=NOW + 30, unfinished_at=NOW + 30, now=NOW + 30).act
    assert judged(one, config_at=NOW + 30, unfinished=[made(one)], unfinished_at=NOW + 30).machine.job_id == 7
    rested = judged(one, config_at=LATER, unfinished_at=LATER, now=LATER)
    assert rested.act == ""
    assert judged(rested.machine, config_at=LATER + 2, now=LATER + 2).act == "forget"


def test_what_is_there_is_removed_and_forgotten_when_the_job_is_done():
    one = unwanted(machine("READY", host_id="h", asked_at=NOW - 100), NOW)
    verdict = judged(one, instance=instance(one), config_at=NOW - 5)
    assert (verdict.act, verdict.machine.phase) == ("delete", "DELETING")
    deleting = asked(verdict.machine, 8, NOW + 2)
    assert not judged(deleting, job=job("running", number=8)).changed
    assert judged(deleting, job=job("success", number=8)).act == "forget"


def test_the_removal_of_what_is_not_there_is_its_removal():
    one = machine("DELETING", job_id=8)
    gone = job("error", "unknown_entity", "Instance 'x' not known", number=8)
    assert judged(one, job=gone).act == "forget"


def test_a_removal_that_fails_is_tried_again():
    one = machine("DELETING", job_id=8, asked_at=NOW)
    after = judged(one, job=job("error", "", "Could not shutdown instance", 8, "OpExecError")).machine
    assert (after.phase, after.tries, after.job_id) == ("UNWANTED", 1, None)
    assert judged(after, now=NOW + 2, instance=instance(one), config_at=NOW + 2).act == ""
    assert judged(after, now=NOW + 9, instance=instance(one), config_at=NOW + 8).act == "delete"


def test_a_removal_whose_answer_was_lost_is_found_out():
    one = machine("DELETING", asked_at=NOW)
    assert judged(one, unfinished=[removing(one)], unfinished_at=NOW + 1).machine.job_id == 8
    assert judged(one, config_at=NOW + 1).act == "forget"
    assert not judged(one, instance=instance(one), config_at=NOW + 1).changed
    assert judged(one, now=LATER, instance=instance(one), config_at=LATER).act == "delete"


def test_somebody_elses_instance_of_that_name_stays_when_ours_is_unwanted():
    one = unwanted(machine("READY"), NOW)
    assert judged(one, instance=instance(one, tags=()), config_at=NOW + 1).act == "forget"


def test_that_it_is_unwanted_can_be_said_twice():
    one = unwanted(machine("READY"), NOW)
    assert unwanted(one, NOW + 5) == one
    deleting = machine("DELETING", job_id=8)
    assert unwanted(deleting, NOW + 5) == deleting
