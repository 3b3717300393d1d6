# SPDX-License-Identifier: Apache-2.0
"""A connection to a RAPI breaks wherever it can: nothing stays open, and what may have been carried out is told."""

import base64
import gc
import socket
import threading
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from caryatid.wire.rapi.answers import Problem, Wanted
from caryatid.wire.rapi.client import SLOTS, Rapi
from caryatid.wire.rapi.exchange import ANSWER_BYTES_MAX
from tests.wire.rapi.server import OWN, PATIENCE_S, answering, certificate, descriptors, serving

PASSWORD = "open sesame"
WANTED = Wanted("one.example", {"instance_name": "one.example", "osparams_secret": {"seed": "hidden"}})
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n"


def at_once(guest):
    guest.reset()


def after_the_hello(guest):
    guest.hello()
    guest.reset()


def amid_the_handshake(guest):
    guest.half_a_handshake()
    guest.reset()


def after_the_handshake(guest):
    guest.secure()
    guest.reset()


def after_the_request(guest):
    guest.secure()
    guest.request()
    guest.reset()


def amid_the_head(guest):
    guest.secure()
    guest.request()
    guest.say(HEAD[:20])
    guest.reset()


def amid_the_body(guest):
    guest.secure()
    guest.request()
    guest.say(HEAD + b"\r\n1234")
    guest.reset()


UNASKED = (at_once, after_the_hello, amid_the_handshake)
ASKED = (after_the_handshake, after_the_request, amid_the_head, amid_the_body)


def rapi(server, **more):
    return Rapi(server.url, "caryatid", PASSWORD, OWN.pem.decode(), **{"timeout_s": PATIENCE_S, **more})


