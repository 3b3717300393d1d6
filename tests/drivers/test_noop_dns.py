# SPDX-License-Identifier: Apache-2.0
"""In the noop world names are answered as they were published, until it is told to fail."""

import pytest

from caryatid.drivers import load
from caryatid.drivers.dns.base import Backend, DnsError
from caryatid.drivers.noop import WORLD
from tests.drivers.dns_contract import DnsContract, Rig, publication, wanted


def _away(_call, _name):
    raise DnsError("Nobody is there.")


def _come_back():
    WORLD.mishap = lambda _call, _name: None


@pytest.fixture
def rig():
    WORLD.forget()

    def make(fqdn, rrtype, content):
        WORLD.zones["example.test."][fqdn, rrtype] = wanted(fqdn, content, generation=1)

    def stop():
        WORLD.mishap = _away

    driver = load("dns", "noop")(Backend("b"))
    yield Rig(driver, "example.test.", make, stop, _come_back)
    WORLD.forget()


class TestNoop(DnsContract):
    test_what_somebody_made_by_hand_is_left_alone = None  # nobody else can make anything there

    def test_all_that_is_published_together_is_one_call(self, rig):
        rig.driver.publish(rig.zone, [wanted(rig.name(), "192.0.2.1") for _ in range(50)])
        assert WORLD.publishes == 1

    def test_two_drivers_act_on_the_same_world(self, rig):
        each = wanted(rig.name(), "192.0.2.1")
        rig.driver.publish(rig.zone, [each])
        assert load("dns", "noop")(Backend("other")).verify(rig.zone, [publication(each.answers)]) == {}
