# SPDX-License-Identifier: Apache-2.0
"""What the operator bars of TLS is refused in new wishes, and stops no change of what is there."""

from dataclasses import replace

import pytest

from caryatid.control import writes
from caryatid.control.check import tls_policy
from caryatid.control.initial import SUBNET_ID
from caryatid.errors import CaryatidError, Refused
from caryatid.model import LOADBALANCER, POOL
from caryatid.model.tls import CIPHERS, SUITE

OLD = {"tls_versions": ["TLSv1.1", "TLSv1.2"], "tls_ciphers": "AES128-SHA:HIGH"}


@pytest.fixture
def strict(door):
    barred = {"tls_minimum_version": "TLSv1.2", "tls_prohibited_ciphers": "AES128-SHA:AES256-SHA"}
    return replace(door, settings=door.settings.model_copy(update=barred))


@pytest.fixture
def make(caller, door):
    root = writes.create(door, caller, LOADBALANCER, {"vip_subnet_id": SUBNET_ID}).document

    def pool(door, **body):
        body = {"loadbalancer_id": root["id"], "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN", **body}
        return writes.create(door, caller, POOL, {"tls_enabled": True, **body}).document

    return pool


def faults(act):
    with pytest.raises(Refused) as refused:
        act()
    assert refused.value.status == 400
    return [fault.attribute for fault in refused.value.faults]


def test_what_is_barred_cannot_be_wished_for(strict, make):
    assert faults(lambda: make(strict, **OLD)) == ["tls_ciphers", "tls_versions"]
    assert make(strict)["tls_versions"] == ["TLSv1.2", "TLSv1.3"]


def test_what_was_there_before_may_be_changed_otherwise_and_be_mended(door, strict, make, caller):
    old = make(door, **OLD)
    assert writes.change(strict, caller, POOL, old["id"], {"name": "new"}).document["name"] == "new"
    assert faults(lambda: writes.change(strict, caller, POOL, old["id"], {"tls_versions": ["TLSv1.1"]})) == [
        "tls_versions"
    ]
    assert writes.change(strict, caller, POOL, old["id"], {"tls_versions": ["TLSv1.2"], "tls_ciphers": None})


@pytest.mark.parametrize(("ciphers", "known"), [
    ("NONSENSE", False), ("TLS_AES_128_GCM_SHA256:NONSENSE", False), ("!ALL", False),
    ("NONSENSE:AES256-SHA", True), ("HIGH:!aNULL:@SECLEVEL=0", True),
])  # fmt: skip
def test_ciphers_that_openssl_does_not_know_are_refused(door, make, ciphers, known):
    if known:
        assert make(door, tls_ciphers=ciphers)["tls_ciphers"] == ciphers
    else:
        assert faults(lambda: make(door, tls_ciphers=ciphers)) == ["tls_ciphers"]


@pytest.mark.parametrize("first", ["TLS_", "ECDHE"])
def test_a_policy_leaves_something_to_speak(door, first):
    names = ":".join(name for name in CIPHERS.split(":") if name.startswith(SUITE) == (first == SUITE))
    with pytest.raises(CaryatidError, match="settings of TLS"):
        tls_policy(door.settings.model_copy(update={"tls_prohibited_ciphers": names}))