@pytest.fixture(autouse=True, scope="module")
def _soon_collected():
    """What there is before these tests is not looked through after each of them."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def _nothing_stays_open():
    gc.collect()
    before = descriptors()
    yield
    gc.collect()  # a socket that is left to it warns, and a warning fails the test
    assert descriptors() == before


@pytest.mark.parametrize("stage", UNASKED)
def test_what_was_never_asked_was_not_carried_out(stage):
    with serving(stage) as server:
        found = rapi(server).create(WANTED)
    assert (found.trouble, found.status) == ("unreachable", 0)


@pytest.mark.parametrize("stage", ASKED)
def test_of_what_was_asked_nobody_knows_whether_it_was_carried_out(stage):
    with serving(stage) as server:
        for found in (rapi(server).create(WANTED), rapi(server).delete("one.example"), rapi(server).cancel(1)):
            assert (found.trouble, found.status) == ("ambiguous", 0)


@pytest.mark.parametrize("stage", ASKED)
def test_a_question_changes_nothing(stage):
    with serving(stage) as server:
        for found in (rapi(server).instances("caryatid"), rapi(server).job(1), rapi(server).wait(1, "", 0)):
            assert (found.trouble, found.status) == ("unreachable", 0)


@pytest.mark.parametrize("stage", [*UNASKED, *ASKED])
def test_many_at_once_are_cut_off_and_nothing_stays_open(stage):
    with serving(stage) as server:
        asked = rapi(server)
        threads = [threading.Thread(target=asked.create, args=(WANTED,)) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_S)


def test_where_nobody_listens_nothing_was_carried_out():
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    found = Rapi(f"https://127.0.0.1:{port}", "caryatid", PASSWORD, OWN.pem.decode()).create(WANTED)
    assert found.trouble == "unreachable"
    assert "Connection refused" in found.text


def test_a_name_that_cannot_be_is_nobody():
    found = Rapi(f"https://{'x' * 64}.example:5080", "caryatid", PASSWORD, OWN.pem.decode()).create(WANTED)
    assert found.trouble == "unreachable"


def ends_amid_the_body(guest):
    guest.secure()
    guest.request()
    guest.say(HEAD + b"\r\n1234")


def says_goodbye_amid_the_body(guest):
    ends_amid_the_body(guest)
    guest.goodbye()


def ends_a_body_of_unknown_length(guest):
    guest.secure()
    guest.request()
    guest.say(b"HTTP/1.1 200 OK\r\n\r\n6")


@pytest.mark.parametrize("end", [ends_amid_the_body, says_goodbye_amid_the_body, ends_a_body_of_unknown_length])
def test_half_an_answer_is_none(end):
    with serving(end) as server:
        assert rapi(server).create(WANTED).trouble == "ambiguous"


def silent(guest):
    guest.until_it_goes()


def silent_after_the_handshake(guest):
    guest.secure()
    guest.until_it_goes()


def silent_amid_the_body(guest):
    ends_amid_the_body(guest)
    guest.until_it_goes()


def slower_and_slower(guest):
    guest.secure()
    guest.request()
    guest.say(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    for _ in range(100000):
        guest.say(b" ")
        time.sleep(0.02)  # noqa: TID251  a server that drips


@pytest.mark.parametrize(
    ("script", "trouble"),
    [
        (silent, "unreachable"),
        (silent_after_the_handshake, "ambiguous"),
        (silent_amid_the_body, "ambiguous"),
        (slower_and_slower, "ambiguous"),
    ],
)
def test_one_deadline_holds_for_all_of_a_request(script, trouble):
    with serving(script) as server:
        found = rapi(server, timeout_s=3).create(WANTED)
    assert found.trouble == trouble
    assert "no answer in time" in found.text


def test_who_waits_for_a_job_waits_longer():
    def script(guest):
        guest.secure()
        guest.request()
        threading.Event().wait(1)
        guest.answer(b'{"job_info": ["running"], "log_entries": []}')

    with serving(script) as server:
        assert rapi(server, timeout_s=0.5).wait(1, "running", 0).status == "running"


def test_an_answer_has_a_limit():
    def declared(guest):
        guest.secure()
        guest.request()
        guest.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (ANSWER_BYTES_MAX + 1))
        guest.until_it_goes()

    def endless(guest):
        guest.secure()
        guest.request()
        guest.say(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            guest.say(b" " * 65536)

    for script in (declared, endless):
        with serving(script) as server:
            found = rapi(server).instances("caryatid")
        assert "too long" in found.text


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(max_size=200),
    st.sampled_from([b"", b"HTTP/1.1 200 OK\r\n", HEAD, b"HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n"]),
)
def test_whatever_comes_back_is_an_answer_or_a_problem(content, head):
    def script(guest):
        guest.secure()
        guest.request()
        guest.say(head + content)

    with serving(script) as server:
        assert isinstance(rapi(server, timeout_s=10).create(WANTED), int | Problem)


def test_no_more_than_four_are_under_way():
    under_way, most, full, lock = 0, 0, threading.Event(), threading.Lock()

    def script(guest):
        nonlocal under_way, most
        guest.secure()
        guest.request()
        with lock:
            under_way += 1
            most = max(most, under_way)
            if under_way == SLOTS:
                full.set()
        full.wait(PATIENCE_S)
        with lock:
            under_way -= 1
        guest.answer(b"6")
        guest.until_it_goes()

    answers = []
    with serving(script) as server:
        asked = rapi(server)
        threads = [threading.Thread(target=lambda: answers.append(asked.create(WANTED))) for _ in range(3 * SLOTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_S)
    assert answers == [6] * len(threads)
    assert most == SLOTS


def test_who_finds_no_slot_in_time_was_not_asked_for():
    waiting = threading.Semaphore(0)

    def script(guest):
        guest.secure()
        guest.request()
        waiting.release()
        guest.until_it_goes()

    with serving(script) as server:
        asked = rapi(server, timeout_s=0.5)
        threads = [threading.Thread(target=asked.wait, args=(1, "", 0)) for _ in range(SLOTS)]
        for thread in threads:
            thread.start()
        for _ in threads:
            assert waiting.acquire(timeout=PATIENCE_S)
        found = asked.create(WANTED)
        server.end()
        for thread in threads:
            thread.join(PATIENCE_S)
    assert found.trouble == "unreachable"
    assert "requests are under way" in found.text


def test_no_word_of_a_problem_is_secret():
    hidden = (PASSWORD, base64.b64encode(f"caryatid:{PASSWORD}".encode()).decode(), "hidden")
    found = []
    for script in (*UNASKED, *ASKED, answering(b"{", 400), answering(b"nonsense")):
        with serving(script) as server:
            asked = rapi(server)
            found += [repr(asked), repr(asked.create(WANTED)), repr(asked.info()), repr(WANTED)]
    assert not [text for text in found for secret in hidden if secret in text]


def test_what_became_of_each_request_is_told():
    told = []
    with serving(answering(b"6")) as server:
        asked = rapi(server, tell=lambda call, outcome, seconds: told.append((call, outcome, seconds >= 0)))
        asked.create(WANTED)
        asked.nodes()
    assert told == [("create", "ok", True), ("nodes", "broken", True)]


def test_a_problem_names_place_request_and_status():
    with serving(answering(b'{"code": 400, "message": "No such &#x27;nic&#x27;", "explain": ""}', 400)) as server:
        found = rapi(server).delete("one/two.example")
    place = server.url.removeprefix("https://")
    assert found == Problem(
        "refused", f"RAPI {place}: DELETE /2/instances/one%2Ftwo.example: 400 Bad Request: No such 'nic'.", 400
    )


def test_an_address_without_tls_is_refused():
    with pytest.raises(ValueError, match="https"):
        Rapi("http://127.0.0.1:5080", "caryatid", PASSWORD)
    with pytest.raises(ValueError):
        Rapi("https://127.0.0.1:5080", "caryatid", PASSWORD, "no PEM")


def test_a_server_without_tls_is_told_apart():
    def script(guest):
        guest.hello()
        guest.connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        guest.until_it_goes()

    with serving(script) as server:
        found = rapi(server).create(WANTED)
    assert found.trouble == "unreachable"
    assert "TLS" in found.text


def test_nobody_is_asked_whose_certificate_is_another():
    asked = []

    def script(guest):
        guest.secure()
        asked.append(guest.request())

    with serving(script, certificate("master.example", own=certificate("another").key)) as server:
        found = rapi(server).create(WANTED)
    assert found.trouble == "unreachable"
    assert "certificate is not trusted" in found.text
    assert asked == []
