# SPDX-License-Identifier: Apache-2.0
"""HTTP and HTTPS against a real HAProxy, and against whatever else may be there."""

import asyncio
import os
import socket
import struct
import subprocess
import threading
import time

import pytest

from caryatid.checker.targets import Targets
from caryatid.checker.trying import Tries
from tests.certificates import Authority
from tests.checker.checks.places import LONG_S, START_S, bound, check, saying, serving, silent, tried

CONFIG = """
global
  maxconn 1000
defaults
  mode http
  timeout client 30s
  timeout server 30s
  timeout connect 5s
frontend all
  bind fd@{plain}
  bind fd@{secure} ssl crt {pem}
  http-request return status 503 if {{ path /broken }}
  http-request return status 401 if {{ path /closed }}
  http-request redirect location /well if {{ path /moved }}
  http-request redirect location /round if {{ path /round }}
  http-request redirect location http://169.254.169.254/latest if {{ path /away }}
  http-request redirect location https://www.example.test:{secure_port}/said if {{ path /secure }}
  http-request redirect location http://other.example.test:{plain_port}/said if {{ path /other }}
  http-request redirect location gopher://127.0.0.1/ if {{ path /odd }}
  http-request return status 200 content-type text/plain lf-string "{said}" if {{ path_beg /said }}
  http-request return status 200 content-type text/plain string "The service is well"
"""
SAID = (
    "%[method] %[url] host=%[req.hdr(host)] token=%[req.hdr(x-token)] agent=%[req.hdr(user-agent)] "
    "sni=%[ssl_fc_sni] length=%[req.hdr(content-length)]"
)


@pytest.fixture(scope="module")
def authority():
    return Authority("Checks")


@pytest.fixture(scope="module")
def ports(tmp_path_factory, authority):
    """Of HAProxy: plain and with TLS."""
    folder = tmp_path_factory.mktemp("haproxy")
    pem = folder / "www.pem"
    pem.write_text(authority.file(authority.sign("www.example.test", "www.example.test")))
    with bound() as plain, bound() as secure:
        numbers = plain.getsockname()[1], secure.getsockname()[1]
        fds = plain.fileno(), secure.fileno()
        for fd in fds:
            os.set_inheritable(fd, True)
        names = {"plain": fds[0], "secure": fds[1], "plain_port": numbers[0], "secure_port": numbers[1]}
        (folder / "haproxy.cfg").write_text(CONFIG.format(**names, pem=pem, said=SAID))
        with subprocess.Popen(["haproxy", "-db", "-f", str(folder / "haproxy.cfg")], pass_fds=fds) as process:
            deadline = time.monotonic() + START_S
            while not tried(check("http", numbers[0], timeout_s=1)).up:
                assert time.monotonic() < deadline, "HAProxy does not start"
            yield numbers
            process.terminate()


@pytest.fixture(scope="module")
def port(ports):
    return ports[0]


def said(port, pattern, **parameters):
    """What the server was told has the pattern."""
    return tried(check("http", port, path="/said", expected_body=pattern, **parameters))


def test_an_answer_with_an_expected_status_is_success(port):
    outcome = tried(check("http", port))
    assert outcome.up
    assert outcome.reason == ""
    assert outcome.rtt_ms > 0


def test_a_status_that_is_not_expected_is_named_with_the_expected_ones(port):
    outcome = tried(check("http", port, path="/broken", expected_codes="200-299"))
    assert (outcome.up, outcome.reason, outcome.ours) == (False, "status 503, expected 200-299", False)
    assert tried(check("http", port, path="/closed", expected_codes="200, 401")).up


def test_what_the_answer_says_is_looked_at(port):
    assert tried(check("http", port, expected_body="service is (well|good)")).up
    outcome = tried(check("http", port, expected_body="all is lost"))
    assert outcome.reason == "status 200, but all is lost is not in the 19 bytes of it"


def test_the_request_says_what_the_monitor_wants(port):
    assert said(port, "^GET /said host=127.0.0.1:[0-9]+ token= agent=Caryatid/").up
    assert said(port, "host=www.example.test token=secret", host="www.example.test", headers={"X-Token": "secret"}).up
    assert said(port, "agent=mine", headers={"user-agent": "mine"}).up
    assert said(port, "^POST .* length=5$", method="POST", body="hällo"[:4]).up
    assert tried(check("http", port, method="HEAD", path="/well")).up


def test_a_redirection_counts_itself_unless_it_is_to_be_followed(port):
    assert tried(check("http", port, path="/moved", expected_codes="302")).up
    assert tried(check("http", port, path="/moved", expected_body="is well", follow_redirects=True)).up


def test_who_leads_round_and_round_has_failed(port):
    outcome = tried(check("http", port, path="/round", follow_redirects=True))
    assert outcome.reason == "it led elsewhere more than 5 times"


def test_nobody_is_led_where_nothing_may_be_checked(port):
    outcome = tried(check("http", port, path="/away", follow_redirects=True))
    assert "it led where nothing may be sent: 169.254.169.254" in outcome.reason
    assert not outcome.ours, "that is the member's doing"
    assert "no URL of HTTP" in tried(check("http", port, path="/odd", follow_redirects=True)).reason


def test_what_a_request_says_of_its_own_is_not_said_to_others(port):
    names = {"other.example.test": ["127.0.0.1"]}
    wanted = check(
        "http",
        port,
        path="/other",
        follow_redirects=True,
        headers={"X-Token": "secret"},
        expected_body=r"host=other.example.test:\d+ token= ",
    )
    assert tried(wanted, names=names).up


