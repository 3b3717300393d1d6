# SPDX-License-Identifier: Apache-2.0
"""What every request passes before a resource is asked (facts: octavia.md §2.1, §2.3)."""

import asyncio
import re

import pytest

from caryatid.store.database import Database

LBAAS = "/v2/lbaas"
REQUEST_ID = re.compile(r"^req-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")


def is_shape_a(answer, status, text):
    assert answer.status_code == status, answer.text
    assert answer.json() == {
        "faultcode": "Client" if status < 500 else "Server",
        "faultstring": text,
        "debuginfo": None,
    }


def is_shape_b(answer, status, title):
    assert answer.status_code == status, answer.text
    assert answer.json().keys() == {"code", "title", "description"}
    assert (answer.json()["code"], answer.json()["title"]) == (status, title)


@pytest.mark.parametrize(
    "path",
    [
        "/v2/lbaas/loadbalancers",
        "/v2.0/lbaas/loadbalancers",
        "/v2/loadbalancers",
        "/v2.0/loadbalancers",
        "/v2/lbaas/loadbalancers/",
        "/v2.0/lbaas/loadbalancers.json",
        "/load-balancer/v2/lbaas/loadbalancers",
    ],
)
def test_one_resource_is_found_under_each_spelling_of_its_path(api, path):
    made = api.loadbalancer()
    found = api.get(path).json()["loadbalancers"]
    assert [one["id"] for one in found] == [made["id"]]


@pytest.mark.parametrize("path", ["/v2/octavia/amphorae", "/v2.0/octavia/amphorae/", "/v2.0/octavia/amphorae.json"])
def test_amphorae_are_found_below_octavia_only(api, path):
    assert api.get(path).json() == {"amphorae": [], "amphorae_links": []}
    assert api.get("/v2/lbaas/amphorae").status_code == 404


@pytest.mark.parametrize("path", ["/v2", "/v2.0", "/v2/lbaas", "/v2.0/lbaas", "/v2/"])
def test_the_version_answers_with_its_name(api, path):
    assert api.get(path).json() == "v2"


@pytest.mark.parametrize("path", ["/", "/load-balancer/", "/load-balancer"])
def test_the_last_version_is_the_current_one_and_all_are_ascending(api, path):
    versions = api.get(path).json()["versions"]
    numbers = [tuple(map(int, one["id"][1:].split("."))) for one in versions]
    assert numbers == [(1,), *((2, minor) for minor in range(31))]
    assert [one["id"] for one in versions if one["status"] == "CURRENT"] == [versions[-1]["id"]] == ["v2.30"]
    first, *_, last = (one["links"][0]["href"] for one in versions)
    assert api.get(last).json() == "v2"
    assert api.get(first).json()["version"]["id"] == "v1"


def test_an_unknown_path_is_404_in_shape_b(api):
    made = api.loadbalancer()
    below = f"{LBAAS}/loadbalancers/{made['id']}/bogus"
    for path in ("/v3", "/v2/lbaas/nothing", below, "/v2//lbaas", "/%00", "/a%0Ab", "/%C3%BF"):
        is_shape_b(api.get(path), 404, "Not Found")


@pytest.mark.parametrize("method", ["PATCH", "HEAD", "TRACE"])
def test_other_methods_are_405_and_head_has_no_body(api, method):
    answer = api.request(method, f"{LBAAS}/loadbalancers")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, OPTIONS, POST"
    assert bool(answer.content) == (method != "HEAD")


def test_options_is_200_and_empty(api):
    answer = api.request("OPTIONS", f"{LBAAS}/loadbalancers")
    assert (answer.status_code, answer.content) == (200, b"")


def test_a_provider_by_itself_is_405(api):
    is_shape_b(api.get(f"{LBAAS}/providers/amphora"), 405, "Method Not Allowed")


@pytest.mark.parametrize("accept", ["text/plain", "application/xml", "application/json;q=0", "text/*, image/png"])
def test_who_takes_no_json_gets_406(api, accept):
    is_shape_b(api.get(f"{LBAAS}/loadbalancers", headers={"Accept": accept}), 406, "Not Acceptable")


@pytest.mark.parametrize(
    "accept", ["application/json", "*/*", "text/html, application/json;q=0.5", "application/*", ""]
)
def test_who_takes_json_gets_it(api, accept):
    answer = api.get(f"{LBAAS}/loadbalancers", headers={"Accept": accept})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"


def test_a_body_that_is_no_json_type_is_415_in_shape_a(api):
    answer = api.post(f"{LBAAS}/loadbalancers", content=b"{}", headers={"Content-Type": "text/plain; charset=utf-8"})
    is_shape_a(answer, 415, "Unknown mimetype: text/plain")


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "application/x-www-form-urlencoded", None])
def test_json_is_understood_whatever_plausible_name_it_has(api, content_type):
    headers = {"Content-Type": content_type} if content_type else {}
    answer = api.put(f"{LBAAS}/quotas/p", content=b'{"quota": {"pool": 3}}', headers=headers)
    assert answer.json()["quota"]["pool"] == 3


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", 'Missing argument: "load_balancer"'),
        (b"{", "Request is not in valid JSON format"),
        (b"\xff\xfe", "Request is not in valid JSON format"),
        (b"{}", 'Missing argument: "loadbalancer"'),
        (b"[]", 'The body should be an object with the key "loadbalancer".'),
        (b"null", "The body should be an object."),
        (b'{"loadbalancer": {"name": "a\\u0000b"}}', "Text must not contain null characters."),
        (b'{"lb": {}}', 'Unknown attribute for argument load_balancer: lb\nMissing argument: "loadbalancer"'),
    ],
)
def test_a_body_that_makes_no_sense_is_400(api, body, text):
    answer = api.post(f"{LBAAS}/loadbalancers", content=body, headers={"Content-Type": "application/json"})
    is_shape_a(answer, 400, text)


