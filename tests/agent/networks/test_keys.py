# SPDX-License-Identifier: Apache-2.0
"""Keys of amphorae in namespaces, whose workers have a user and a root directory of their own."""

import asyncio
import os
import signal
import socket
import ssl
import stat
from functools import partial

from cryptography import x509

from caryatid.agent.settings import in_memory, mapped
from tests.agent.keyed import NAME, TLS_PORT, first, put, secured
from tests.certificates import Authority

VIP = "10.9.0.100"
UID = 2_000_000_001
CLIENT_S = 3.0


def serves(site, bundle):
    """Whether a client on the network is shown this certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with site.machine("client").entered():
        opened = socket.socket()
    with opened:
        opened.settimeout(CLIENT_S)
        try:
            opened.connect((VIP, TLS_PORT))
            with context.wrap_socket(opened) as secure:
                return x509.load_der_x509_certificate(secure.getpeercert(binary_form=True)) == first(bundle)
        except OSError:
            return False


def test_an_amphora_has_its_keys_as_its_own_user_and_reads_them_in_every_way(world, site):
    site.uplinks(world, "default=bridge:nic0")
    plan = site.plan(world, VIP)
    authority = Authority()
    old, new = authority.keypair("old", "one.example"), authority.keypair("new", "one.example")

    async def scenario(agent):
        await agent.put_network(site.plug(plan, site.leg(VIP)))
        ways = ((old, "", "started"), (new, "", "runtime"), (new, "maxconn 500", "reloaded"))
        for number, (bundle, extra, how) in enumerate(ways):
            wanted = secured(plan.changed(generation=5 + number, extra=extra), {NAME: bundle.pem})
            assert await put(agent, wanted, {NAME: bundle.pem}) == how
            assert await asyncio.to_thread(serves, site, bundle)
        amphora = agent.amphorae[plan.amphora_id]
        keys = amphora.files.keys
        found = (keys.contents / new.digest).stat()
        assert in_memory(keys.directory)
        assert not keys.directory.is_relative_to(amphora.files.run)
        assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (UID if mapped(UID) else os.getuid(), 0o600)
        assert keys.directory.stat().st_uid == os.getuid()
        os.kill(amphora.process.pid, signal.SIGKILL)
        await world.eventually(partial(asyncio.to_thread, serves, site, new), 10)
        await agent.delete(plan.amphora_id, 99, 1)
        assert not keys.directory.exists()

    world.run(scenario)
