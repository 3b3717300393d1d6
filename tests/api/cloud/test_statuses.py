# SPDX-License-Identifier: Apache-2.0
"""Every status that these paths are documented to answer, they answer, in the shape of the service that they are of."""

import shutil

import pytest
from structlog.testing import capture_logs

from caryatid.api.app import operations
from caryatid.api.conditions import conditions
from caryatid.config import Settings
from tests.api.asking import NOWHERE, Asked, World, asked, everything, filled, stalled
from tests.api.conftest import open_guarded, settings

TOKENS = "/identity/v3/auth/tokens"
BY_PLACE = {
    (one.method, one.path): one
    for one in operations(Settings(), None)
    if one.path.startswith(("/identity", "/network"))
}
MUCH = 3 << 20
SECRET = "long enough"
LOCKED_AFTER = 40


@pytest.fixture(scope="module")
def world(tmp_path_factory, sqlite):
    folder = tmp_path_factory.mktemp("cloud")
    shutil.copy(sqlite, folder / "caryatid.db")
    for people in open_guarded(f"sqlite:///{folder}/caryatid.db", settings(folder, identity_driver="local")):
        people.api.client.headers.update(people.admin)
        made = World(people.api)
        made.ids = {**everything(made), "domains": "default", "roles": "member"}
        nowhere = people.project("nowhere")
        people.user("alice", {"default": ["member"]}, SECRET)
        made.subjects = {"good": people.token, "bob's": bobs(people, nowhere)}
        for client in made.clients.values():
            client.headers.update(people.admin)
        yield made
        made.close()


def bobs(people, project_id):
    user_id = people.user("bob", {project_id: ["reader"]})
    return people.headers(user_id, project_id)["X-Auth-Token"]


def body(password=SECRET, project="default"):
    user = {"name": "alice", "domain": {"id": "default"}, "password": password}
    identity = {"methods": ["password"], "password": {"user": user}}
    return {"auth": {"identity": identity, "scope": {"project": {"id": project}}}}


def wished(world, operation):
    """The request that does what the operation is for."""
    request = asked(operation, world.ids)
    if operation.path == TOKENS:
        request.json = body() if operation.method == "POST" else None
        request.headers["X-Subject-Token"] = world.subjects["good"]
    if operation.method == "DELETE":
        made = world.send(Asked("POST", TOKENS, body(), headers={}))
        request.headers["X-Subject-Token"] = made.headers["x-subject-token"]
    return request


def bad_request(world, operation):
    request = wished(world, operation)
    if operation.method == "POST":
        request.json = {"auth": 1}
    else:
        request.path += "&nonsense=1" if "?" in request.path else "?nonsense=1"
    return world.send(request)


def unknown(world, operation):
    if operation.method == "POST":
        return world.send(Asked("POST", TOKENS, body("wrong")))
    request = wished(world, operation)
    request.headers["X-Auth-Token"] = "cyt_nobody"
    return world.send(request)


def forbidden(world, operation):
    request = wished(world, operation)
    if operation.method == "POST":
        request.json = body(project=world.ids["projects"])
    elif operation.path == TOKENS:
        request.headers |= {"X-Auth-Token": world.subjects["bob's"], "X-Subject-Token": world.subjects["good"]}
    else:
        request.path = f"{operation.path}?id=another" if operation.path.endswith("/users") else request.path
        return world.send(request, "powerless")
    return world.send(request)


def not_found(world, operation):
    request = wished(world, operation)
    if operation.path == TOKENS:
        request.headers["X-Subject-Token"] = "cyt_nobody"
    else:
        request.path = filled(operation.path, dict.fromkeys(world.ids, NOWHERE))
    return world.send(request)


def conflict(world, operation):
    request = wished(world, operation)
    request.headers["X-Subject-Token"] = world.subjects["good"]
    return world.send(request)


def too_many(world, _operation):
    for _ in range(LOCKED_AFTER):
        answer = world.send(Asked("POST", TOKENS, body("wrong")))
    return answer


def known(world, operation):
    request = wished(world, operation)
    request.headers["If-None-Match"] = world.send(request).headers["etag"]
    return world.send(request)


def with_headers(**headers):
    def ask(world, operation):
        request = wished(world, operation)
        request.headers |= {name.replace("_", "-"): value for name, value in headers.items()}
        return world.send(request)

    return ask


def with_content(make, content_type="application/json"):
    def ask(world, operation):
        headers = {"Content-Type": content_type}
        return world.send(Asked(operation.method, operation.path, content=make(), headers=headers))

    return ask


def through(door):
    def ask(world, operation):
        return world.send(wished(world, operation), door)

    return ask


PROVOKE = {
    304: known,
    400: bad_request,
    401: unknown,
    403: forbidden,
    404: not_found,
    406: with_headers(Accept="image/png"),
    408: with_content(stalled),
    409: conflict,
    413: with_content(lambda: b" " * MUCH),
    415: with_content(lambda: b"<x/>", "text/xml"),
    429: too_many,
    500: through("broken"),
    503: through("busy"),
}


@pytest.mark.parametrize(("method", "path"), sorted(BY_PLACE, key=lambda place: (place[0] == "POST", place)))
def test_every_status_that_is_documented_is_answered(method, path, world, monkeypatch):
    monkeypatch.setattr("caryatid.api.app.BODY_DEADLINE_S", 0.05)
    operation = BY_PLACE[method, path]
    assert world.send(wished(world, operation)).status_code == operation.success
    for code in sorted(conditions(operation), key=lambda code: code == 429):  # afterwards nobody gets in
        with capture_logs():  # a 500 is logged with all that there is to know, which takes its time
            refused = PROVOKE[code](world, operation)
        assert refused.status_code == code, (code, refused.status_code, refused.text)
        shape = "error" if path.startswith("/identity") else "NeutronError"
        assert method == "HEAD" or code == 304 or list(refused.json()) == [shape]
