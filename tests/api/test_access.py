# SPDX-License-Identifier: Apache-2.0
"""Who is let in, as whom, and who may change that."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.api.conftest import LBAAS, SUBNET, basic

LBS = f"{LBAAS}/loadbalancers"
OPEN = ("/", "/v1", "/healthcheck", "/metrics", "/openapi.json", "/docs")


def moment(**later):
    return (datetime.now(UTC) + timedelta(**later)).replace(tzinfo=None).isoformat()


@pytest.mark.parametrize("who", [
    {},
    {"X-Auth-Token": "cyt_nobody"},
    {"X-Auth-Token": "nobody"},
    {"Authorization": "Bearer cyt_nobody"},
    {"Authorization": "Basic !"},
    basic("nobody", "nothing"),
    basic("admin", ""),
    basic("nul\0", "nothing"),
])  # fmt: skip
def test_nobody_unknown_is_let_in_and_all_are_told_how(any_guarded, who):
    answer = any_guarded.ask("GET", LBS, who)
    assert answer.status_code == 401
    if who != {"Authorization": "Basic !"}:
        assert answer.headers["www-authenticate"].startswith('Basic realm="caryatid"')
        assert 'Bearer realm="caryatid"' in answer.headers["www-authenticate"]


@pytest.mark.parametrize("path", OPEN)
def test_what_everybody_may_know_needs_no_token(guarded, path):
    assert guarded.ask("GET", path, {}).status_code == 200


def test_a_token_lets_in_wherever_it_stands(guarded):
    bearer = {"Authorization": f"Bearer {guarded.token}"}
    for who in ({"X-Auth-Token": guarded.token}, bearer, basic("x", guarded.token)):
        assert guarded.ask("GET", LBS, who).status_code == 200


def test_a_user_asks_in_the_name_of_the_project_that_it_says(any_guarded):
    people = any_guarded
    first, second = people.project("first"), people.project("second")
    people.user("alice", {first: ["member"], second: ["member"]}, "long enough")
    alice = basic("alice", "long enough")
    body = {"loadbalancer": {"vip_subnet_id": SUBNET}}
    owners = [
        people.ask("POST", LBS, {**alice, "X-Project-Id": said}, json=body).json()["loadbalancer"]["project_id"]
        for said in (first, second, "first")
    ]
    assert owners == [first, second, first]
    assert people.ask("GET", LBS, alice).status_code == 403, "it must say which"
    assert people.ask("GET", LBS, {**alice, "X-Project-Id": "default"}).status_code == 403
    assert len(people.ask("GET", LBS, {**alice, "X-Project-Id": first}).json()["loadbalancers"]) == 2


def test_the_only_project_and_the_default_one_need_not_be_said(guarded):
    first, second = guarded.project("first"), guarded.project("second")
    alice = guarded.user("alice", {first: ["member"]}, "long enough")
    who = basic("alice", "long enough")
    body = {"loadbalancer": {"vip_subnet_id": SUBNET}}
    assert guarded.ask("POST", LBS, who, json=body).json()["loadbalancer"]["project_id"] == first
    guarded.made("roles", role={"user_id": alice, "project_id": second, "role": "member"})
    answer = guarded.ask("PUT", f"/v1/access/users/{alice}", json={"user": {"default_project_id": second}})
    assert answer.status_code == 200
    guarded.until(200, "GET", LBS, who)
    assert guarded.ask("POST", LBS, who, json=body).json()["loadbalancer"]["project_id"] == second


def test_a_token_is_for_its_project_but_an_administrators_for_any(guarded):
    first, second = guarded.project("first"), guarded.project("second")
    alice = guarded.user("alice", {first: ["member"], second: ["member"]})
    who = guarded.headers(alice, first)
    for said in (first, "first"):
        assert guarded.ask("GET", LBS, {**who, "X-Project-Id": said}).status_code == 200
    assert guarded.ask("GET", LBS, {**who, "X-Project-Id": second}).status_code == 403
    body = {"loadbalancer": {"vip_subnet_id": SUBNET}}
    made = guarded.ask("POST", LBS, {**guarded.admin, "X-Project-Id": "second"}, json=body)
    assert made.json()["loadbalancer"]["project_id"] == second
    assert guarded.ask("GET", LBS, {**guarded.admin, "X-Project-Id": "nowhere"}).status_code == 403


def test_what_a_token_is_is_shown_once_and_kept_nowhere(any_guarded):
    made = any_guarded.made("tokens", token={"name": "ci"})
    secret = made["secret"]
    assert secret.startswith("cyt_")
    assert len(secret) == 47
    shown = any_guarded.ask("GET", f"/v1/access/tokens/{made['id']}").json()["token"]
    assert "secret" not in shown
    assert "digest" not in shown
    listed = any_guarded.ask("GET", "/v1/access/tokens")
    assert secret not in listed.text
    assert "digest" not in listed.text
    events = any_guarded.ask("GET", "/v1/events")
    assert "token.create" in events.text
    assert secret not in events.text


def test_a_secret_token_is_not_given_again_for_the_same_key(guarded):
    again = {"headers": {"Idempotency-Key": "k"}, "json": {"token": {"name": "ci"}}}
    assert guarded.ask("POST", "/v1/access/tokens", **again).status_code == 400
    user = {"headers": {"Idempotency-Key": "k"}, "json": {"user": {"name": "x", "password": "long enough"}}}
    assert guarded.ask("POST", "/v1/access/users", **user).status_code == 400


def test_tokens_end(guarded):
    soon = guarded.headers(guarded.user("alice", {"default": ["reader"]}), "default", expires_at=moment(seconds=1))
    assert guarded.ask("GET", LBS, soon).status_code == 200
    guarded.until(401, "GET", LBS, soon)


@pytest.mark.parametrize(("days", "status"), [(-1, 400), (366, 400), ("soon", 400), (None, 403), (364, 201)])
def test_how_long_a_token_may_last(guarded, days, status):
    expires_at = moment(days=days) if isinstance(days, int) else days
    alice = guarded.headers(guarded.user("alice", {"default": ["reader"]}), "default")
    body = {"token": {"expires_at": expires_at}}
    assert guarded.ask("POST", "/v1/access/tokens", alice, json=body).status_code == status
    if expires_at is None:
        made = guarded.ask("POST", "/v1/access/tokens", json=body).json()["token"]
        assert made["expires_at"] is None
        assert guarded.ask("GET", LBS, {"X-Auth-Token": made["secret"]}).status_code == 200


def test_a_token_has_no_more_than_its_maker(guarded):
    first, second = guarded.project("first"), guarded.project("second")
    alice = guarded.user("alice", {first: ["reader", "member"], second: ["member"]}, "long enough")
    reading = guarded.headers(alice, first, roles=["reader"])
    tokens = "/v1/access/tokens"
    for more, status in (({"roles": ["member"]}, 403), ({"project_id": second}, 403), ({"roles": ["reader"]}, 201)):
        assert guarded.ask("POST", tokens, reading, json={"token": more}).status_code == status, more
    made = guarded.ask("POST", tokens, reading, json={"token": {}}).json()["token"]
    assert made["roles"] == ["reader"], "all that it has is no more than its maker has"
    body = {"loadbalancer": {"vip_subnet_id": SUBNET}}
    assert guarded.ask("POST", LBS, {"X-Auth-Token": made["secret"]}, json=body).status_code == 403
    bob = guarded.user("bob", {first: ["member"]})
    assert guarded.ask("POST", tokens, reading, json={"token": {"user_id": bob}}).status_code == 403
    by_password = {**basic("alice", "long enough"), "X-Project-Id": first}
    made = guarded.ask("POST", tokens, by_password, json={"token": {"project_id": second, "roles": ["member"]}})
    assert made.status_code == 201
    assert guarded.ask("POST", tokens, by_password, json={"token": {"roles": ["admin"]}}).status_code == 403


@pytest.mark.parametrize("end", ["token", "role", "user", "user disabled", "project disabled"])
def test_what_is_taken_away_lets_nobody_in_any_more(any_guarded, end):
    people = any_guarded
    project = people.project("first")
    alice = people.user("alice", {project: ["reader"]})
    token = people.made("tokens", token={"user_id": alice, "project_id": project})
    who = {"X-Auth-Token": token["secret"]}
    assert people.ask("GET", LBS, who).status_code == 200
    role = people.ask("GET", f"/v1/access/roles?user_id={alice}").json()["roles"][0]["id"]
    act = {
        "token": ("DELETE", f"tokens/{token['id']}", None),
        "role": ("DELETE", f"roles/{role}", None),
        "user": ("DELETE", f"users/{alice}", None),
        "user disabled": ("PUT", f"users/{alice}", {"user": {"enabled": False}}),
        "project disabled": ("PUT", f"projects/{project}", {"project": {"enabled": False}}),
    }[end]
    answer = people.ask(act[0], f"/v1/access/{act[1]}", json=act[2])
    assert answer.status_code in {200, 204}, answer.text
    people.until(401, "GET", LBS, who)


def test_a_changed_password_ends_the_one_before(guarded):
    alice = guarded.user("alice", {"default": ["member"]}, "long enough")
    old, new = basic("alice", "long enough"), basic("alice", "even longer")
    assert guarded.ask("GET", LBS, old).status_code == 200
    path = f"/v1/access/users/{alice}"
    by_token = guarded.headers(alice, "default")
    assert guarded.ask("PUT", path, by_token, json={"user": {"password": "even longer"}}).status_code == 403
    assert guarded.ask("PUT", path, old, json={"user": {"password": "short"}}).status_code == 400
    assert guarded.ask("PUT", path, old, json={"user": {"password": "even longer", "name": "a"}}).status_code == 403
    changed = guarded.ask("PUT", path, old, json={"user": {"password": "even longer"}})
    assert changed.status_code == 200, changed.text
    assert "even longer" not in changed.text
    guarded.until(401, "GET", LBS, old)
    assert guarded.ask("GET", LBS, new).status_code == 200
    assert guarded.ask("GET", LBS, by_token).status_code == 200
    assert guarded.ask("PUT", path, json={"user": {"password": None}}).status_code == 200
    guarded.until(401, "GET", LBS, new)


def test_others_passwords_are_the_administrators_alone(guarded):
    guarded.user("bob", {"default": ["member"]}, "long enough")
    alice = guarded.user("alice", {"default": ["reader"]})
    body = {"user": {"password": "even longer"}}
    answer = guarded.ask("PUT", f"/v1/access/users/{alice}", basic("bob", "long enough"), json=body)
    assert answer.status_code == 403


def test_one_sees_oneself_and_administrators_see_all(guarded):
    project = guarded.project("first")
    alice, bob = (guarded.user(name, {project: ["member"]}) for name in ("alice", "bob"))
    who = guarded.headers(alice, project)
    guarded.headers(bob, project)
    for collection, attribute in (("users", "id"), ("roles", "user_id"), ("tokens", "user_id")):
        mine = guarded.ask("GET", f"/v1/access/{collection}", who).json()[collection]
        everybodys = guarded.ask("GET", f"/v1/access/{collection}").json()[collection]
        assert {row[attribute] for row in mine} == {alice}
        assert {row[attribute] for row in everybodys} >= {alice, bob}
        assert guarded.ask("GET", f"/v1/access/{collection}?{attribute}={bob}", who).status_code == 403
        other = next(row["id"] for row in everybodys if row[attribute] == bob)
        assert guarded.ask("GET", f"/v1/access/{collection}/{other}", who).status_code == 403
        assert guarded.ask("GET", f"/v1/access/{collection}/{mine[0]['id']}", who).status_code == 200
    assert [row["id"] for row in guarded.ask("GET", "/v1/access/projects", who).json()["projects"]] == [project]
    assert guarded.ask("GET", "/v1/access/projects/default", who).status_code == 403
    assert guarded.ask("POST", "/v1/access/projects", who, json={"project": {"name": "x"}}).status_code == 403
    assert guarded.ask("POST", "/v1/access/users", who, json={"user": {"name": "x"}}).status_code == 403


def test_a_project_with_load_balancers_stays(guarded):
    project = guarded.project("first")
    alice = guarded.headers(guarded.user("alice", {project: ["member"]}), project)
    made = guarded.ask("POST", LBS, alice, json={"loadbalancer": {"vip_subnet_id": SUBNET}}).json()["loadbalancer"]
    path = f"/v1/access/projects/{project}"
    refused = guarded.ask("DELETE", path)
    assert (refused.status_code, "loadbalancer" in refused.text) == (409, True)
    assert guarded.ask("DELETE", f"{LBS}/{made['id']}", alice).status_code == 204
    guarded.api.settle()
    assert guarded.ask("DELETE", path).status_code == 204
    guarded.until(401, "GET", LBS, alice)
    assert guarded.ask("GET", "/v1/access/roles").json()["roles"][0]["project_id"] == "admin"


def test_the_last_administrator_stays(any_guarded):
    people = any_guarded
    admin = people.ask("GET", "/v1/access/users?name=admin").json()["users"][0]["id"]
    role = people.ask("GET", f"/v1/access/roles?user_id={admin}").json()["roles"][0]["id"]
    ways = (
        ("DELETE", f"users/{admin}", None),
        ("DELETE", f"roles/{role}", None),
        ("PUT", f"users/{admin}", {"user": {"enabled": False}}),
        ("PUT", "projects/admin", {"project": {"enabled": False}}),
        ("DELETE", "projects/admin", None),
    )
    for method, path, body in ways:
        answer = people.ask(method, f"/v1/access/{path}", json=body)
        assert answer.status_code == 409, (method, path, answer.text)
    other = people.user("other", {"default": ["admin"]})
    assert people.ask("DELETE", f"/v1/access/users/{admin}").status_code == 204
    people.until(401, "GET", LBS, people.admin)
    assert other


@pytest.mark.parametrize(("path", "body", "status"), [
    ("projects", {"project": {"name": "admin"}}, 409),
    ("users", {"user": {"name": "admin"}}, 409),
    ("users", {"user": {"name": "with:colon"}}, 400),
    ("users", {"user": {"name": "x", "password": "short"}}, 400),
    ("users", {"user": {"name": "x", "default_project_id": "nowhere"}}, 400),
    ("users", {"user": {"name": "x", "id": "99999999-9999-4999-8999-999999999999"}}, 400),
    ("roles", {"role": {"user_id": "99999999-9999-4999-8999-999999999999", "project_id": "x", "role": "admin"}}, 400),
    ("tokens", {"token": {"project_id": "nowhere"}}, 400),
    ("tokens", {"token": {"project_id": "default"}}, 403),
    ("tokens", {"token": {"digest": "x"}}, 400),
    ("tokens", {"token": {"user_id": "x"}}, 400),
    ("tokens", {"token": {"roles": ["king"]}}, 400),
])  # fmt: skip
def test_what_cannot_be_is_refused(guarded, path, body, status):
    answer = guarded.ask("POST", f"/v1/access/{path}", json=body)
    assert answer.status_code == status, answer.text
    assert "short" not in answer.text.replace("too_short", ""), "what is secret is not repeated"


def test_a_role_is_given_once(guarded):
    alice = guarded.user("alice", {"default": ["member"]})
    role = {"user_id": alice, "project_id": "default", "role": "member"}
    assert guarded.ask("POST", "/v1/access/roles", json={"role": role}).status_code == 409


def test_the_use_of_a_token_is_noted(guarded):
    token = guarded.made("tokens", token={"name": "ci"})
    assert guarded.ask("GET", LBS, {"X-Auth-Token": token["secret"]}).status_code == 200
    shown = guarded.ask("GET", f"/v1/access/tokens/{token['id']}").json()["token"]
    assert shown["last_used_at"] is not None


def test_who_was_wrong_too_often_waits_even_with_the_right_password(guarded):
    guarded.user("alice", {"default": ["member"]}, "long enough")
    statuses = [guarded.ask("GET", LBS, basic("alice", f"wrong {n}")).status_code for n in range(7)]
    assert statuses == [401] * 6 + [429]
    answer = guarded.ask("GET", LBS, basic("alice", "long enough"))
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) >= 1
    assert guarded.ask("GET", LBS).status_code == 200, "others are not concerned"


def test_changes_of_access_are_events_without_secrets(guarded):
    alice = guarded.user("alice", {"default": ["member"]}, "long enough")
    guarded.ask("PUT", f"/v1/access/users/{alice}", json={"user": {"password": "even longer"}})
    told = guarded.ask("GET", "/v1/events?limit=100").json()["events"]
    mine = [event for event in told if event["resource_id"] == alice]
    assert [event["type"] for event in mine] == ["user.create", "user.update"]
    assert mine[1]["detail"]["password"] == "changed"
    admin = guarded.ask("GET", "/v1/access/users?name=admin").json()["users"][0]["id"]
    assert {event["user_id"] for event in mine} == {admin}
    assert "long enough" not in str(told)
    assert "even longer" not in str(told)
