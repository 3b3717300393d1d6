# SPDX-License-Identifier: Apache-2.0
"""In the noop world every reference stands for something that serves, the same in every process."""

from datetime import UTC, datetime

import pytest

from caryatid.drivers.noop import WORLD, NoopSecretsDriver
from caryatid.drivers.secrets.base import UnreadableError
from caryatid.model.bundle import Material
from caryatid.plan.bundles import read

NOW = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture
def driver():
    WORLD.forget()
    yield NoopSecretsDriver()
    WORLD.forget()


def test_a_reference_serves_every_purpose_and_always_the_same(driver):
    material = driver.read("noop:www.example.org", "p")
    assert material == driver.read("noop:www.example.org", "other")
    assert material != driver.read("noop:other.example.org", "p")
    assert read(material, "keypair", NOW).names == ("www.example.org",)
    authorities = read(material, "authorities", NOW)
    assert read(material, "revocations", NOW, authorities=authorities).subject == "CN=www.example.org"
    assert read(driver.read(f"https://keys.example/v1/containers/{'0' * 200}", "p"), "keypair", NOW)


def test_the_world_may_say_otherwise_or_fail(driver):
    WORLD.secrets["kept"] = Material(payload=b"this")
    assert driver.read("kept", "p").payload == b"this"

    def away(_call, name):
        assert name == "read"
        raise UnreadableError("not there")

    WORLD.mishap = away
    with pytest.raises(UnreadableError):
        driver.read("kept", "p")
