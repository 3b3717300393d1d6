# SPDX-License-Identifier: Apache-2.0
"""Lists on the wire: filters, order, pages and links (facts: octavia.md §2.4)."""

from urllib.parse import parse_qsl, urlsplit

import pytest

LISTED = "/v2/lbaas/loadbalancers"


def names(answer):
    assert answer.status_code == 200, answer.text
    return [one["name"] for one in answer.json()["loadbalancers"]]


def link(answer, rel):
    return next((one["href"] for one in answer.json()["loadbalancers_links"] if one["rel"] == rel), None)


@pytest.fixture
def five(api):
    for number, name in enumerate("abcde"):
        tags = ["odd"] if number % 2 else ["even"]
        api.loadbalancer(name=name, tags=[*tags, f"t{number}"], project_id="p1" if number < 3 else "p2")
    return api


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("name=b", "b"),
        ("project_id=p2", "de"),
        ("admin_state_up=false", ""),
        ("admin_state_up=True&name=c", "c"),
        ("provisioning_status=PENDING_CREATE", "abcde"),
        ("vip_subnet_id=00000000-0000-4000-8000-000000000002", "abcde"),
        ("tags=odd,t1", "b"),
        ("tags=odd&tags=t3", "d"),
        ("tags-any=t0,t4", "ae"),
        ("not-tags=even,t0", "bcde"),
        ("not-tags-any=even,t1", "d"),
    ],
)
def test_filters(five, query, expected):
    assert sorted(names(five.get(f"{LISTED}?{query}"))) == list(expected)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("sort=name:desc", "edcba"),
        ("sort_key=name&sort_dir=desc", "edcba"),
        ("sort=project_id:desc,name", "deabc"),
        ("sort_key=project_id,name&sort_dir=desc,desc", "edcba"),
        ("sort_key=project_id&sort_key=name&sort_dir=asc&sort_dir=desc", "cbaed"),
        ("", "abcde"),
    ],
)
def test_order(five, query, expected):
    assert names(five.get(f"{LISTED}?{query}")) == list(expected)


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("bogus=1", "One or more arguments are either duplicate or invalid"),
        ("name=a&name=b", "One or more arguments are either duplicate or invalid"),
        ("listeners=x", "One or more arguments are either duplicate or invalid"),
        ("tenant_id=x", "One or more arguments are either duplicate or invalid"),
        ("load_balancer_id=x&loadbalancer_id=y", "One or more arguments are either duplicate or invalid"),
        ("sort=bogus", "Supplied sort key 'bogus' is not valid."),
        ("marker=bogus", "Supplied pagination marker 'bogus' is not valid."),
    ],
)
def test_what_cannot_be_asked_is_400_in_shape_a(five, query, text):
    answer = five.get(f"{LISTED}?{query}")
    assert (answer.status_code, answer.json()["faultstring"]) == (400, text)


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("limit=x", "Supplied pagination limit 'x' is not valid."),
        ("sort=name:up", "Supplied sort direction 'up' is not valid."),
        ("sort_key=name&sort_dir=up", "Supplied sort direction 'up' is not valid."),
        ("sort_dir=asc", "Supplied sort direction 'asc' is not valid."),
    ],
)
def test_a_page_that_cannot_be_is_400_in_shape_b(five, query, text):
    answer = five.get(f"{LISTED}?{query}")
    assert (answer.status_code, answer.json()["description"]) == (400, text)


def test_links_lead_through_all_pages_and_keep_filter_order_fields_and_limit(five):
    seen = []
    href = f"{LISTED}?limit=2&sort=name:desc&fields=id,name&tags-any=odd,even&admin_state_up=true"
    while href:
        answer = five.get(href)
        seen += names(answer)
        assert all(one.keys() == {"id", "name"} for one in answer.json()["loadbalancers"])
        href = link(answer, "next")
    assert seen == list("edcba")


