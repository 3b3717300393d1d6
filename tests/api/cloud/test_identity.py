# SPDX-License-Identifier: Apache-2.0
"""Keystone's API over our own users: clients log in, learn where services are, and look projects and users up."""

import itertools
import shutil

import pytest

from tests.api.conftest import LBAAS, basic, open_api, settings

TOKENS = "/identity/v3/auth/tokens"
LBS = f"{LBAAS}/loadbalancers"
SECRET = "long enough"
BASE = "http://127.0.0.1:9876"


@pytest.fixture
def alice(any_guarded):
    """A member of project `first`, and a reader of `second`."""
    people = any_guarded
    people.first, people.second = people.project("first"), people.project("second")
    people.alice = people.user("alice", {people.first: ["member"], people.second: ["reader"]}, SECRET)
    return people


def password(project=None, **user):
    user = {"name": "alice", "domain": {"id": "default"}, "password": SECRET} | user
    return wish({"methods": ["password"], "password": {"user": user}}, project)


def wish(identity, project=None):
    scope = {"scope": {"project": project}} if project else {}
    return {"auth": {"identity": identity, **scope}}


def log_in(people, body):
    return people.ask("POST", TOKENS, {}, json=body)


def session(people, body):
    answer = log_in(people, body)
    assert answer.status_code == 201, answer.text
    return answer.headers["x-subject-token"], answer.json()["token"]


def test_a_user_logs_in_by_name_or_id_for_a_project_by_name_or_id(alice):
    users = ({}, {"domain": {"name": "Default"}}, {"id": alice.alice, "name": None})
    projects = ({"id": alice.first}, {"name": "first", "domain": {"name": "Default"}})
    for user, project in itertools.product(users, projects):
        secret, token = session(alice, password(project, **user))
        assert token["user"]["id"] == alice.alice
        assert token["project"] == {"id": alice.first, "name": "first", "domain": {"id": "default", "name": "Default"}}
        assert [role["name"] for role in token["roles"]] == ["member"]
        assert alice.ask("GET", LBS, {"X-Auth-Token": secret}).status_code == 200


def test_a_session_is_for_its_project_alone(alice):
    secret, _ = session(alice, password({"id": alice.second}))
    assert alice.ask("GET", f"{LBS}?project_id={alice.first}", {"X-Auth-Token": secret}).status_code == 403
    assert alice.ask("GET", LBS, {"X-Auth-Token": secret, "X-Project-Id": alice.first}).status_code == 403


def test_the_catalog_says_where_the_services_are(alice):
    _, token = session(alice, password({"id": alice.first}))
    found = {one["type"]: {each["url"] for each in one["endpoints"]} for one in token["catalog"]}
    assert found == {
        "identity": {f"{BASE}/identity"},
        "key-manager": {BASE},
        "load-balancer": {BASE},
        "network": {f"{BASE}/network"},
    }
    answer = alice.ask("POST", f"{TOKENS}?nocatalog", {}, json=password({"id": alice.first}))
    assert "catalog" not in answer.json()["token"]


@pytest.mark.parametrize(("user", "status"), [
    ({"password": "wrong"}, 401),
    ({"name": "nobody"}, 401),
    ({"name": None, "id": "nobody"}, 401),
    ({"domain": {"id": "other"}}, 401),
    ({"password": 7}, 400),
    ({"name": ["alice"]}, 400),
])  # fmt: skip
def test_who_is_not_right_does_not_get_in(alice, user, status):
    refused = log_in(alice, password({"id": alice.first}, **user))
    assert refused.status_code == status
    assert refused.json()["error"]["code"] == status
    assert "x-subject-token" not in refused.headers


@pytest.mark.parametrize(("body", "status"), [
    ({}, 400),
    ([], 400),
    (None, 400),
    ({"auth": 7}, 400),
    ({"auth": {"identity": {}}}, 401),
    ({"auth": {"identity": {"methods": ["totp"]}}}, 401),
    ({"auth": {"identity": {"methods": ["password", "token"]}}}, 401),
    ({"auth": {"identity": {"methods": [["password"]]}}}, 401),
    ({"auth": {"identity": {"methods": ["password"]}}}, 400),
    ({"auth": {"identity": {"methods": ["token"], "token": {"id": "cyt_nothing"}}}}, 401),
    ({"auth": {"identity": {"methods": ["token"], "token": {}}}}, 401),
])  # fmt: skip
def test_what_cannot_be_read_is_refused(guarded, body, status):
    assert log_in(guarded, body).status_code == status


