# SPDX-License-Identifier: Apache-2.0
"""Another installation of ours, whose users a real Keystone knows, is asked as an Octavia and as a Neutron; and so is
whatever else may answer there."""

import contextlib
import json
import socket
import threading
from contextlib import closing
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from bench.installation import Installation
from caryatid.config import Settings
from caryatid.drivers.elsewhere import Elsewhere, Missing, Silent, There
from caryatid.errors import CaryatidError
from caryatid.services import wiring
from caryatid.store.database import Database
from tests.cloud import PATIENCE_S, SERVICE, Cloud

NOWHERE = "99999999-9999-4999-8999-999999999999"
KEY = "0c3e5a0c-9b7f-4f6e-8a2c-4d6e8f0a1b2c"
WATCHER = "watcher"
system = pytest.mark.system


@pytest.fixture(scope="module")
def far(cloud: Cloud, tmp_path_factory):
    """It lets in whom the Keystone knows; its client is an administrator."""
    cloud.user("ella", "abroad", "member")
    cloud.user(WATCHER, "watching", "load-balancer_global_observer")
    password = tmp_path_factory.mktemp("password") / "password"
    password.write_text(SERVICE)
    environment = {
        "CARYATID_IDENTITY_DRIVER": "keystone",
        "CARYATID_KEYSTONE_URL": cloud.url,
        "CARYATID_KEYSTONE_PASSWORD_FILE": str(password),
        "CARYATID_KEYSTONE_CACHE_S": "1",
        "CARYATID_KEYSTONE_TIMEOUT_S": str(PATIENCE_S),
    }
    with Installation(noop=True, environment=environment) as made:
        made.api.headers["X-Auth-Token"] = cloud.token("admin", "admin")
        yield made


@pytest.fixture(scope="module")
def watcher(cloud: Cloud):
    """Our user there, who may look at what belongs to any project."""
    return replace(cloud.us, user=WATCHER, project="watching", password=WATCHER)


@pytest.fixture(scope="module")
def abroad(cloud: Cloud):
    return cloud.find("project", "abroad")


@pytest.fixture(scope="module")
def lb(far, abroad):
    """A load balancer of project `abroad`."""
    body = {"name": "far", "vip_subnet_id": far.subnet_id(), "project_id": abroad}
    return far.active(f"loadbalancers/{far.post('loadbalancers', {'loadbalancer': body})['id']}")


@system
def test_a_load_balancer_of_the_project_is_where_and_how_its_api_says(far, watcher, abroad, lb):
    with closing(Elsewhere(watcher, timeout_s=PATIENCE_S)) as elsewhere:
        for url in (far.url, f"{far.url}/", f"{far.url}/v2", f"{far.url}/v2.0/"):
            found = elsewhere.loadbalancer(url, lb["id"], abroad)
            assert isinstance(found, There), found
            assert found.addresses == (lb["vip_address"],)
            assert (found.word == "UP") == (found.reason == "")


@system
def test_a_port_of_the_project_is_where_and_how_its_api_says(far, watcher, abroad, lb):
    with closing(Elsewhere(watcher, timeout_s=PATIENCE_S)) as elsewhere:
        for url in (f"{far.url}/network", f"{far.url}/network/v2.0"):
            assert elsewhere.port(url, lb["vip_port_id"], abroad) == There((lb["vip_address"],), "UP")


@system
def test_what_is_another_projects_is_not_there(far, watcher, lb, cloud):
    with closing(Elsewhere(watcher, timeout_s=PATIENCE_S)) as elsewhere:
        for project_id in (cloud.find("project", "admin"), "", "abroad"):
            assert isinstance(elsewhere.loadbalancer(far.url, lb["id"], project_id), Missing)
            assert isinstance(elsewhere.port(f"{far.url}/network", lb["vip_port_id"], project_id), Missing)


