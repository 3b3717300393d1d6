# SPDX-License-Identifier: Apache-2.0
from itertools import pairwise

import pytest

from caryatid.model import BY_NAME, EVENT, KINDS, LISTENER, MEMBER, POOL, SECRET
from caryatid.model.event import BEGINNING, TEXT_MAX, Cursor, called, changed, cursor, shown, system
from caryatid.model.eventtypes import MADE, TYPES

POOL_ROW = {"name": "p", "description": "", "updated_at": "1", "session_persistence": None, "tags": []}


def test_what_changed_has_old_and_new_and_no_more():
    after = {**POOL_ROW, "description": "new", "updated_at": "2"}
    assert changed(POOL, POOL_ROW, after) == {"name": "p", "changed": {"description": ["", "new"]}}


def test_a_nested_document_is_the_same_whether_it_was_stored_or_not():
    stored = {**POOL_ROW, "session_persistence": {
        "type": "SOURCE_IP", "cookie_name": None, "persistence_timeout": None, "persistence_granularity": None,
    }}  # fmt: skip
    wanted = BY_NAME["pool"].attributes["session_persistence"].document(type="SOURCE_IP")
    assert changed(POOL, stored, {**stored, "session_persistence": wanted})["changed"] == {}


def test_secrets_are_in_no_event():
    assert SECRET.attributes["payload"].secret
    assert changed(SECRET, {"payload": "a"}, {"payload": "b"})["changed"] == {}


def test_long_values_are_cut():
    old, new = changed(LISTENER, {"description": "a"}, {"description": "x" * 9999})["changed"]["description"]
    assert (old, len(new)) == ("a", TEXT_MAX + 1)
    many = changed(LISTENER, {"tags": []}, {"tags": ["t"] * 9999})["changed"]["tags"][1]
    assert len(many) == TEXT_MAX + 1


def test_people_know_a_member_by_its_address():
    assert called({"name": "", "address": "::1", "protocol_port": 80, "pool_id": "p"}) == {
        "address": "::1", "protocol_port": 80,
    }  # fmt: skip
    assert called({"name": "n", "address": "::1", "protocol_port": 80, "pool_id": "p"}) == {"name": "n"}
    assert called({"name": "", "id": "x"}) == {}


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in MADE], ids=lambda kind: kind.name)
def test_whatever_can_be_done_to_a_kind_has_a_type(kind):
    for act in ("create", "update", "delete"):
        assert f"{kind.name}.{act}" in TYPES
        assert not kind.root or {f"{kind.name}.{act}.{state}" for state in ("begin", "end", "error")} <= TYPES.keys()


def test_cursors_are_in_the_order_of_the_log():
    places = [BEGINNING, Cursor(-7, 9, "aa"), Cursor(0, 1, "aa"), Cursor(0, 2, "aa"), Cursor(5, 1, "aa")]
    assert all(first < second for first, second in pairwise(places))
    assert [cursor(place.text) for place in places] == places


def test_what_is_shown_is_what_the_model_says():
    row = dict.fromkeys(("project_id", "loadbalancer_id", "job_id", "detail")) | {"xid": 3, "seq": 4, "at": "t"}
    row |= {"kind": MEMBER.name, "action": "status", "resource_id": "m", "user_id": "u", "request_id": ""}
    found = shown(row)
    assert found.keys() == EVENT.attributes.keys()
    assert (found["type"], cursor(found["id"])[:2]) == ("member.status", (3, 4))


def test_a_part_of_the_service_has_a_name_of_its_own():
    assert system("worker").user_id == "system:worker"
    assert not system("worker").is_admin
