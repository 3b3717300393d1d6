# SPDX-License-Identifier: Apache-2.0
import itertools

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from caryatid.errors import Refused
from caryatid.model import AMPHORA, BY_NAME, HEALTHMONITOR, LISTENER, LOADBALANCER, MEMBER, POOL
from caryatid.store import rows
from caryatid.store.filters import Query, source
from caryatid.store.work import Done

NAMES = ("", "a", "B", "b", "ä", "z", "🐘")
WEIGHTS = (0, 1, 1, 2, 256)
KEYS = ("name", "weight", "monitor_port", "backup", "address", "created_at", "updated_at", "id", "operating_status")


def ids(garden, kind, **query):
    with garden.database.read() as tx:
        return [document["id"] for document in rows.page(tx, kind, Query(**query))]


@pytest.fixture
def meadow(garden):
    """A pool of members that differ in everything."""
    root = garden.root()
    pool = garden.add(POOL, root)
    for number in range(24):
        garden.add(
            MEMBER,
            root,
            pool_id=pool,
            address=f"192.0.2.{number * 7 % 24 + 1}",
            name=NAMES[number % len(NAMES)],
            weight=WEIGHTS[number % len(WEIGHTS)],
            monitor_port=None if number % 3 else number % 4 + 1,
            backup=number % 2 == 0,
        )
    with garden.database.read() as tx:
        return garden, pool, rows.find(tx, MEMBER, pool_id=pool)


def in_order(documents, sort):
    """As the database is to sort: null before all, text by code point."""
    order = sorted(documents, key=lambda d: (d["created_at"], d["id"]))
    for name, way in reversed(sort):
        key = lambda d, name=name: (d[name] is not None, d[name] if d[name] is not None else 0)  # noqa: E731
        order.sort(key=key, reverse=way == "desc")
    return [document["id"] for document in order]


sort_keys = st.tuples(st.sampled_from(KEYS), st.sampled_from(["asc", "desc"]))
sorts = st.lists(sort_keys, max_size=3, unique_by=lambda sort: sort[0])


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(sort=sorts, limit=st.integers(1, 9))
def test_pages_make_up_the_whole_in_order_forwards_and_backwards(meadow, sort, limit):
    garden, pool, documents = meadow
    wanted = in_order(documents, sort)
    found = []
    marker = None
    while page := ids(garden, MEMBER, sort=sort, limit=limit, marker=marker, parent_id=pool):
        found += page
        marker = page[-1]
    assert found == wanted
    back = []
    marker = wanted[-1]
    while page := ids(garden, MEMBER, sort=sort, limit=limit, marker=marker, parent_id=pool, page_reverse=True):
        back = page + back
        marker = page[0]
    assert back == wanted[:-1]


def test_backwards_without_a_marker_is_the_last_page(meadow):
    garden, _, documents = meadow
    assert ids(garden, MEMBER, limit=5, page_reverse=True) == in_order(documents, [])[-5:]


@pytest.mark.parametrize(
    ("name", "value", "holds"),
    [
        ("name", "b", lambda d: d["name"] == "b"),
        ("name", "", lambda d: d["name"] == ""),
        ("name", ["a", "ä"], lambda d: d["name"] in ("a", "ä")),
        ("weight", "1", lambda d: d["weight"] == 1),
        ("weight", ["0", "256"], lambda d: d["weight"] in (0, 256)),
        ("backup", "True", lambda d: d["backup"]),
        ("backup", "no", lambda d: not d["backup"]),
        ("backup", ["no", "yes"], lambda _: True),
        ("monitor_port", "null", lambda d: d["monitor_port"] is None),
        ("monitor_port", None, lambda d: d["monitor_port"] is None),
        ("monitor_port", [None, "1"], lambda d: d["monitor_port"] in (None, 1)),
        ("admin_state_up", "true", lambda _: True),
        ("operating_status", "NO_MONITOR", lambda _: True),
        ("operating_status", ["ONLINE", "OFFLINE"], lambda _: False),
        ("provisioning_status", "PENDING_CREATE", lambda _: True),
        ("protocol_port", "80", lambda _: True),
        ("protocol_port", str(10**30), lambda _: False),
        ("weight", str(2**40), lambda _: False),
        ("name", "\x00", lambda _: False),
        ("name", "' OR 1=1 --", lambda _: False),
        ("project_id", "p1", lambda _: True),
        ("address", "192.0.2.3", lambda d: d["address"] == "192.0.2.3"),
    ],
)
def test_any_attribute_filters_by_what_it_is(meadow, name, value, holds):
    garden, _, documents = meadow
    wanted = {d["id"] for d in documents if holds(d)}
    assert set(ids(garden, MEMBER, filters={name: value})) == wanted


def test_filters_are_narrowed_by_each_other(meadow):
    garden, pool, documents = meadow
    wanted = [d["id"] for d in documents if d["backup"] and d["weight"] == 1]
    assert ids(garden, MEMBER, filters={"backup": "true", "weight": "1"}, parent_id=pool) == wanted
    assert ids(garden, MEMBER, parent_id=documents[0]["id"]) == []