def test_a_link_can_be_followed_by_who_reads_only_its_query(five):
    first = five.get(f"{LISTED}?limit=2&name=a&sort_key=name&sort_dir=desc&not-tags=x")
    assert link(first, "next") is None
    all_of_them = five.get(f"{LISTED}?limit=3&sort_key=name&sort_dir=desc&project_id=p1&fields=name")
    assert link(all_of_them, "next") is None
    two = five.get(f"{LISTED}?limit=2&sort_key=name&sort_dir=desc&project_id=p1&fields=name")
    query = dict(parse_qsl(urlsplit(link(two, "next")).query))
    expected = {"limit": "2", "sort_key": "name", "sort_dir": "desc", "project_id": "p1", "fields": "name"}
    assert query.items() >= expected.items()
    assert names(five.get(LISTED, params=query)) == ["a"]


def test_the_previous_page_is_the_one_just_before(five):
    ids = [one["id"] for one in five.get(LISTED).json()["loadbalancers"]]
    last = five.get(f"{LISTED}?limit=2&marker={ids[3]}")
    assert names(last) == ["e"]
    before = five.get(link(last, "previous"))
    assert names(before) == ["c", "d"]
    first = five.get(link(before, "previous"))
    assert names(first) == ["a", "b"]
    assert link(first, "previous") is None
    assert names(five.get(link(first, "next"))) == ["c", "d"]


@pytest.mark.parametrize("limit", ["0", "-1", "infinite", "5", "1000", "99999999999999999999"])
def test_no_link_where_there_is_no_more(five, limit):
    answer = five.get(f"{LISTED}?limit={limit}")
    assert names(answer) == list("abcde")
    assert answer.json()["loadbalancers_links"] == []


def test_no_page_is_larger_than_the_operator_allows(small_api):
    for name in "abcd":
        small_api.loadbalancer(name=name)
    for query in ("", "?limit=100", "?limit=0"):
        answer = small_api.get(LISTED + query)
        assert names(answer) == ["a", "b", "c"]
        assert names(small_api.get(link(answer, "next").removeprefix("https://lb.example/lb"))) == ["d"]


def test_fields_limit_what_is_shown_and_unknown_ones_are_no_error(five):
    assert five.get(f"{LISTED}?fields=name&fields=vip_address&limit=1").json()["loadbalancers"][0].keys() == {
        "name",
        "vip_address",
    }
    assert five.get(f"{LISTED}?fields=bogus&limit=2").json()["loadbalancers"] == [{}, {}]
    one = five.get(LISTED).json()["loadbalancers"][0]["id"]
    assert five.get(f"{LISTED}/{one}?fields=id,tenant_id").json() == {"loadbalancer": {"id": one, "tenant_id": "p1"}}
    assert five.get(f"{LISTED}/{one}?bogus=1").json()["faultstring"] == 'Unknown argument: "bogus"'


def test_children_are_listed_by_their_load_balancer_under_both_names(api):
    ids = api.populated()
    other = api.populated()
    for name in ("loadbalancer_id", "load_balancer_id"):
        for plural in ("listeners", "pools"):
            found = api.get(f"/v2/lbaas/{plural}?{name}={ids['loadbalancers']}").json()[plural]
            assert [one["id"] for one in found] == [ids[plural]]
    assert api.get(f"/v2/lbaas/pools?listener_id={ids['listeners']}").status_code == 400
    monitors = api.get(f"/v2/lbaas/healthmonitors?pool_id={other['pools']}").json()["healthmonitors"]
    assert [one["id"] for one in monitors] == [other["healthmonitors"]]
    policies = api.get(f"/v2/lbaas/l7policies?listener_id={other['listeners']}").json()["l7policies"]
    assert [one["id"] for one in policies] == [other["l7policies"]]


def test_links_begin_with_what_the_client_called_us(api):
    api.loadbalancer()
    api.loadbalancer()
    answer = api.get("/v2.0/lbaas/loadbalancers?limit=1", headers={"Host": "lb.example:80"})
    assert link(answer, "next").startswith("http://lb.example:80/v2.0/lbaas/loadbalancers?limit=1&marker=")
