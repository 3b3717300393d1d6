# SPDX-License-Identifier: Apache-2.0
"""A driver of somebody else's, installed as a package of its own, with only the two methods that seed 003 asks for."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ACME = Path(__file__).parent / "acme"
SCRIPT = """
import os
from pathlib import Path
from caryatid.config import Settings
from caryatid.control import initial, writes
from caryatid.control.attempt import Attempt
from caryatid.control.reconcile import attend
from caryatid.errors import CaryatidError
from caryatid.model import LOADBALANCER, LISTENER, POOL, MEMBER
from caryatid.model.policy import Caller
from caryatid.services import wiring
from caryatid.store import migrate, work

known = Settings(amphora_driver="acme", compute_driver="noop", network_driver="noop")
migrate.upgrade(known.database_url)
door = wiring.door(known)
initial.ensure(door)
caller = Caller("tester", "p1", is_admin=True)

def drain():
    while (claim := work.claim(door.database, "test")) is not None:
        print(attend(door, Attempt(claim)))

root = writes.create(door, caller, LOADBALANCER, {"vip_subnet_id": initial.SUBNET_ID}).document["id"]
body = {"loadbalancer_id": root, "protocol": "TCP", "protocol_port": 90}
listener = writes.create(door, caller, LISTENER, body).document["id"]
body = {"listener_id": listener, "protocol": "TCP", "lb_algorithm": "ROUND_ROBIN"}
pool = writes.create(door, caller, POOL, body).document["id"]
writes.create(door, caller, MEMBER, {"address": "192.0.2.1", "protocol_port": 80}, parent_id=pool)
drain()
print(Path(os.environ["ACME_FILE"]).read_text())
try:
    writes.create(door, caller, LISTENER, {"loadbalancer_id": root, "protocol": "HTTP", "protocol_port": 91})
except CaryatidError as error:
    print(error.status, error)
writes.delete(door, caller, LISTENER, listener)
drain()
print(Path(os.environ["ACME_FILE"]).read_text())
door.database.close()
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    target = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-build-isolation", "--no-deps", "--no-index"]
    subprocess.run([*command, "--target", target, ACME], check=True, timeout=110)
    return target


def test_a_driver_with_two_methods_works(installed, tmp_path):
    environment = {
        **os.environ,
        "PYTHONPATH": str(installed),
        "ACME_FILE": str(tmp_path / "acme.json"),
        "CARYATID_STATE_DIR": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, check=True, timeout=60, capture_output=True, text=True
    )
    lines = done.stdout.splitlines()
    (served,) = json.loads(lines[1]).values()
    assert served["port"] == 90
    assert served["members"] == ["192.0.2.1:80"]
    assert lines[2].startswith("501 Provider 'amphora' does not support"), "what it does not declare is refused before"
    assert lines[-1] == "{}"
