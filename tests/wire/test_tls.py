# SPDX-License-Identifier: Apache-2.0
"""Certificates and authorities change under a server that goes on."""

import asyncio
import ssl
from datetime import UTC, datetime, timedelta

from caryatid.plan import certificates
from caryatid.plan.certificates import Identity
from caryatid.wire.tls import client_context, following, renewal_due, server_context

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def credentials(authority, role, name):
    key = certificates.new_key()
    csr = certificates.request(key)
    return certificates.sign(authority, csr, Identity(role, name), datetime.now(UTC), 30) + key


def ca(*authorities):
    return "".join(one.certificate_pem.decode() for one in authorities)


async def answered(port, context):
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="h1")
        said = await reader.read()
        writer.close()
    except (ssl.SSLError, ConnectionError):
        return False
    return said == b"hello"


def test_each_handshake_is_done_with_the_authorities_that_count_then():
    old, new = (certificates.new_authority("Caryatid", datetime.now(UTC)) for _ in range(2))
    current = server_context(ca(old), credentials(old, "host", "h1"))
    knows_old = client_context(ca(old, new), credentials(old, "controller", "c1"))
    knows_new = client_context(ca(old, new), credentials(new, "controller", "c1"))
    stranger = client_context(ca(old, new))

    async def hello(_reader, writer):
        writer.write(b"hello")
        await writer.drain()
        writer.close()

    async def whole():
        nonlocal current
        seen = []
        serving = await asyncio.start_server(hello, "127.0.0.1", 0, ssl=following(lambda: current))
        port = serving.sockets[0].getsockname()[1]
        for trusted, issuer in (((old,), old), ((old, new), old), ((old, new), new), ((new,), new)):
            current = server_context(ca(*trusted), credentials(issuer, "host", "h1"))
            seen.append([await answered(port, client) for client in (knows_old, knows_new, stranger)])
        serving.close()
        return seen

    assert asyncio.run(whole()) == [
        [True, False, False],
        [True, True, False],
        [True, True, False],
        [False, True, False],
    ]


def test_renewal_is_due_between_half_and_a_third_of_the_life_and_not_for_all_at_once():
    authority = certificates.new_authority("Caryatid", NOW)
    csr = certificates.request(certificates.new_key())
    fleet = [certificates.sign(authority, csr, Identity("host", "h1"), NOW, 30) for _ in range(60)]
    due = [sum(renewal_due(one, NOW + timedelta(days=day)) for one in fleet) for day in range(31)]
    assert due[14] == 0
    assert due[21] == len(fleet)
    assert len(set(due[15:21])) > 3
