# SPDX-License-Identifier: Apache-2.0
from caryatid.plan.ganeti.aligning import GRACE_S, Unsynced, align
from tests.plan.ganeti.clusters import NOW, SITE, instance, live, machine


def aligned(machines=(), instances=(), lives=(), at=NOW + 1, orphans=None):
    return align(machines, instances, lives, installation=SITE, config_at=at, orphans=orphans or {})


def ready(number=1, **given):
    return machine("READY", number, node="n1", address="192.0.2.9", status="running", **given)


def test_what_fits_is_not_mentioned():
    one = ready()
    found = aligned([one], [instance(one)], [live(one)])
    assert (found.stale, found.orphans, found.foreign, found.unsynced) == ((), {}, (), ())


def test_a_row_whose_instance_is_gone_is_stale_if_the_look_is_newer():
    assert aligned([ready()], []).stale == ("a1",)
    assert aligned([ready()], [], at=NOW - 1).stale == ()
    assert aligned([machine("CREATING"), machine("UNWANTED", 2)], []).stale == ()


def test_an_instance_of_ours_that_nobody_knows_has_a_grace_from_when_it_was_first_seen():
    lost = instance(machine(number=9))
    first = aligned([], [lost])
    assert (first.orphans, first.remove) == ({lost.name: NOW + 1}, ())
    later = aligned([], [lost], at=NOW + GRACE_S, orphans=first.orphans)
    assert (later.orphans, later.remove) == (first.orphans, ())
    assert aligned([], [lost], at=NOW + 1 + GRACE_S, orphans=later.orphans).remove == (lost.name,)


def test_an_orphan_that_is_somebodys_again_loses_its_past():
    one = ready()
    assert aligned([one], [instance(one)], orphans={one.name: NOW - 9999}).orphans == {}


def test_machines_in_every_phase_are_known():
    for phase in ("WANTED", "CREATING", "BOOTING", "READY", "DEAD", "UNWANTED", "DELETING"):
        one = machine(phase)
        assert aligned([one], [instance(one)], orphans={one.name: 0.0}).remove == ()


def test_another_caryatids_instances_are_left_alone():
    theirs = instance(machine(number=9), tags=("caryatid", "caryatid:other", "caryatid:a9"))
    nobodys = instance(machine(number=8), tags=("web",))
    found = aligned([], [theirs, nobodys], at=NOW + 9999, orphans={theirs.name: 0.0})
    assert (found.foreign, found.orphans, found.remove) == ((theirs.name,), {}, ())


def test_what_differs_is_told():
    one = ready()
    moved = instance(one, node="n2", addresses=("192.0.2.77",))
    assert aligned([one], [moved], [live(one, "ERROR_down")]).unsynced == (
        Unsynced("a1", "node", "n1", "n2"),
        Unsynced("a1", "address", "192.0.2.9", "192.0.2.77"),
        Unsynced("a1", "status", "running", "ERROR_down"),
    )
    assert aligned([one], [moved], at=NOW).unsynced == ()
