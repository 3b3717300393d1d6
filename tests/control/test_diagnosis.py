# SPDX-License-Identifier: Apache-2.0
"""Asking an amphora how it is: whatever its host answers, or not, becomes an answer."""

import pytest

from caryatid.control import writes
from caryatid.control.diagnosis import diagnose
from caryatid.control.initial import SUBNET_ID
from caryatid.drivers.amphora import base
from caryatid.drivers.noop import WORLD, NoopAmphoraDriver
from caryatid.errors import Busy, Conflict, Forbidden, NoAnswer, NotFound, Unsupported
from caryatid.model import AMPHORA, LOADBALANCER
from caryatid.model.policy import Caller
from caryatid.store import rows


@pytest.fixture
def amphora(door, caller, drain):
    writes.create(door, caller, LOADBALANCER, {"vip_subnet_id": SUBNET_ID})
    drain()
    with door.database.read() as tx:
        (found,) = rows.find(tx, AMPHORA)
    return found


def test_what_it_says_is_shown_with_whose_it_is_and_when(door, caller, amphora):
    seen = diagnose(door, caller, amphora["id"])
    assert (seen["id"], seen["loadbalancer_id"], seen["compute_id"]) == (
        amphora["id"],
        amphora["loadbalancer_id"],
        amphora["compute_id"],
    )
    assert seen["found"] == {"amphora_id": amphora["id"], "configured": True}
    assert seen["at"] > amphora["created_at"]
    assert seen["took_ms"] >= 0


@pytest.mark.parametrize(
    ("error", "refusal"),
    [
        (base.TimeOutException("late"), NoAnswer),
        (base.UnavailableException("away"), Busy),
        (base.UnauthorizedException("stranger"), Busy),
        (base.InfoException("not here"), Conflict),
    ],
)
def test_a_host_that_does_not_say_is_told_of(door, caller, amphora, error, refusal):
    def fail(_call, _name):
        raise error

    WORLD.mishap = fail
    with pytest.raises(refusal, match=str(error)):
        diagnose(door, caller, amphora["id"])


def test_a_driver_that_cannot_ask_says_so(door, caller, amphora, monkeypatch):
    monkeypatch.setattr(NoopAmphoraDriver, "get_diagnostics", base.AmphoraLoadBalancerDriver.get_diagnostics)
    with pytest.raises(Unsupported, match="cannot ask"):
        diagnose(door, caller, amphora["id"])


def test_operators_ask_and_only_after_what_there_is(door, caller, amphora):
    with pytest.raises(NotFound):
        diagnose(door, caller, "not-there")
    with pytest.raises(Forbidden):
        diagnose(door, Caller("u", "p", frozenset({"member"})), amphora["id"])