@pytest.mark.parametrize("inner", ["null", "[]", '"x"', "3", "true"])
@pytest.mark.parametrize("path", ["loadbalancers:loadbalancer", "listeners:listener", "pools:pool", "flavors:flavor"])
def test_an_envelope_around_no_object_is_400(api, path, inner):
    path, wrapper = path.split(":")
    answer = api.post(f"{LBAAS}/{path}", content=f'{{"{wrapper}": {inner}}}'.encode())
    assert answer.status_code == 400, answer.text


def test_a_body_beyond_the_limit_is_413_whether_or_not_it_says_so(small_api):
    async def pieces():
        for _ in range(100):
            yield b"x" * 100

    big = b" " * 2001
    is_shape_b(small_api.post(f"{LBAAS}/loadbalancers", content=big), 413, "Request Entity Too Large")
    is_shape_b(small_api.post(f"{LBAAS}/loadbalancers", content=pieces()), 413, "Request Entity Too Large")


def test_a_body_that_stops_coming_is_408(api, monkeypatch):
    monkeypatch.setattr("caryatid.api.app.BODY_DEADLINE_S", 0.05)

    async def stalled():
        yield b"{"
        await asyncio.sleep(5)
        yield b"}"

    is_shape_b(api.runner.run(stall(api, stalled())), 408, "Request Timeout")


async def stall(api, pieces):
    """The answer to a request whose body comes as `pieces` do; httpx2's own transport collects them first."""
    answers = []

    async def receive():
        return {"type": "http.request", "body": await anext(pieces), "more_body": True}

    async def send(message):
        answers.append(message)

    headers = [(b"host", b"127.0.0.1")]
    path = f"{LBAAS}/loadbalancers"
    scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": headers, "scheme": "http"}
    await api.app({**scope, "root_path": "", "http_version": "1.1", "server": ("127.0.0.1", 80)}, receive, send)

    class Answer:
        status_code = answers[0]["status"]
        text = answers[1]["body"].decode()

        def json(self):
            import orjson

            return orjson.loads(self.text)

    return Answer()


def test_every_answer_has_a_request_id_of_its_own(api):
    answers = [api.get(path) for path in ("/", LBAAS, "/nothing", f"{LBAAS}/pools/x")]
    ids = {answer.headers["x-openstack-request-id"] for answer in answers}
    assert len(ids) == 4
    assert all(map(REQUEST_ID.match, ids))


def test_a_page_of_another_site_changes_nothing(api):
    quota = b'{"quota": {"pool": 3}}'
    answer = api.put(f"{LBAAS}/quotas/p", content=quota, headers={"Origin": "http://elsewhere.example"})
    is_shape_a(answer, 403, "Requests from pages of other sites are not taken.")
    assert api.get(f"{LBAAS}/quotas").json()["quotas"] == []
    own = api.put(f"{LBAAS}/quotas/p", content=quota, headers={"Origin": "http://127.0.0.1:9876"})
    assert own.status_code == 202


def test_a_fault_of_ours_tells_the_client_nothing_but_the_request_id(api, monkeypatch, capsys):
    def broken(_self):
        raise RuntimeError("a secret")

    monkeypatch.setattr(Database, "read", broken)
    answer = api.get(f"{LBAAS}/loadbalancers/x")
    assert answer.status_code == 500
    assert answer.json()["faultcode"] == "Server"
    assert "secret" not in answer.text
    assert answer.headers["x-openstack-request-id"] in "".join(capsys.readouterr())


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [("*/*", "text/plain"), ("application/json", "application/json"), ("text/html", "text/html")],
)
def test_health_is_told_in_the_form_asked_for_and_asks_the_database(api, monkeypatch, accept, content_type):
    well = api.get("/healthcheck", headers={"Accept": accept})
    assert well.status_code == 200
    assert "OK" in well.text
    assert well.headers["content-type"].startswith(content_type)
    monkeypatch.setattr(Database, "read", lambda _self: (_ for _ in ()).throw(OSError("no disk")))
    ill = api.get("/load-balancer/healthcheck", headers={"Accept": accept})
    assert ill.status_code == 503
    assert "no disk" in ill.text


def test_requests_are_counted_by_kind_and_status(api):
    api.get(f"{LBAAS}/loadbalancers/x")
    line = 'caryatid_api_requests_total{kind="Load Balancer",method="GET",status="404"}'
    assert line in api.get("/metrics").text


def test_links_begin_with_what_the_operator_says(small_api):
    assert small_api.get("/load-balancer/").json()["versions"][-1]["links"][0]["href"] == "https://lb.example/lb/v2"
    for _ in range(2):
        small_api.loadbalancer()
    link = small_api.get("/v2/lbaas/loadbalancers?limit=1").json()["loadbalancers_links"][0]["href"]
    assert link.startswith("https://lb.example/lb/v2/lbaas/loadbalancers?limit=1&marker=")
