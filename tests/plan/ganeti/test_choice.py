# SPDX-License-Identifier: Apache-2.0
from hypothesis import given
from hypothesis import strategies as st

from caryatid.model.cluster import MachineWish
from caryatid.plan.ganeti.choice import Chosen, NoRoom, choose, pick_cluster
from caryatid.wire.rapi.answers import Node
from tests.plan.ganeti.clusters import NOW, cluster, machine


def node(name, free=4096, **given):
    return Node(name, **{"group": "default", "free_memory_mib": free, "free_disk_mib": 100_000, **given})


def chosen(nodes, machines=(), one=None, leaving=(), **given):
    return choose(cluster(**given), one or machine(), nodes, machines, nodes_at=NOW, leaving=leaving)


def there(number, where, phase="READY", **given):
    return machine(phase, number, node=where, changed_at=NOW - 100, **given)


# clusters


def test_a_zone_names_its_cluster_whether_or_not_it_answers():
    known = [(cluster(name="a"), "ERROR"), (cluster(name="b"), "ONLINE")]
    assert pick_cluster(MachineWish(cluster="a"), known, {}).name == "a"


def test_a_cluster_that_is_not_known_or_disabled_says_so():
    known = [(cluster(name="a"), "ONLINE"), (cluster(name="b", enabled=False), "ONLINE")]
    missing = pick_cluster(MachineWish(cluster="x"), known, {})
    assert missing.reason == "No cluster is called x; there are: a, b."
    assert missing.hopeless
    disabled = pick_cluster(MachineWish(cluster="b"), known, {})
    assert "disabled" in disabled.reason
    assert disabled.remedy


def test_of_those_that_answer_the_one_with_the_fewest_machines():
    known = [(cluster(name=name), status) for name, status in (("a", "ONLINE"), ("b", "ONLINE"), ("c", "ERROR"))]
    counts = {known[0][0].id: 3, known[1][0].id: 2}
    assert pick_cluster(MachineWish(), known, counts).name == "b"


def test_without_a_cluster_that_takes_machines_the_reason_says_which_state_they_are_in():
    away = pick_cluster(MachineWish(), [(cluster(name="a"), "ERROR"), (cluster(name="b"), "OFFLINE")], {})
    assert "a is ERROR, b is OFFLINE" in away.reason
    assert not away.hopeless
    assert pick_cluster(MachineWish(), [], {}).hopeless
    assert "disabled" in pick_cluster(MachineWish(), [(cluster(enabled=False), "ONLINE")], {}).reason


# nodes


def test_the_node_with_the_most_free_memory():
    assert chosen([node("n1", 1000), node("n2", 2000)]) == Chosen(("n2",))


def test_what_was_given_out_since_the_look_counts():
    nodes = [node("n1", 2000), node("n2", 1800)]
    given_out = [machine("CREATING", 2, node="n1", loadbalancer_id="other")]
    assert chosen(nodes, given_out) == Chosen(("n2",))
    seen = [there(2, "n1", loadbalancer_id="other")]
    assert chosen(nodes, seen) == Chosen(("n1",))


def test_nodes_that_take_nobody_are_not_chosen():
    useless = [
        node("n1", offline=True),
        node("n2", drained=True),
        node("n3", vm_capable=False),
        node("n4", None),
        node("n5", group="other"),
    ]
    found = chosen(useless, group="default")
    assert isinstance(found, NoRoom)
    assert "offline, drained" in found.reason
    assert chosen([*useless, node("n6", 600)], group="default") == Chosen(("n6",))


def test_a_group_without_nodes_is_named_with_those_that_have_some():
    found = chosen([node("n1"), node("n2", group="b")], group="x")
    assert found.reason == "No node is in group x; groups with nodes: b, default."
    assert found.hopeless


def test_a_full_cluster_says_how_much_the_freest_node_has():
    found = chosen([node("n1", 100), node("n2", 300)])
    assert "512 MiB" in found.reason
    assert "300 MiB" in found.reason
    assert not found.hopeless


def test_disk_counts_where_it_is_on_the_node():
    small = [node("n1", free_disk_mib=1000)]
    assert isinstance(chosen(small), NoRoom)
    assert chosen(small, disk_template="file") == Chosen(("n1",))
    assert chosen([node("n1", free_disk_mib=None)]) == Chosen(("n1",))


def test_machines_of_a_load_balancer_are_apart_if_that_can_be_had():
    nodes = [node("n1", 4000), node("n2", 1000)]
    assert chosen(nodes, [there(2, "n1")]) == Chosen(("n2",))
    assert chosen(nodes[:1], [there(2, "n1")]) == Chosen(("n1",))
    assert chosen(nodes, [there(2, "n1", "DEAD")]) == Chosen(("n1",))
    assert chosen(nodes, [there(2, "n1", loadbalancer_id=None)], machine(loadbalancer_id=None)) == Chosen(("n1",))


def test_or_must_be():
    strict = machine(wish=MachineWish(apart=True))
    found = chosen([node("n1")], [there(2, "n1")], strict)
    assert "anti_affinity strict" in found.reason
    assert chosen([node("n1")], [there(2, "n1")], strict, leaving={"a2"}) == Chosen(("n1",))
    assert chosen([node("n1"), node("n2", 600)], [there(2, "n1")], strict) == Chosen(("n2",))


def test_an_allocator_chooses_unless_the_wish_insists():
    assert chosen([], iallocator="hail") == Chosen()
    strict = machine(wish=MachineWish(apart=True))
    assert chosen([node("n1"), node("n2")], [there(2, "n1")], strict, iallocator="hail") == Chosen(("n2",))


def test_mirrored_disks_have_two_nodes_of_one_group():
    nodes = [node("n1", 9000), node("n2", 500, group="b"), node("n3", 500, group="b")]
    assert isinstance(chosen(nodes, disk_template="drbd"), NoRoom)
    nodes = [node("n1", 9000), node("n2", 1000, group="b"), node("n3", 500, group="b")]
    assert chosen(nodes, disk_template="drbd") == Chosen(("n2", "n3"))
    alone = chosen([node("n1")], disk_template="drbd")
    assert "second node" in alone.reason


@given(
    st.lists(st.tuples(st.integers(0, 3000), st.booleans()), max_size=5),
    st.lists(st.tuples(st.integers(0, 4), st.sampled_from(["lb1", "lb2"])), max_size=12),
    st.booleans(),
)
def test_nobody_is_put_where_there_is_no_room(free, given_out, apart):
    nodes = [node(f"n{number}", memory, drained=drained) for number, (memory, drained) in enumerate(free)]
    others = [
        machine("CREATING", number + 2, node=f"n{where}", loadbalancer_id=whose)
        for number, (where, whose) in enumerate(given_out)
    ]
    found = chosen(nodes, others, machine(wish=MachineWish(apart=apart)))
    if isinstance(found, NoRoom):
        assert found.reason
        assert found.remedy
        return
    (name,) = found.nodes
    used = 512 * sum(one.node == name for one in others)
    the = next(one for one in nodes if one.name == name)
    assert the.free_memory_mib - used >= 512
    assert not the.drained
    assert not (apart and any(one.node == name and one.loadbalancer_id == "lb1" for one in others))
