# SPDX-License-Identifier: Apache-2.0
"""Name servers are asked what tells whether something is published, and believed no more than they answer."""

import contextlib
import socket
import threading
from dataclasses import replace

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from bench.waiting import free_port
from caryatid.drivers.dns.asking import AT_ONCE, Question, ask, differences
from caryatid.drivers.dns.judging import Reply, fault, questions
from caryatid.model.gslb.answers import Answers, Candidate, Choice, Clients, Variant
from tests.drivers.dns_contract import gone, plain, publication, wanted

NAME = "www.example."
V4, OTHER_V4, THIRD_V4 = "192.0.2.1", "192.0.2.2", "192.0.2.3"


@contextlib.contextmanager
def name_server(answer):
    """On loopback; `answer(query)` makes of each query what is sent back: messages, bytes."""
    asked = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(0.05)
        ended = threading.Event()

        def serve():
            while not ended.is_set():
                with contextlib.suppress(TimeoutError, ConnectionError):
                    wire, client = sock.recvfrom(4096)
                    query = dns.message.from_wire(wire)
                    asked.append(query)
                    for each in answer(query):
                        sock.sendto(each if isinstance(each, bytes) else each.to_wire(), client)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield sock.getsockname(), asked
        finally:
            ended.set()
            thread.join()


def response(query, *contents, ttl=30, flags=dns.flags.AA, rcode=dns.rcode.NOERROR):
    message = dns.message.make_response(query)
    message.flags |= flags
    message.set_rcode(rcode)
    if contents:
        message.answer.append(dns.rrset.from_text_list(query.question[0].name, ttl, "IN", "A", contents))
    return message


def wrong(answer, *publications, **more):
    with name_server(answer) as (server, _):
        return differences([server], publications, more.pop("timeout_s", 20), **more)


def test_what_is_answered_as_it_shall_be_is_right():
    assert wrong(lambda query: [response(query, V4)], wanted(NAME, V4)) == {}


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (lambda query: [response(query, OTHER_V4)], "answers 192.0.2.2 instead of 192.0.2.1"),
        (lambda query: [response(query, V4, OTHER_V4)], "answers 192.0.2.1, 192.0.2.2 instead of 192.0.2.1"),
        (lambda query: [response(query)], "answers nothing instead of 192.0.2.1"),
        (lambda query: [response(query, V4, ttl=60)], "TTL of 60 instead of 30"),
        (lambda query: [response(query, rcode=dns.rcode.SERVFAIL)], "answers SERVFAIL"),
        (lambda query: [response(query, rcode=dns.rcode.REFUSED)], "answers REFUSED"),
        (lambda query: [response(query, V4, flags=0)], "does not have the zone itself"),
        (lambda query: [response(query, flags=dns.flags.AA | dns.flags.TC)], "does not answer over TCP"),
    ],
)
def test_what_is_answered_otherwise_is_told_in_words(answer, why):
    assert why in wrong(answer, wanted(NAME, V4), timeout_s=20)[NAME, "A"]


def test_who_says_nothing_has_everything_wrong():
    assert "does not answer" in wrong(lambda _: [], wanted(NAME, V4), timeout_s=0.3)[NAME, "A"]


def test_an_answer_to_somebody_elses_question_is_none():
    def forged(query):
        other = dns.message.make_query("other.example.", "A", id=query.id)
        later = dns.message.make_query(query.question[0].name, "A", id=query.id ^ 1)
        return [b"", b"\x00", response(other, OTHER_V4), response(later, OTHER_V4), response(query, V4)]

    assert wrong(forged, wanted(NAME, V4)) == {}


def test_a_question_that_was_lost_is_asked_again():
    heard = []

    def deaf_at_first(query):
        heard.append(query.id)
        return [response(query, V4)] if heard.count(query.id) > 1 else []

    assert wrong(deaf_at_first, wanted(NAME, V4)) == {}


def test_where_nobody_listens_everything_is_wrong_at_once():
    nobody = ("127.0.0.1", free_port(socket.SOCK_DGRAM))
    many = [wanted(f"n{number}.example.", V4) for number in range(3 * AT_ONCE)]
    found = differences([nobody], many, 30)
    assert len(found) == len(many)
    assert all("does not answer" in why for why in found.values())


def test_every_server_is_asked_and_the_one_that_is_wrong_is_named():
    with (
        name_server(lambda query: [response(query, V4)]) as (good, heard),
        name_server(lambda query: [response(query, OTHER_V4)]) as (bad, _),
    ):
        found = differences([good, bad], [wanted(NAME, V4)], 5)
    assert heard
    assert found[NAME, "A"].startswith(f"127.0.0.1:{bad[1]} ")