def test_what_hangs_on_what_can_be_asked_for(garden):
    first, second = garden.whole(), garden.whole()
    for name in first.keys() - {"loadbalancer"}:
        assert ids(garden, BY_NAME[name], filters={"loadbalancer_id": first["loadbalancer"]}) == [first[name]]
    assert ids(garden, HEALTHMONITOR, filters={"pool_id": second["pool"]}) == [second["healthmonitor"]]
    assert ids(garden, LISTENER, filters={"default_pool_id": second["pool"]}) == [second["listener"]]
    subnet = garden.get(LOADBALANCER, first["loadbalancer"])["vip_subnet_id"]
    assert len(ids(garden, LOADBALANCER, filters={"vip_subnet_id": subnet})) == 2
    assert ids(garden, LOADBALANCER, filters={"vip_address": "null", "flavor_id": "null"}, limit=1)


def test_another_projects_rows_are_not_there(garden):
    mine, other = garden.root(project_id="p1"), garden.root(project_id="p2")
    assert ids(garden, LOADBALANCER, project_id="p1") == [mine]
    with pytest.raises(Refused, match=f"Supplied pagination marker '{other}' is not valid"):
        ids(garden, LOADBALANCER, project_id="p1", marker=other)


def test_amphorae_are_asked_for_by_the_project_of_their_load_balancer(garden):
    root = garden.root(project_id="p7")
    at = "2026-11-20T19:05:25.123456"
    given = {"id": root, "created_at": at, "loadbalancer_id": root}
    with garden.database.transaction() as tx:
        rows.insert(tx, AMPHORA, [AMPHORA.new({}, given)])
    assert ids(garden, AMPHORA, project_id="p7") == [root]
    assert ids(garden, AMPHORA, project_id="p1") == []
    assert ids(garden, AMPHORA, filters={"status": "PENDING_CREATE", "loadbalancer_id": root}) == [root]


def test_updated_at_is_compared_as_it_is_shown(garden):
    root = garden.root()
    assert ids(garden, LOADBALANCER, filters={"updated_at": "null"}) == [root]
    garden.settle(Done)
    assert ids(garden, LOADBALANCER, filters={"updated_at": "null"}) == []


TAGS = ("red", "green", "blue", "")


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(wanted=st.tuples(*[st.lists(st.sampled_from(TAGS), max_size=2, unique=True)] * 4))
def test_tags_in_four_spellings(woods, wanted):
    garden, known = woods
    every, some, not_every, not_some = map(set, wanted)
    expected = [
        key
        for key, tags in known.items()
        if every <= tags
        and (not some or some & tags)
        and not (not_every and not_every <= tags)
        and not (not_some & tags)
    ]
    query = dict(zip(("tags", "tags_any", "not_tags", "not_tags_any"), wanted, strict=True))
    assert ids(garden, LOADBALANCER, **query) == expected


@pytest.fixture
def woods(garden):
    """Load balancers with every choice of three tags."""
    choices = itertools.chain.from_iterable(itertools.combinations(TAGS[:3], n) for n in range(4))
    return garden, {garden.root(tags=list(tags)): set(tags) for tags in choices}


def test_every_bad_name_is_named_at_once(garden):
    bad = {"nothing": "1", "listeners": "x", "name": "fine", "admin_state_up": "perhaps", "vip_sg_ids": "x"}
    with pytest.raises(Refused) as refused:
        ids(garden, LOADBALANCER, filters=bad, sort=[("nowhere", "asc"), ("tags", "desc")])
    attributes = [fault.attribute for fault in refused.value.faults]
    assert attributes == ["nothing", "listeners", "admin_state_up", "vip_sg_ids", "nowhere", "tags"]
    assert refused.value.faults[0].message == "One or more arguments are either duplicate or invalid"
    assert refused.value.faults[4].message == "Supplied sort key 'nowhere' is not valid."


@pytest.mark.parametrize("marker", ["nothing", "\x00", "\ud800", ""])
def test_an_unknown_marker_is_refused(garden, marker):
    with pytest.raises(Refused, match="pagination marker"):
        ids(garden, LOADBALANCER, marker=marker)


def test_an_attribute_that_an_older_document_lacks_has_its_default(garden):
    root = garden.root()
    drop = {"sqlite": "json_remove(spec, '$.provider')", "postgresql": "spec - 'provider'"}
    with garden.database.transaction() as tx:
        tx.connection.execute(text(f"UPDATE loadbalancer SET spec = {drop[garden.database.dialect]}"))
    assert garden.get(LOADBALANCER, root)["provider"] == "amphora"
    assert ids(garden, LOADBALANCER, filters={"provider": "amphora"}) == [root]


@pytest.mark.parametrize("kind", BY_NAME.values(), ids=lambda kind: kind.name)
def test_every_kind_can_be_listed_by_every_attribute_it_has(database, kind):
    with database.read() as tx:
        for name in source(kind.name, database.dialect).values:
            for way in ("asc", "desc"):
                assert rows.page(tx, kind, Query(sort=[(name, way)], filters={name: "1"}, limit=1)) == []
