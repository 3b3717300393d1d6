# SPDX-License-Identifier: Apache-2.0
"""What an Octavia elsewhere says of its load balancers."""

import json

import pytest

from tests.checker.checks.places import bound, check, saying, serving, silent, tried

ID = "0c3e5a0c-9b7f-4f6e-8a2c-4d6e8f0a1b2c"


def octavia(document, status="200 OK", heard=None):
    body = json.dumps(document).encode()
    answer = (
        f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    )

    def talk(connection):
        request = connection.recv(65536)
        if heard is not None:
            heard.append(request)
        connection.sendall(answer)

    return talk


def asked(talk, **parameters):
    with serving(talk) as port:
        url = f"http://127.0.0.1:{port}/load-balancer"
        return tried(check("octavia_lb", address="192.0.2.1", url=url, id=ID, **parameters))


@pytest.mark.parametrize(("status", "up"), [("ONLINE", True), ("DEGRADED", True), ("ERROR", False), ("OFFLINE", False)])
def test_its_operating_status_decides(status, up):
    outcome = asked(octavia({"loadbalancer": {"operating_status": status}}))
    assert outcome.up is up
    assert outcome.rtt_ms is None or not up
    assert up or outcome.reason == f"operating status {status}, expected ONLINE or DEGRADED"


def test_the_token_is_shown_and_never_repeated():
    heard = []
    outcome = asked(octavia({}, "401 Unauthorized", heard), token="gAAAAAB-secret")
    assert b"GET /load-balancer/v2/lbaas/loadbalancers/" + ID.encode() in heard[0]
    assert b"X-Auth-Token: gAAAAAB-secret\r\n" in heard[0]
    assert outcome.reason == "the load-balancing API answers 401, expected 200"
    assert outcome.ours, "whether it serves is not known"


def test_a_load_balancer_that_is_not_there_is_down():
    outcome = asked(octavia({"faultcode": "Client"}, "404 Not Found"))
    assert (outcome.ours, outcome.reason) == (False, f"the load-balancing API knows no load balancer {ID}")


@pytest.mark.parametrize(
    "talk",
    [octavia([]), octavia({"loadbalancer": {}}), saying(b"hello"), lambda _: None],
    ids=["list", "empty", "no", "bye"],
)
def test_an_api_that_cannot_be_understood_says_nothing_of_the_load_balancer(talk):
    outcome = asked(talk)
    assert (outcome.up, outcome.ours) == (False, True)
    assert "the load-balancing API" in outcome.reason


def test_an_api_that_is_away_says_nothing_of_the_load_balancer():
    with bound() as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    assert tried(check("octavia_lb", address="192.0.2.1", url=url, id=ID)).ours
    with silent() as port:
        outcome = tried(check("octavia_lb", timeout_s=0.5, url=f"http://127.0.0.1:{port}", id=ID))
    assert outcome.ours
    assert outcome.reason == "no end within 0.5 s: the load-balancing API: waiting for an answer"
    assert tried(check("octavia_lb", address="192.0.2.1", url="http://169.254.169.254/", id=ID)).ours
