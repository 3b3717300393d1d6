# SPDX-License-Identifier: Apache-2.0
import pytest

from caryatid import metrics
from caryatid.drivers.amphora.base import ProvisioningErrors, TimeOutException, UnavailableException
from caryatid.drivers.amphora.breaker import Breaker


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def breaker(clock):
    return Breaker(failures_max=3, rest_s=5, clock=clock)


def fail(breaker, amphora="a"):
    with pytest.raises(TimeOutException), breaker.guard(amphora):
        raise TimeOutException


def open_(breaker):
    for _ in range(3):
        fail(breaker)


def reached(breaker, amphora="a"):
    try:
        with breaker.guard(amphora):
            return True
    except UnavailableException:
        return False


def test_who_fails_several_times_in_a_row_is_left_alone(breaker):
    open_(breaker)
    assert not reached(breaker)
    assert metrics.BREAKERS_OPEN._value.get() == 1


def test_one_success_in_between_counts_from_the_start(breaker):
    fail(breaker)
    fail(breaker)
    assert reached(breaker)
    fail(breaker)
    assert reached(breaker)


def test_after_a_rest_one_probe_decides(breaker, clock):
    open_(breaker)
    clock.now += 5
    fail(breaker)
    assert not reached(breaker)
    clock.now += 5
    assert reached(breaker)
    assert reached(breaker)


def test_while_a_probe_is_under_way_others_are_refused(breaker, clock):
    open_(breaker)
    clock.now += 5
    with breaker.guard("a"):
        assert not reached(breaker)
    assert reached(breaker)


def test_a_refusal_is_an_answer(breaker):
    fail(breaker)
    fail(breaker)
    with pytest.raises(ProvisioningErrors), breaker.guard("a"):
        raise ProvisioningErrors("no")
    fail(breaker)
    assert reached(breaker)


def test_amphorae_do_not_share_a_circuit(breaker):
    open_(breaker)
    assert reached(breaker, "b")


def test_a_forgotten_amphora_starts_anew(breaker):
    open_(breaker)
    breaker.forget("a")
    assert reached(breaker)
