# SPDX-License-Identifier: Apache-2.0
"""Subscriptions over HTTP: who may have which, what is refused, what is shown and what never is."""

from dataclasses import replace

import httpx2
import pytest

from caryatid.api.app import create_app
from caryatid.model.policy import Caller, Identified
from caryatid.model.subscription import secret_bytes
from tests.api.conftest import open_api, settings
from tests.receiver import Receiver

PATH = "/v1/subscriptions"
URL = "https://hooks.example/caryatid?token=t"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class ByRole:
    """Whoever asks is who the request says: `role` is the token, the project its own header."""

    def identify(self, shown):
        caller = Caller("u", shown.project_id, frozenset({shown.token}), is_admin=shown.token == "admin")
        return Identified(caller, until=1e12)


@pytest.fixture
def people(any_api):
    """An API that believes every word about who asks."""
    app = create_app(replace(any_api.door, identity=ByRole()), any_api.wakeups)
    client = httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://127.0.0.1:9876")
    yield replace(any_api, app=app, client=client)
    any_api.runner.run(client.aclose())


@pytest.fixture
def open_to_loopback(database_url, tmp_path):
    """An API whose operator allows receivers on this machine."""
    yield from open_api(database_url, settings(tmp_path, webhook_private_targets="127.0.0.0/8, ::1/128"))


@pytest.fixture
def receiver():
    made = Receiver()
    yield made
    made.stop()


def who(role, project="p1"):
    return {"headers": {"X-Auth-Token": role, "X-Project-Id": project}}


def made(api, headers=None, **body):
    answer = api.post(PATH, json={"subscription": {"callback_url": URL, **body}}, **(headers or {}))
    assert answer.status_code == 201, answer.text
    return answer.json()["subscription"]


def refused(api, **body):
    answer = api.post(PATH, json={"subscription": {"callback_url": URL, **body}})
    assert answer.status_code == 400, answer.text
    return answer.json()["faultstring"]


def test_the_secret_is_shown_when_it_is_made_and_never_again(any_api):
    first = made(any_api, name="mine")
    assert len(secret_bytes(first["signing_secret"])) == 32
    one = any_api.get(f"{PATH}/{first['id']}").json()["subscription"]
    (listed,) = any_api.get(PATH).json()["subscriptions"]
    changed = any_api.put(f"{PATH}/{first['id']}", json={"subscription": {"name": "ours"}}).json()["subscription"]
    assert (one["name"], changed["name"]) == ("mine", "ours")
    for shown in (one, listed, changed):
        assert "signing_secret" not in shown
        assert "secret" not in shown
        assert first["signing_secret"] not in str(shown)
    another = any_api.post(f"{PATH}/{first['id']}/secret", json={}).json()["subscription"]
    assert another["signing_secret"] != first["signing_secret"]
    assert another["old_secret_until"] is not None
    everything = any_api.get("/v1/events").text + any_api.get("/v1/jobs").text
    for secret in (first["signing_secret"], another["signing_secret"]):
        assert secret.removeprefix("whsec_") not in everything


def test_a_secret_is_kept_encrypted(any_api):
    secret = made(any_api, secret=SECRET)["signing_secret"]
    assert secret == SECRET
    with any_api.door.database.read() as tx:
        for table in ("subscription", "subscription_state", "event", "job", "idempotency"):
            for row in tx.connection.exec_driver_sql(f"SELECT * FROM {table}"):
                assert SECRET not in str(row)
                assert secret_bytes(SECRET) not in [bytes(v) for v in row if isinstance(v, bytes | memoryview)]


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_MTIzNA==", SECRET.removeprefix("whsec_"), "whsec_" + "A" * 92])
def test_a_secret_that_is_none_is_refused_and_not_repeated(any_api, secret):
    words = refused(any_api, secret=secret)
    assert "24 to 64 bytes" in words
    assert len(secret) < 20 or secret not in words


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1/", "http://10.1.2.3:8080/x", "https://[::1]/", "http://169.254.169.254/latest", "http://127.1/",
     "http://0x7f000001/", "http://2130706433/", "http://[::ffff:10.0.0.1]/", "http://[64:ff9b::a00:1]/",
     "http://0.0.0.0/", "http://224.0.0.1/", "http://[fe80::1]/", "http://168.63.129.16/"],
)  # fmt: skip
def test_addresses_that_are_not_public_are_refused_at_once(any_api, url):
    assert "is not public" in refused(any_api, callback_url=url)


@pytest.mark.parametrize(
    "url", ["ftp://hooks.example/", "https://user:word@hooks.example/", "https://hooks.example/#x", "https:///x", "x",
            "https://hooks.example:99999/"],
)  # fmt: skip
def test_a_callback_url_is_one_that_can_be_posted_to(any_api, url):
    assert "callback_url" in refused(any_api, callback_url=url)


def test_types_that_do_not_exist_and_load_balancers_of_others_are_refused_together(any_api):
    mine, theirs = any_api.loadbalancer(), any_api.loadbalancer(project_id="p2")
    words = refused(any_api, event_types=["pool.create", "pool.explode", "banana.*"], loadbalancer_id=theirs["id"])
    assert words.count("no type of event") == 2
    assert f"Load Balancer {theirs['id']} not found" in words
    made(any_api, event_types=["pool.create", "member.*"], loadbalancer_id=mine["id"])


