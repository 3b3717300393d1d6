# SPDX-License-Identifier: Apache-2.0
"""What holds for every DNS driver, whatever its servers are.

A module of tests has a fixture `rig` (of a module's scope, if it starts servers) and a class:

    class TestBind(DnsContract):
        pass
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from uuid import uuid4

import pytest

from caryatid.drivers.dns.asking import Question, ask
from caryatid.drivers.dns.base import DnsDriver, DnsError, DnsRefusedError, Publication
from caryatid.model.gslb.answers import Answers, Candidate, Choice
from caryatid.plan.steering import digest

TIMEOUT_S = 5.0
V4, OTHER_V4, THIRD_V4 = "192.0.2.1", "192.0.2.2", "192.0.2.3"
V6 = "2001:db8::1"


def nothing(*_):
    pass


@dataclass
class Rig:
    """A driver with its servers."""

    driver: DnsDriver
    zone: str
    """With a dot at its end; it may be there already."""
    make: Callable[[str, str, str], None]
    """(fqdn, rrtype, content): somebody puts this there by hand, in place of what is there of the type, and leaves
    marks as they are. Returns when it is answered."""
    stop: Callable[[], None]
    """The servers are away, until `start`."""
    start: Callable[[], None] = nothing
    """They answer again when it returns."""
    servers: Sequence[tuple[str, int]] = field(default=())
    """That can be asked; none: nobody answers on a network."""
    tries: int = 1
    """After so many in vain something is wrong."""

    def name(self, label: str = "www") -> str:
        """One that nobody has used."""
        return f"{label}-{uuid4().hex[:8]}.{self.zone}"


def plain(fqdn, *contents, ttl=30, rrtype=None):
    kind = rrtype or ("AAAA" if contents and ":" in contents[0] else "A")
    return Answers(fqdn, kind, ttl, Choice(tuple([Candidate(each) for each in contents])))


def publication(answers, generation=1):
    return Publication(answers, answers.fqdn, answers.rrtype, generation)


def gone(fqdn, rrtype="A", generation=9):
    return Publication(None, fqdn, rrtype, generation)


def wanted(fqdn, *contents, generation=1, **more):
    return publication(plain(fqdn, *contents, **more), generation)


def seen(rig, fqdn, rrtype="A", client=""):
    """What every one of the servers answers."""
    question = Question(fqdn, rrtype, client)
    return [replies[question] for replies in ask(rig.servers, [question], TIMEOUT_S).values()]


def publish(rig, all_wanted):
    """Servers of a service that sometimes fails are told again, as the engine does."""
    for left in reversed(range(rig.tries)):
        try:
            rig.driver.publish(rig.zone, all_wanted)
            return
        except DnsRefusedError:
            raise
        except DnsError:
            if not left:
                raise


def settled(rig, *all_wanted):
    """Published, and seen to be."""
    publish(rig, all_wanted)
    assert rig.driver.verify(rig.zone, all_wanted) == {}


def listed(rig, fqdn):
    found = [each for each in rig.driver.published(rig.zone) if each.fqdn == fqdn]
    return {each.rrtype: (each.generation, each.digest) for each in found}


class DnsContract:
    @pytest.fixture(autouse=True)
    def with_a_zone(self, rig):
        rig.driver.ensure_zone(rig.zone)

    def test_a_zone_that_is_there_is_left_as_it_is(self, rig):
        name = rig.name()
        settled(rig, wanted(name, V4))
        rig.driver.ensure_zone(rig.zone)
        assert rig.driver.verify(rig.zone, [wanted(name, V4)]) == {}

    def test_what_is_published_is_answered(self, rig):
        name = rig.name()
        settled(rig, wanted(name, V4, OTHER_V4, ttl=17), wanted(name, V6, ttl=5))
        for reply in seen(rig, name):
            assert (set(reply.contents), reply.ttl) == ({V4, OTHER_V4}, 17)
        for reply in seen(rig, name, "AAAA"):
            assert (reply.contents, reply.ttl) == ((V6,), 5)

    def test_what_is_changed_is_answered_as_it_is_now(self, rig):
        name = rig.name()
        settled(rig, wanted(name, V4, OTHER_V4))
        settled(rig, wanted(name, OTHER_V4, THIRD_V4, generation=2))
        assert (name, "A") in rig.driver.verify(rig.zone, [wanted(name, V4, OTHER_V4)])
        for reply in seen(rig, name):
            assert set(reply.contents) == {OTHER_V4, THIRD_V4}

    def test_one_type_is_changed_and_the_other_stays(self, rig):
        name = rig.name()
        settled(rig, wanted(name, V4), wanted(name, V6))
        settled(rig, wanted(name, OTHER_V4, generation=2))
        assert rig.driver.verify(rig.zone, [wanted(name, V6)]) == {}
        settled(rig, gone(name))
        assert rig.driver.verify(rig.zone, [wanted(name, V6)]) == {}
        assert set(listed(rig, name)) == {"AAAA"}

    def test_another_ttl_is_a_change(self, rig):
        name = rig.name()
        settled(rig, wanted(name, V4, ttl=30))
        assert (name, "A") in rig.driver.verify(rig.zone, [wanted(name, V4, ttl=5)])
        settled(rig, wanted(name, V4, ttl=5, generation=2))

    def test_what_is_withdrawn_is_not_answered_and_not_listed(self, rig):
        name = rig.name()
        settled(rig, wanted(name, V4), wanted(name, V6))
        assert rig.driver.verify(rig.zone, [gone(name)])
        settled(rig, gone(name), gone(name, "AAAA"))
        assert all(reply.contents == () for reply in seen(rig, name))
        assert listed(rig, name) == {}
        settled(rig, gone(name))  # it may be said again

    def test_a_name_may_have_nothing_of_a_type(self, rig):
        name = rig.name()
        settled(rig, wanted(name, V4), wanted(name, rrtype="AAAA"))
        assert all(reply.contents == () and not reply.problem for reply in seen(rig, name, "AAAA"))
        assert set(listed(rig, name)) == {"A", "AAAA"}
        settled(rig, wanted(name, generation=2))

    def test_a_name_may_stand_for_another_and_then_for_itself_again(self, rig):
        name, target = rig.name(), "elsewhere.example."
        settled(rig, wanted(name, V4))
        settled(rig, gone(name), wanted(name, target, rrtype="CNAME", generation=2))
        assert all(reply.contents == (target,) for reply in seen(rig, name, "CNAME"))
        settled(rig, gone(name, "CNAME"), wanted(name, V4, generation=3))

    def test_a_wildcard_answers_for_what_is_not_there(self, rig):
        parent = rig.name("sub")
        settled(rig, wanted(f"*.{parent}", V4))
        settled(rig, wanted(f"own.{parent}", OTHER_V4))
        assert all(reply.contents == (V4,) for reply in seen(rig, f"any.{parent}"))
        assert all(reply.contents == (OTHER_V4,) for reply in seen(rig, f"own.{parent}"))
        settled(rig, gone(f"own.{parent}"))
        assert all(reply.contents == (V4,) for reply in seen(rig, f"own.{parent}"))

    def test_many_names_are_published_together(self, rig):
        many = [wanted(rig.name(f"n{number}"), f"192.0.2.{number % 250}") for number in range(150)]
        settled(rig, *many)
        found = {each.fqdn for each in rig.driver.published(rig.zone)}
        assert found >= {each.fqdn for each in many}

    def test_what_is_ours_is_listed_with_generation_and_digest(self, rig):
        name, answers = rig.name(), plain("", V4)
        answers = replace(answers, fqdn=name)
        settled(rig, publication(answers, 7), wanted(name, V6, generation=8))
        assert listed(rig, name)["A"] == (7, digest(answers))
        assert listed(rig, name)["AAAA"][0] == 8

    def test_the_same_may_be_published_again(self, rig):
        name = rig.name()
        settled(rig, wanted(name, V4, generation=3))
        settled(rig, wanted(name, V4, generation=3))
        assert listed(rig, name)["A"][0] == 3

    def test_who_comes_with_an_older_generation_is_refused_and_the_others_are_not(self, rig):
        name, other = rig.name(), rig.name()
        settled(rig, wanted(name, V4, generation=5))
        with pytest.raises(DnsRefusedError):
            rig.driver.publish(rig.zone, [wanted(name, OTHER_V4, generation=4), wanted(other, V4)])
        assert rig.driver.verify(rig.zone, [wanted(name, V4), wanted(other, V4)]) == {}
        assert listed(rig, name)["A"][0] == 5

    def test_a_lie_is_found_and_put_right(self, rig):
        name = rig.name()
        settled(rig, wanted(name, V4))
        rig.make(name, "A", "203.0.113.66")
        assert (name, "A") in rig.driver.verify(rig.zone, [wanted(name, V4)])
        settled(rig, wanted(name, V4, generation=2))

    def test_what_somebody_made_by_hand_is_left_alone(self, rig):
        name, other = rig.name(), rig.name()
        rig.make(name, "A", "203.0.113.66")
        with pytest.raises(DnsRefusedError, match=name):
            rig.driver.publish(rig.zone, [wanted(name, V4), wanted(other, V4)])
        assert rig.driver.verify(rig.zone, [wanted(other, V4)]) == {}
        assert all(reply.contents == ("203.0.113.66",) for reply in seen(rig, name))
        assert listed(rig, name) == {}

    def test_servers_that_are_away_are_told_as_soon_as_they_are_back(self, rig):
        name = rig.name()
        settled(rig, wanted(name, V4))
        rig.stop()
        try:
            with pytest.raises(DnsError):
                rig.driver.publish(rig.zone, [wanted(name, OTHER_V4, generation=2)])
            with suppress(DnsError):  # some say it so
                assert (name, "A") in rig.driver.verify(rig.zone, [wanted(name, OTHER_V4)])
        finally:
            rig.start()
        assert rig.driver.verify(rig.zone, [wanted(name, V4)]) == {}
        settled(rig, wanted(name, OTHER_V4, generation=2))