def test_a_scope_is_a_project_of_the_users(alice):
    bodies = [password({"id": "nowhere"}), password({"name": "default"}), password()]
    bodies[2]["auth"]["scope"] = {"system": {"all": True}}
    assert [log_in(alice, body).status_code for body in bodies] == [401, 403, 401]
    assert log_in(alice, password()).status_code == 403, "it has several, and must say which"


def test_many_wrong_passwords_shut_the_door_for_a_while(alice):
    statuses = [log_in(alice, password({"id": alice.first}, password="wrong")).status_code for _ in range(30)]
    assert 429 in statuses
    assert log_in(alice, password({"id": alice.first})).status_code == 429


def credential(people, **shown):
    return wish({"methods": ["application_credential"], "application_credential": shown})


def test_a_token_of_ours_is_an_application_credential(alice):
    token = {"user_id": alice.alice, "project_id": alice.first, "name": "ci", "roles": ["member"]}
    made = alice.made("tokens", token=token)
    other = alice.made("tokens", token={**token, "name": "other"})
    user = {"name": "alice", "domain": {"id": "default"}}
    for shown in ({"id": made["id"]}, {"name": "ci", "user": user}, {"name": "ci", "user": {"id": alice.alice}}):
        secret, document = session(alice, credential(alice, **shown, secret=made["secret"]))
        assert (document["methods"], document["project"]["id"]) == (["application_credential"], alice.first)
        assert document["expires_at"] == f"{made['expires_at']}Z"
        assert alice.ask("GET", LBS, {"X-Auth-Token": secret}).status_code == 200
    wrong = (
        {"id": other["id"], "secret": made["secret"]},
        {"id": made["id"], "secret": "cyt_wrong"},
        {"name": "ci", "secret": made["secret"]},
        {"name": "ci", "user": {"name": "admin"}, "secret": made["secret"]},
    )
    assert [log_in(alice, credential(alice, **shown)).status_code for shown in wrong] == [401] * 4


def test_who_has_a_token_goes_on_with_that(alice):
    secret, first = session(alice, password({"id": alice.first}))
    again = {"methods": ["token"], "token": {"id": secret}}
    same, document = session(alice, wish(again))
    assert (same, document["expires_at"]) == (secret, first["expires_at"])
    other, document = session(alice, wish(again, {"id": alice.second}))
    assert other != secret
    assert document["project"]["id"] == alice.second, "a session may be made for another project of the user's"
    made = alice.made("tokens", token={"user_id": alice.alice, "project_id": alice.first})
    api_token = {"methods": ["token"], "token": {"id": made["secret"]}}
    assert session(alice, wish(api_token))[0] == made["secret"]
    assert log_in(alice, wish(api_token, {"id": alice.second})).status_code == 403, "a token is for its project"


def test_a_token_is_looked_at_and_logging_out_ends_it(alice):
    secret, document = session(alice, password({"id": alice.first}))
    own = {"X-Auth-Token": secret, "X-Subject-Token": secret}
    shown = alice.ask("GET", TOKENS, own)
    assert shown.headers["x-subject-token"] == secret
    assert shown.json()["token"]["project"] == document["project"]
    head = alice.ask("HEAD", TOKENS, own)
    assert (head.status_code, head.content) == (200, b"")
    assert alice.ask("GET", TOKENS, {**alice.admin, "X-Subject-Token": secret}).status_code == 200
    assert alice.ask("GET", TOKENS, {"X-Auth-Token": secret, "X-Subject-Token": alice.token}).status_code == 403
    assert alice.ask("GET", TOKENS, {"X-Auth-Token": secret, "X-Subject-Token": "cyt_no"}).status_code == 404
    assert alice.ask("GET", TOKENS, {"X-Auth-Token": secret}).status_code == 400
    assert alice.ask("DELETE", TOKENS, own).status_code == 204
    alice.until(401, "GET", LBS, {"X-Auth-Token": secret})


