# SPDX-License-Identifier: Apache-2.0
"""Another installation whose API is served over HTTP on loopback: the Octavia and the Neutron of a region elsewhere."""

import shutil
import socket
import threading
from pathlib import Path
from typing import Any

import uvicorn

from caryatid.api.app import create_app
from caryatid.api.news import News
from caryatid.config import Settings
from caryatid.control import initial, writes
from caryatid.control.attempt import Attempt
from caryatid.control.health import Observer
from caryatid.control.reconcile import attend
from caryatid.model import LOADBALANCER, PORT
from caryatid.model.policy import Caller
from caryatid.store import rows, work
from caryatid.store.database import Database
from caryatid.store.wake import Wakeups
from tests.doors import open_door

END_S = 30
NOOP = {"amphora_driver": "noop", "compute_driver": "noop", "network_driver": "noop"}


class Site:
    """It answers from `start` to `stop`, which may be repeated; `close` leaves nothing behind."""

    def __init__(self, folder: Path, template: Path) -> None:
        """`template`: a migrated SQLite file."""
        folder.mkdir()
        shutil.copy(template, folder / "caryatid.db")
        self.database = Database(f"sqlite:///{folder}/caryatid.db")
        self.door = open_door(self.database, Settings(state_dir=folder, **NOOP))
        initial.ensure(self.door)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._running: tuple[uvicorn.Server, threading.Thread, Wakeups, News] | None = None
        self.start()

    @property
    def octavia(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def neutron(self) -> str:
        return f"http://127.0.0.1:{self.port}/network"

    def start(self) -> None:
        listener = socket.create_server(("127.0.0.1", self.port))
        wakeups = Wakeups(self.database)
        wakeups.start()
        news = News(wakeups)
        app = create_app(self.door, wakeups, news)
        server = uvicorn.Server(uvicorn.Config(app, lifespan="off", ws="none", log_config=None, access_log=False))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        self._running = server, thread, wakeups, news

    def stop(self) -> None:
        """Whoever asks is refused."""
        if self._running is None:
            return
        server, thread, wakeups, news = self._running
        news.close()
        server.should_exit = True
        thread.join(END_S)
        assert not thread.is_alive(), "the API does not end"
        wakeups.close()
        self._running = None

    def close(self) -> None:
        self.stop()
        self.database.close()

    # -- what is there

    def loadbalancer(self, project_id: str, address: str) -> str:
        """The id of a load balancer of the project that is ONLINE."""
        body = {"vip_subnet_id": initial.SUBNET_ID, "vip_address": address}
        caller = Caller("tester", project_id, is_admin=True)
        key = str(writes.create(self.door, caller, LOADBALANCER, body).document["id"])
        self.settle()
        self.report(key, "ONLINE")
        return key

    def delete(self, key: str) -> None:
        writes.delete(self.door, Caller("tester", None, is_admin=True), LOADBALANCER, key)
        self.settle()

    def report(self, key: str, status: str) -> None:
        """It is so, as its amphora says."""
        said = {"loadbalancer-status": status, "listeners": {}}
        Observer(self.database).update_health({"loadbalancers": {key: said}})

    def port_of(self, loadbalancer_id: str) -> str:
        """The id of its VIP's port."""
        return str(self.found(PORT, device_id=loadbalancer_id)["id"])

    def free_port(self, project_id: str, address: str) -> str:
        """The id of a port that nothing uses."""
        body = {"subnet_id": initial.SUBNET_ID, "ip_address": address}
        return str(writes.create(self.door, Caller("tester", project_id, is_admin=True), PORT, body).document["id"])

    def found(self, kind: Any, **wanted: Any) -> dict[str, Any]:
        with self.database.read() as tx:
            (document,) = rows.find(tx, kind, **wanted)
        return dict(document)

    def settle(self) -> None:
        """All that was asked for is in effect."""
        for _ in range(100):
            claim = work.claim(self.database, "test")
            if claim is None:
                return
            attend(self.door, Attempt(claim))
        raise AssertionError("the work does not end")
