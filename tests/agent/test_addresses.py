# SPDX-License-Identifier: Apache-2.0
"""Which of its own addresses a host tells of."""

import subprocess
import sys

from caryatid.agent.addresses import ADDRESSES_MAX, addresses

GIVEN = """
ip link set lo up
ip link add one type veth peer name two
ip link set two up
ip link set one up
ip addr add 127.0.0.9/8 dev lo
ip addr add 192.0.2.6/24 dev one
ip addr add 192.0.2.5/24 dev one
ip addr add 10.1.2.3/32 dev one scope host
ip addr add 169.254.7.7/16 dev one
ip addr add 2001:db8::5/64 dev one nodad
ip addr add 198.51.100.1 peer 198.51.100.2 dev one
exec "$@"
"""
ASK = "from caryatid.agent.addresses import addresses; print(*addresses())"
MANY = 'ip link set lo up; for n in $(seq 100); do ip addr add 192.0.2.$n/32 dev lo; done; exec "$@"'


def told(given: str) -> list[str]:
    """What a machine with these interfaces says, in a network namespace of its own."""
    inside = ["unshare", "--map-root-user", "--net", "sh", "-ec", given, "sh"]
    done = subprocess.run([*inside, sys.executable, "-c", ASK], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.split()


def test_it_tells_of_those_by_which_others_reach_it():
    assert told(GIVEN) == ["192.0.2.5", "192.0.2.6", "198.51.100.1", "2001:db8::5"]


def test_of_very_many_it_tells_the_first():
    assert told(MANY) == [f"192.0.2.{number}" for number in range(1, ADDRESSES_MAX + 1)]


def test_an_ordinary_user_may_ask():
    assert len(addresses()) <= ADDRESSES_MAX