@system
def test_what_nobody_has_is_not_there(far, watcher, abroad):
    with closing(Elsewhere(watcher, timeout_s=PATIENCE_S)) as elsewhere:
        assert elsewhere.loadbalancer(far.url, NOWHERE, abroad) == Missing(f"Octavia knows no load balancer {NOWHERE}")
        assert elsewhere.port(f"{far.url}/network", NOWHERE, abroad) == Missing(f"Neutron knows no port {NOWHERE}")


@system
def test_who_may_not_look_learns_nothing_and_says_so(far, cloud, abroad, lb):
    for keystone, why in ((None, "who shows no token"), (replace(cloud.us, user="ella", project="abroad"), "")):
        known = keystone and replace(keystone, password="wrong")
        with closing(Elsewhere(known, timeout_s=PATIENCE_S)) as elsewhere:
            found = elsewhere.loadbalancer(far.url, lb["id"], abroad)
            assert isinstance(found, Silent)
            assert (why or "by this password") in found.why


@system
def test_a_token_that_is_not_believed_any_more_is_replaced(far, watcher, cloud, abroad, lb):
    with closing(Elsewhere(watcher, timeout_s=PATIENCE_S)) as elsewhere:
        assert isinstance(elsewhere.loadbalancer(far.url, lb["id"], abroad), There)
        cloud.revoke(elsewhere._tokens.valid())
        assert isinstance(elsewhere.loadbalancer(far.url, lb["id"], abroad), There)


@system
def test_a_token_of_the_settings_is_shown_instead_and_may_be_renewed(far, cloud, abroad, lb, tmp_path):
    path = tmp_path / "token"
    with closing(Elsewhere(cloud.us, path, timeout_s=PATIENCE_S)) as elsewhere:
        for content, why in ((None, "cannot be read"), (b"a\nb", "is no token"), (b"\xff", "cannot be read")):
            if content is not None:
                path.write_bytes(content)
            found = elsewhere.loadbalancer(far.url, lb["id"], abroad)
            assert isinstance(found, Silent)
            assert why in found.why
            assert str(path) in found.why
        path.write_text("nonsense")
        found = elsewhere.loadbalancer(far.url, lb["id"], abroad)
        assert isinstance(found, Silent)
        assert "who has our token" in found.why
        path.write_text(cloud.token("ella", "abroad") + "\n")
        assert isinstance(elsewhere.loadbalancer(far.url, lb["id"], abroad), There)


def test_settings_that_cannot_be_used_are_told_at_the_start(tmp_path):
    chosen = Settings(state_dir=tmp_path, keystone_url="http://127.0.0.1:1", keystone_password_file=tmp_path / "none")
    with closing(Database(chosen.database_url)) as database, pytest.raises(CaryatidError, match="settings of Keystone"):
        wiring.door(chosen, database=database)


def body(envelope, **more):
    known = {
        "loadbalancer": {"vip_address": "192.0.2.7", "operating_status": "ONLINE", "provisioning_status": "ACTIVE"},
        "port": {"fixed_ips": [{"ip_address": "192.0.2.7"}], "status": "ACTIVE", "admin_state_up": True},
    }[envelope]
    return json.dumps({envelope: {"id": KEY, "project_id": "p1", **known, **more}}).encode()


def lb_body(**more):
    return 200, body("loadbalancer", **more)


def port_body(**more):
    return 200, body("port", **more)


