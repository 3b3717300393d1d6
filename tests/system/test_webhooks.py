# SPDX-License-Identifier: Apache-2.0
"""Webhooks of whole installations, whose processes are killed under them."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.installation import Installation
from bench.waiting import pause, until
from tests.receiver import Receiver

KILLS = 3
CHANGES = 12
CORES = 2


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def hooked(request: pytest.FixtureRequest, new_database: Callable[[], str]) -> Iterator[Installation]:
    """Up, without a data plane, on each database; the operator allows receivers on this machine."""
    settings = {"CARYATID_WEBHOOK_PRIVATE_TARGETS": "127.0.0.0/8", "CARYATID_METRICS_LISTEN": ""}
    if request.param == "postgresql":
        settings["CARYATID_DATABASE"] = new_database()
    with Installation(noop=True, environment=settings) as made:
        yield made


def subscribe(installation: Installation, receiver: Receiver) -> dict[str, str]:
    body = {"callback_url": receiver.url, "event_types": ["network.create"], "all_projects": True}
    answer = installation.api.post("/v1/subscriptions", json={"subscription": body})
    assert answer.status_code == 201, answer.text
    return dict(answer.json()["subscription"])


def change(installation: Installation, count: int) -> list[str]:
    """So many networks are made; their ids."""
    made = []
    for _ in range(count):
        answer = installation.api.post("/v1/networks", json={"network": {"name": "hooked"}})
        assert answer.status_code == 201, answer.text
        made.append(answer.json()["network"]["id"])
    return made


def about(receiver: Receiver) -> list[str]:
    """What came is about, in order, without what came again."""
    return list(dict.fromkeys(got.event["resource_id"] for got in receiver.accepted))


def test_whoever_delivers_is_killed_and_nothing_is_lost(hooked: Installation, receiver: Receiver) -> None:
    secret = subscribe(hooked, receiver)["signing_secret"]
    wanted = change(hooked, CHANGES)
    until(lambda: about(receiver) == wanted, "all is delivered")
    for _ in range(KILLS):
        core = hooked.services()["core"]
        wanted += change(hooked, CHANGES // 2)
        os.kill(core, signal.SIGKILL)
        wanted += change(hooked, CHANGES // 2)
        until(lambda core=core: hooked.services().get("core", core) != core, "it is back")
    until(lambda: len(about(receiver)) == len(wanted), "all is delivered", timeout_s=60)
    assert about(receiver) == wanted, "in order"
    assert len(set(receiver.ids)) == len(wanted), "what comes again has the same id"
    assert all(got.is_signed_with(secret) for got in receiver.accepted)
    log = hooked.log(1 << 30) + "".join(path.read_text() for path in Path(hooked.directory).glob("*.log"))
    assert secret.removeprefix("whsec_") not in log
    assert "token=t" not in log, "what follows the host of a URL may be secret"


def test_of_two_processes_one_delivers_and_another_goes_on_when_it_is_killed(
    hooked: Installation, receiver: Receiver
) -> None:
    subscribe(hooked, receiver)
    first = hooked.process
    helper = hooked.spawn("core")
    hooked.process = first
    try:
        until(lambda: hooked.log(1 << 30).count('"event": "ready"') > CORES, "the second process is ready")
        wanted = change(hooked, CHANGES)
        until(lambda: about(receiver) == wanted, "all is delivered")
        pause(1)
        assert len(receiver.accepted) == CHANGES, "once"
        os.kill(hooked.services()["core"], signal.SIGKILL)
        wanted += change(hooked, CHANGES)
        until(lambda: about(receiver) == wanted, "the other goes on", timeout_s=60)
    finally:
        helper.send_signal(signal.SIGTERM)
        assert helper.wait(20) == 0