def test_the_same_name_stays_at_the_member_when_it_leads_to_tls(ports, authority):
    plain, _ = ports
    wanted = check(
        "http",
        plain,
        path="/secure",
        host="www.example.test",
        follow_redirects=True,
        expected_body="sni=www.example.test",
    )
    outcome = tried(wanted, names={})
    assert outcome.reason.startswith("connecting to 127.0.0.1, where it led: its certificate is not good"), (
        "it is asked at the member's address, and those whom the machine trusts did not sign it"
    )


def test_a_certificate_must_be_good_and_of_the_name(ports, authority):
    secure, pem = ports[1], authority.paper.pem.decode()
    assert tried(check("https", secure, host="www.example.test", authorities=pem, expected_body="well")).up
    assert tried(check("https", secure, sni="www.example.test", authorities=pem)).up
    assert tried(check("https", secure, verify_tls=False)).up
    other = tried(check("https", secure, sni="other.example.test", authorities=pem))
    assert "its certificate is not good: Hostname mismatch" in other.reason
    assert "its certificate is not good" in tried(check("https", secure, host="www.example.test")).reason
    assert tried(
        check("https", secure, address="www.example.test", authorities=pem), names={"www.example.test": ["127.0.0.1"]}
    ).up


def test_who_speaks_no_tls_is_told_apart(port):
    assert tried(check("https", port)).reason == "connecting, with TLS: TLS: wrong version number"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "it closed the connection without an answer"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "what it answers is no HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000, "64 KiB have come, and no end of the answer's head"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n", "status 500, expected 200-399"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\nit", "status 200, but well is not in the 2 bytes of it"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "what it answers is no HTTP"),
    ],
)
def test_a_strange_answer_is_a_failure_with_a_sentence(answer, reason):
    def talk(connection):
        connection.recv(65536)
        connection.sendall(answer)

    with serving(talk) as port:
        assert tried(check("http", port, expected_body="well")).reason == reason


def test_nobody_there_and_a_reset_are_told_apart():
    with bound() as listener:
        port = listener.getsockname()[1]
    assert tried(check("http", port)).reason == "connecting: connection refused"

    def reset(connection):
        connection.recv(65536)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with serving(reset) as port:
        assert tried(check("http", port)).reason == "waiting for an answer: it reset the connection"


def test_an_endless_body_is_read_as_far_as_it_counts():
    def endless(connection):
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(b"x" * 65536)

    with serving(endless) as port:
        assert tried(check("http", port)).up, "nothing but the status was asked for"
        assert "is not in the" in tried(check("http", port, expected_body="well")).reason


def test_an_answer_that_does_not_end_in_time_is_a_failure():
    with silent() as port:
        outcome = tried(check("http", port, timeout_s=0.5))
        assert outcome.reason == "no end within 0.5 s: waiting for an answer"
        assert not outcome.ours

    def drop_by_drop(connection):
        connection.recv(65536)
        for byte in b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000:
            connection.sendall(bytes([byte]))
            time.sleep(0.02)  # noqa: TID251  it is slow on purpose

    with serving(drop_by_drop) as port:
        assert "no end within 0.5 s" in tried(check("http", port, timeout_s=0.5)).reason
    with serving(saying(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nwe")) as port:
        outcome = tried(check("http", port, timeout_s=0.5, expected_body="well"))
        assert outcome.reason == "no end within 0.5 s: status 200 has come, waiting for what follows"


def test_who_takes_longer_than_wished_has_failed(port):
    outcome = tried(check("http", port, max_rtt_ms=0.001))
    assert not outcome.up
    assert "expected 0.001 ms at most" in outcome.reason


def test_hanging_members_do_not_keep_others_waiting(port):
    async def both():
        tries = Tries(Targets(["127.0.0.0/8"], []))
        with silent() as hanging:
            waiting = [asyncio.create_task(tries.once(check("http", hanging))) for _ in range(500)]
            await asyncio.sleep(0)
            good = [await tries.once(check("http", port)) for _ in range(20)]
            still = sum(not one.done() for one in waiting)
            for one in waiting:
                one.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
        await tries.close()
        return good, still

    good, still = asyncio.run(both())
    assert all(one.up for one in good)
    assert still == 500, f"all of them are waited for still, up to {LONG_S} s"


def test_a_large_text_does_not_keep_others_waiting(port):
    body = b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n" + b"a" * 60_000

    async def both(large):
        tries = Tries(Targets(["127.0.0.0/8"], []))
        hard = check("http", large, expected_body="(a?){30}(a|b)*[^a]c")
        found = await asyncio.gather(*(tries.once(hard) for _ in range(20)), tries.once(check("http", port)))
        await tries.close()
        return found

    with serving(saying(body)) as large:
        *hard, good = asyncio.run(both(large))
    assert good.up
    assert {one.reason for one in hard} == {"status 200, but (a?){30}(a|b)*[^a]c is not in the 60000 bytes of it"}


def test_that_others_texts_are_searched_for_long_is_no_members_fault():
    body = b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n" + b"a" * 60_000
    free = threading.Event()

    async def crowded(port):
        tries = Tries(Targets(["127.0.0.0/8"], []))
        for _ in range(10):
            tries._searching.submit(free.wait, LONG_S)
        outcome = await tries.once(check("http", port, expected_body="b", timeout_s=0.5))
        free.set()
        await tries.close()
        return outcome

    with serving(saying(body)) as port:
        outcome = asyncio.run(crowded(port))
    assert (outcome.ours, outcome.reason) == (True, "no end within 0.5 s: searching what it answered")