LOADBALANCERS = {
    "well": (lb_body(), There(("192.0.2.7",), "UP")),
    "degraded": (lb_body(operating_status="DEGRADED"), There(("192.0.2.7",), "UP")),
    "busy": (lb_body(provisioning_status="PENDING_UPDATE"), There(("192.0.2.7",), "UP")),
    "unchanged": (lb_body(provisioning_status="ERROR"), There(("192.0.2.7",), "UP")),
    "several": (
        lb_body(additional_vips=[{"ip_address": "2001:DB8::7"}, {"ip_address": "192.0.2.7"}]),
        There(("192.0.2.7", "2001:db8::7"), "UP"),
    ),
    "unplaced": (lb_body(vip_address=None), There((), "UP")),
    "tenant": (lb_body(project_id=None, tenant_id="p1"), There(("192.0.2.7",), "UP")),
    "another's": (lb_body(project_id="p2"), Missing),
    "leaving": (lb_body(provisioning_status="PENDING_DELETE"), "DOWN"),
    "error": (lb_body(operating_status="ERROR"), "DOWN"),
    "offline": (lb_body(operating_status="OFFLINE"), "DOWN"),
    "strange word": (lb_body(operating_status="PURPLE"), "DOWN"),
    "no address": (lb_body(vip_address="www.example.org"), Silent),
    "crowd": (lb_body(additional_vips=[{"ip_address": f"192.0.2.{last}"} for last in range(100)]), Silent),
    "nobody's": (lb_body(project_id=None), Silent),
    "nonsense": ((200, b"<html>"), Silent),
    "list": ((200, b"[]"), Silent),
    "text": ((200, b'{"loadbalancer": "x"}'), Silent),
    "deep": ((200, b"[" * 100_000), Silent),
    "huge": ((200, b"{" + b" " * 300_000 + b"}"), Silent),
    "elsewhere": ((302, b""), Silent),
    "broken": ((500, b"{}"), Silent),
    "crowded": ((429, b"{}"), Silent),
    "forbidden": ((403, b"{}"), Silent),
    "unknown": ((404, b"{}"), Missing),
}
PORTS = {
    "well": (port_body(), There(("192.0.2.7",), "UP")),
    "down": (port_body(status="DOWN"), "DOWN"),
    "error": (port_body(status="ERROR"), "DOWN"),
    "off": (port_body(admin_state_up=False), "DOWN"),
    "being made": (port_body(status="BUILD"), "UNKNOWN"),
    "not bound": (port_body(status="N/A"), "UNKNOWN"),
    "no address": (port_body(fixed_ips=[]), There((), "UP")),
    "both": (
        port_body(fixed_ips=[{"ip_address": "192.0.2.7"}, {"ip_address": "2001:db8::7"}]),
        There(("192.0.2.7", "2001:db8::7"), "UP"),
    ),
    "no list": (port_body(fixed_ips=7), Silent),
}


class Odd(BaseHTTPRequestHandler):
    """Answers as the path begins; `/kept` says what was asked."""

    def do_GET(self):
        kind, name = self.path.split("/")[1:3]
        status, content = {"lb": LOADBALANCERS, "port": PORTS}[kind][name.replace("%20", " ").replace("%27", "'")][0]
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Location", "/lb/well")
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def odd():
    with ThreadingHTTPServer(("127.0.0.1", 0), Odd) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def is_as(found, wanted):
    if isinstance(wanted, str):
        assert isinstance(found, There)
        assert found.reason
        return found.word == wanted
    return isinstance(found, wanted) if isinstance(wanted, type) else found == wanted


@pytest.mark.parametrize("how", LOADBALANCERS)
def test_whatever_an_octavia_answers_is_understood_or_not_known(odd, how):
    with closing(Elsewhere()) as elsewhere:
        found = elsewhere.loadbalancer(f"{odd}/lb/{how}", KEY, "p1")
        assert is_as(found, LOADBALANCERS[how][1]), found


@pytest.mark.parametrize("how", PORTS)
def test_whatever_a_neutron_answers_is_understood_or_not_known(odd, how):
    with closing(Elsewhere()) as elsewhere:
        found = elsewhere.port(f"{odd}/port/{how}", KEY, "p1")
        assert is_as(found, PORTS[how][1]), found


def test_who_does_not_answer_is_not_waited_for_and_nothing_more_is_expected_of_it():
    with socket.create_server(("127.0.0.1", 0)) as hanging, closing(Elsewhere(timeout_s=0.3)) as elsewhere:
        found = elsewhere.loadbalancer(f"http://127.0.0.1:{hanging.getsockname()[1]}", KEY, "p1")
        assert found == Silent("127.0.0.1 cannot be asked: no answer in time.", whole=True)