def test_a_project_has_its_own_subscriptions_and_sees_no_others(people):
    mine, theirs = made(people, who("member")), made(people, who("member", "p2"))
    listed = people.get(PATH, **who("reader")).json()["subscriptions"]
    assert [one["id"] for one in listed] == [mine["id"]]
    assert len(people.get(PATH, **who("admin", "p0")).json()["subscriptions"]) == 2
    for path in ("", "/deliveries"):
        assert people.get(f"{PATH}/{theirs['id']}{path}", **who("member")).status_code == 403
        assert people.get(f"{PATH}/{mine['id']}{path}", **who("reader")).status_code == 200
    body = {"json": {"subscription": {"callback_url": URL}}}
    assert people.post(PATH, **body, **who("reader")).status_code == 403
    for act in ("secret", "replay", "test"):
        assert people.post(f"{PATH}/{mine['id']}/{act}", json={}, **who("reader")).status_code == 403
    assert people.delete(f"{PATH}/{mine['id']}", **who("member", "p2")).status_code == 403
    assert people.delete(f"{PATH}/{mine['id']}", **who("member")).status_code == 204
    assert people.get(f"{PATH}/{mine['id']}", **who("member")).status_code == 404


def test_events_of_all_projects_are_for_those_who_may_see_them(people):
    body = {"json": {"subscription": {"callback_url": URL, "all_projects": True}}}
    assert people.post(PATH, **body, **who("member")).status_code == 403
    everything = made(people, who("admin"), all_projects=True)
    mine = made(people, who("member"))
    elsewhere = {"json": {"subscription": {"callback_url": "https://elsewhere.example/"}}}
    assert people.put(f"{PATH}/{everything['id']}", **elsewhere, **who("member")).status_code == 403
    assert people.post(f"{PATH}/{everything['id']}/secret", json={}, **who("member")).status_code == 403
    assert people.put(f"{PATH}/{mine['id']}", **body, **who("member")).status_code == 403
    assert people.put(f"{PATH}/{everything['id']}", **elsewhere, **who("admin")).status_code == 200


def test_a_project_has_no_more_subscriptions_than_the_operator_allows(database_url, tmp_path):
    for api in open_api(database_url, settings(tmp_path, subscriptions_max=2)):
        made(api)
        made(api)
        answer = api.post(PATH, json={"subscription": {"callback_url": URL}})
        assert answer.status_code == 403
        assert "at most 2" in answer.json()["faultstring"]
        made(api, project_id="p2")


def test_a_test_says_what_the_receiver_answers(open_to_loopback, receiver):
    api = open_to_loopback
    one = made(api, callback_url=receiver.url)
    answer = api.post(f"{PATH}/{one['id']}/test").json()["test"]
    assert (answer["delivered"], answer["status"], answer["reason"]) == (True, 204, "")
    (got,) = receiver.got
    assert got.is_signed_with(one["signing_secret"])
    assert b'"type":"caryatid.test"' in got.body
    receiver.behave = lambda _: 500
    answer = api.post(f"{PATH}/{one['id']}/test").json()["test"]
    assert (answer["delivered"], answer["status"]) == (False, 500)
    receiver.behave = lambda _: "close"
    answer = api.post(f"{PATH}/{one['id']}/test").json()["test"]
    assert (answer["delivered"], answer["status"]) == (False, None)
    assert "cannot be asked" in answer["reason"]


def test_a_name_that_stands_for_a_private_address_is_not_posted_to(any_api, receiver):
    one = made(any_api, callback_url=receiver.url.replace("127.0.0.1", "localhost"))
    answer = any_api.post(f"{PATH}/{one['id']}/test").json()["test"]
    assert answer["reason"] == "localhost is not at a public address."
    assert receiver.got == []


def test_what_a_replay_can_be_told(any_api):
    one = made(any_api)
    path = f"{PATH}/{one['id']}/replay"
    assert any_api.post(path, json={}).json() == {"replay": {"deliveries": 0, "cursor": one["cursor"]}}
    assert any_api.post(path, json={"after": "0"}).json()["replay"]["cursor"] == "0"
    assert any_api.post(path, json={"since": "2030-01-01T00:00:00Z"}).json()["replay"]["cursor"] != "0"
    for wrong in ({"since": "yesterday"}, {"after": "1.2.x"}, {"after": "9.9.00000000"}, {"deliveries": [1]}, {"x": 1},
                  {"since": "2030-01-01", "after": "0"}, [], {"deliveries": True}):  # fmt: skip
        assert any_api.post(path, json=wrong).status_code == 400, wrong


def test_a_change_that_is_late_changes_nothing(any_api):
    one = made(any_api)
    seen = any_api.get(f"{PATH}/{one['id']}").headers["etag"]
    assert any_api.put(f"{PATH}/{one['id']}", json={"subscription": {"enabled": False}}).status_code == 200
    late = any_api.put(f"{PATH}/{one['id']}", json={"subscription": {"enabled": True}}, headers={"If-Match": seen})
    assert late.status_code == 412