def test_who_needs_a_moment_is_asked_again_while_there_is_patience():
    answers = iter([V4, V4])
    assert wrong(lambda query: [response(query, next(answers, OTHER_V4))], wanted(NAME, OTHER_V4), patience_s=20) == {}


def test_more_questions_than_fit_at_once_are_all_answered():
    with name_server(lambda query: [response(query, V4)]) as (server, _):
        many = [Question(f"n{number}.example.", "A") for number in range(5 * AT_ONCE)]
        (replies,) = ask([server], many, 20).values()
    assert {reply.contents for reply in replies.values()} == {(V4,)}


def test_without_name_servers_nothing_is_wrong():
    assert differences([], [wanted(NAME, V4)], 5) == {}


def answers(default, *variants, **more):
    return publication(Answers(NAME, "A", 30, default, variants, **more))


def among(*contents, way="weighted", count=1):
    return Choice(tuple(Candidate(content) for content in contents), way, count)


def judged(wish, *contents, client=""):
    return fault(wish, Question(NAME, "A", client), Reply(contents, 30 if contents else None))


def test_of_a_choice_one_answer_is_right_if_it_may_be_chosen():
    wish = answers(among(V4, OTHER_V4))
    assert not judged(wish, V4)
    assert not judged(wish, OTHER_V4)
    assert "instead of some of" in judged(wish, THIRD_V4)
    assert judged(wish, V4, OTHER_V4)
    assert judged(wish)


def test_of_many_so_many_as_were_wished_are_right():
    wish = answers(among(V4, OTHER_V4, THIRD_V4, way="all", count=2))
    assert not judged(wish, V4, THIRD_V4)
    assert judged(wish, V4)
    assert judged(wish, V4, OTHER_V4, THIRD_V4)


def test_clients_of_every_network_that_matters_are_asked_for():
    inner = Variant(Clients(cidrs=("10.0.0.0/24",)), among(OTHER_V4))
    outer = Variant(Clients(cidrs=("10.0.0.0/16",)), among(THIRD_V4))
    wish = answers(among(V4), inner, outer)
    asked = [question.client for question in questions(wish)]
    assert asked[0] == ""
    assert asked[1] == "10.0.0.0"
    assert asked[2] == "10.0.255.255"
    assert not judged(wish, OTHER_V4, client="10.0.0.0")
    assert judged(wish, THIRD_V4, client="10.0.0.0")
    assert not judged(wish, THIRD_V4, client="10.0.255.255")
    assert judged(wish, V4, client="10.0.255.255")


def test_a_network_within_others_that_come_first_is_not_asked_for():
    first = Variant(Clients(cidrs=("10.0.0.0/25", "10.0.0.128/25")), among(V4))
    second = Variant(Clients(cidrs=("10.0.0.0/24",)), among(OTHER_V4))
    assert [question.client for question in questions(answers(among(V4), first, second))] == ["", "10.0.0.0"]


def test_what_geo_data_say_is_not_known_and_not_held_against_a_server():
    by_country = Variant(Clients(countries=("DE",)), among(OTHER_V4))
    by_network = Variant(Clients(cidrs=("10.0.0.0/8",)), among(THIRD_V4))
    wish = answers(among(V4), by_country, by_network)
    assert not judged(wish, OTHER_V4, client="10.0.0.0")
    assert not judged(wish, THIRD_V4, client="10.0.0.0")
    assert judged(wish, V4, client="10.0.0.0")


def test_who_belongs_to_whom_is_known_of_a_client():
    wish = answers(replace(among(V4, OTHER_V4, THIRD_V4), way="hash"))
    client = questions(wish)[1].client
    assert sum(not judged(wish, content, client=client) for content in (V4, OTHER_V4, THIRD_V4)) == 1


def test_without_ecs_no_client_is_told():
    variant = Variant(Clients(cidrs=("10.0.0.0/24",)), among(OTHER_V4))
    wish = answers(among(V4), variant, use_ecs=False)
    assert [question.client for question in questions(wish)] == [""]
    assert not judged(wish, OTHER_V4)


def test_what_a_wildcard_answers_for_a_name_that_is_gone_is_right():
    wish = gone("www.example.")
    asked, beside = questions(wish)
    assert beside.fqdn.endswith(".example.")
    assert not fault(wish, asked, Reply((V4,), 30), Reply((V4,), 30))
    assert fault(wish, asked, Reply((V4,), 30), Reply((OTHER_V4,), 30))
    assert fault(wish, asked, Reply((V4,), 30), Reply())
    assert not fault(wish, beside, Reply(problem="answers REFUSED"))  # beside a zone's own name there is another zone


def test_an_address_is_the_same_however_it_is_written():
    wish = publication(plain(NAME, "2001:DB8:0::1"))
    assert not fault(wish, Question(NAME, "AAAA"), Reply(("2001:db8::1",), 30))