def test_logging_out_does_not_revoke_a_programs_token(alice):
    made = alice.made("tokens", token={"user_id": alice.alice, "project_id": alice.first})["secret"]
    refused = alice.ask("DELETE", TOKENS, {"X-Auth-Token": made, "X-Subject-Token": made})
    assert refused.status_code == 409
    assert alice.ask("GET", LBS, {"X-Auth-Token": made}).status_code == 200


def test_another_password_ends_the_sessions_of_the_one_before(alice):
    secret, _ = session(alice, password({"id": alice.first}))
    answer = alice.ask("PUT", f"/v1/access/users/{alice.alice}", json={"user": {"password": "another one"}})
    assert answer.status_code == 200
    alice.until(401, "GET", LBS, {"X-Auth-Token": secret})


def names(people, path, who=None):
    answer = people.ask("GET", f"/identity/v3/{path}", who)
    assert answer.status_code == 200, answer.text
    found = next(value for name, value in answer.json().items() if name != "links")
    return sorted(one["name"] for one in found)


def test_projects_and_users_are_looked_up(alice):
    who = basic("alice", SECRET) | {"X-Project-Id": alice.first}
    assert names(alice, "projects") == ["admin", "default", "first", "second"]
    assert names(alice, "projects?name=first&domain_id=default") == ["first"]
    assert names(alice, "projects?domain_id=other") == []
    assert names(alice, "projects?enabled=False") == []
    assert names(alice, "projects", who) == ["first"], "in whose name it asks"
    assert names(alice, "auth/projects", who) == names(alice, f"users/{alice.alice}/projects") == ["first", "second"]
    assert names(alice, "users") == ["admin", "alice"]
    assert names(alice, "users", who) == ["alice"]
    one = alice.ask("GET", f"/identity/v3/projects/{alice.first}", who).json()["project"]
    assert (one["name"], one["domain_id"], one["enabled"], one["is_domain"]) == ("first", "default", True, False)
    user = alice.ask("GET", f"/identity/v3/users/{alice.alice}", who).json()["user"]
    assert (user["name"], user["domain_id"]) == ("alice", "default")
    for path in (f"projects/{alice.second}", "users/nobody/projects", f"users/{alice.alice}x"):
        refused = alice.ask("GET", f"/identity/v3/{path}", who)
        assert refused.status_code in {403, 404}
        assert refused.json()["error"]["message"]


def test_there_is_one_domain_and_a_closed_list_of_roles(guarded):
    assert names(guarded, "domains") == names(guarded, "domains?name=Default") == ["Default"]
    assert names(guarded, "domains?name=other") == []
    assert guarded.ask("GET", "/identity/v3/domains/default").json()["domain"]["enabled"]
    assert guarded.ask("GET", "/identity/v3/domains/other").status_code == 404
    assert "load-balancer_member" in names(guarded, "roles")
    assert names(guarded, "roles?name=member") == ["member"]
    assert guarded.ask("GET", "/identity/v3/roles/member").json()["role"]["id"] == "member"
    assert guarded.ask("GET", "/identity/v3/roles/other").status_code == 404


def test_versions_are_found_without_logging_in(guarded):
    for path in ("/identity", "/identity/", "/identity/v3", "/identity/v3/"):
        assert guarded.ask("GET", path, {}).status_code == 200
    (version,) = guarded.ask("GET", "/identity", {}).json()["versions"]["values"]
    assert (version["id"], version["links"][0]["href"]) == ("v3.14", f"{BASE}/identity/v3/")
    refused = guarded.ask("GET", "/identity/v3/projects", {})
    assert refused.status_code == 401
    assert refused.json()["error"]["title"] == "Unauthorized"


def test_where_others_say_who_asks_there_is_none_of_it(tmp_path, sqlite):
    shutil.copy(sqlite, tmp_path / "caryatid.db")
    for api in open_api(f"sqlite:///{tmp_path}/caryatid.db", settings(tmp_path, identity_driver="keystone")):
        assert api.get("/identity/v3").status_code == 404
