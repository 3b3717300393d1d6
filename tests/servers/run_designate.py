# SPDX-License-Identifier: Apache-2.0
"""A Designate of its own: `run_designate.py FOLDER PORT MDNS_PORT DNS_PORT`, run by `program("designate")`'s Python.

API, central, worker, mDNS and the producer's task in one process, over a transport in memory. Its pool has one name
server, which is there already, a secondary of mDNS. It believes whoever asks.
"""

import os
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

from serving import serve

QUIET_S = 0.1
SETTINGS = """
[DEFAULT]
use_stderr = true
state_path = {folder}
transport_url = fake://
network_api = fake
default_log_levels = designate=ERROR,alembic=WARNING
quota_zone_recordsets = 100000
quota_zone_records = 100000
[oslo_messaging_notifications]
driver = noop
[oslo_concurrency]
lock_path = {folder}
[heartbeat_emitter]
emitter_type = noop
[storage:sqlalchemy]
sqlite_synchronous = false
connection = sqlite:///{folder}/designate.db?timeout=60
[service:api]
auth_strategy = noauth
enable_api_v2 = true
[service:central]
managed_resource_tenant_id = 11111111111111111111111111111111
[service:mdns]
listen = 127.0.0.1:{mdns_port}
[service:worker]
poll_delay = 0
poll_retry_interval = 0
poll_max_retries = 3000
poll_timeout = 5
threads = 8
"""
"""It polls without a pause, where a real one pauses for seconds."""
PASTE = """
[composite:osapi_dns]
use = egg:Paste#urlmap
/v2: v2
[pipeline:v2]
pipeline = request_id faultwrapper validation noauthcontext normalizeuri app
[app:app]
paste.app_factory = designate.api.v2:factory
[filter:request_id]
paste.filter_factory = oslo_middleware:RequestId.factory
[filter:noauthcontext]
paste.filter_factory = designate.api.middleware:NoAuthContextMiddleware.factory
[filter:normalizeuri]
paste.filter_factory = designate.api.middleware:NormalizeURIMiddleware.factory
[filter:faultwrapper]
paste.filter_factory = designate.api.middleware:FaultWrapperMiddleware.factory
[filter:validation]
paste.filter_factory = designate.api.middleware:APIv2ValidationErrorMiddleware.factory
"""


def configure(folder: Path, mdns_port: int) -> None:
    (folder / "designate.conf").write_text(SETTINGS.format(folder=folder, mdns_port=mdns_port))
    (folder / "api-paste.ini").write_text(PASTE)
    os.environ["OS_DESIGNATE_CONFIG_DIR"] = str(folder)


def one_after_the_other() -> None:
    """SQLite lets no transaction write that began with reading while another one wrote: so each begins with writing."""
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    @event.listens_for(Engine, "before_cursor_execute", retval=True)
    def begin(_connection, _cursor, statement, parameters, *_):
        return "BEGIN IMMEDIATE" if statement == "BEGIN" else statement, parameters


def application(mdns_port: int, dns_port: int):
    from oslo_service.backend import BackendType, init_backend

    init_backend(BackendType.THREADING)
    one_after_the_other()
    from designate.api.wsgi import init_application

    made = Writes(init_application())
    from designate.manage.database import DatabaseCommands

    DatabaseCommands().sync(stringio_buffer=sys.stderr)
    from designate.central import service as central
    from designate.mdns import service as mdns
    from designate.worker import service as worker

    for service in (central, worker, mdns):
        service.Service().start()
    pool(mdns_port, dns_port)
    threading.Thread(target=produce, args=(made,), daemon=True).start()
    return made


def pool(mdns_port: int, dns_port: int) -> None:
    """The default one: the server is told of changes (NOTIFY), and knows its zones already."""
    from designate.central.rpcapi import CentralAPI
    from designate.conf import CONF
    from designate.context import DesignateContext
    from designate.objects.adapters import DesignateAdapter

    ours, asked = [{"host": "127.0.0.1", "port": port} for port in (mdns_port, dns_port)]
    wanted = {
        "name": "default",
        "ns_records": [{"hostname": "ns1.gslb.example.", "priority": 1}],
        "nameservers": [asked],
        "targets": [{"type": "fake", "masters": [ours], "options": {"host": "127.0.0.1", "port": str(dns_port)}}],
    }
    context = DesignateContext.get_admin_context()
    central = CentralAPI()
    default = central.get_pool(context, CONF["service:central"].default_pool_id)
    central.update_pool(context, DesignateAdapter.parse("YAML", wanted, default))


def serials():
    """The time, and never the same twice."""
    last = 0
    while True:
        last = max(last + 1, int(time.time()))
        yield last


class Writes:
    """The application, and when somebody last changed something."""

    def __init__(self, application) -> None:
        self.application = application
        self.under_way: set[int] = set()
        self.at = time.monotonic()

    def __call__(self, environ, start_response):
        if environ["REQUEST_METHOD"] == "GET":
            return self.application(environ, start_response)
        self.under_way.add(id(environ))
        try:
            return self.application(environ, start_response)
        finally:
            self.at = time.monotonic()
            self.under_way.discard(id(environ))

    @property
    def quiet(self) -> bool:
        """For a moment."""
        return not self.under_way and time.monotonic() > self.at + QUIET_S


def produce(writes: Writes) -> None:
    """The one task of the producer that changes wait for. A real one comes every 5 s and makes the time the serial.
    Here it comes as soon as nobody changes anything for a moment (what is changed while the worker polls is called
    ACTIVE too early), no serial comes twice, and the worker is told the new one, where a real one relies on a pause."""
    from designate.central.rpcapi import CentralAPI
    from designate.context import DesignateContext
    from designate.storage import sqlalchemy as storage
    from designate.worker.rpcapi import WorkerAPI

    storage.timeutils = SimpleNamespace(utcnow_ts=serials().__next__)
    context, central, worker = DesignateContext.get_admin_context(), CentralAPI(), WorkerAPI()
    context.all_tenants = True
    while True:
        threading.Event().wait(0.05)
        if not writes.quiet:
            continue
        for zone in central.find_zones(context, {"increment_serial": True}):
            zone.serial = central.increment_zone_serial(context, zone)
            if zone.action == "NONE":
                zone.action, zone.status = "UPDATE", "PENDING"
            worker.update_zone(context, zone)


if __name__ == "__main__":
    folder, ports = Path(sys.argv[1]), list(map(int, sys.argv[2:5]))
    sys.argv = sys.argv[:1]  # the configuration's library would read them
    configure(folder, ports[1])
    serve(application(*ports[1:]), ports[0])
