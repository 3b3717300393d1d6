# SPDX-License-Identifier: Apache-2.0
"""Only who knows the pulse can make this process believe that it hears."""

from caryatid.services.health import Health
from caryatid.store.database import Database

ADDRESS = ("127.0.0.1", 20000)


def test_nothing_is_the_pulse_until_one_is_expected_and_then_only_itself(tmp_path) -> None:
    database = Database(f"sqlite:///{tmp_path}/caryatid.db")
    health = Health(database, lambda _host_id: ())
    health.datagram_received(b"", ADDRESS)
    assert health.pulse_at == 0.0
    health.expect_pulse(b"p" * 16)
    began = health.pulse_at
    for other in (b"", b"p" * 15, b"q" * 16, b"p" * 17):
        health.datagram_received(other, ADDRESS)
    assert health.pulse_at == began
    health.datagram_received(b"p" * 16, ADDRESS)
    assert health.pulse_at > began
    database.close()
