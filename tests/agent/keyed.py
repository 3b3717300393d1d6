# SPDX-License-Identifier: Apache-2.0
"""Configurations with keys, as a controller sends them, and what clients are shown of them."""

import asyncio
import contextlib
import hashlib
import os
import ssl
from dataclasses import replace

from cryptography import x509

from caryatid.wire.agent import Applied, Secrets, Wanting

TLS_PORT = 18443
NAME = "0123456789abcdef0123456789abcdef.pem"
CA, CRL = "ca.pem", "crl.pem"
ONE, TWO = "one.example.org", "two.example.org"


def digest(content):
    return hashlib.sha256(content.encode()).hexdigest()


def secured(plan, contents, words=f"crt @KEYS@/{NAME}"):
    """The plan's configuration with a port that speaks TLS. `contents`: what its names stand for."""
    extra = "\n    ".join(filter(None, [plan.extra, f"bind {plan.address}:{TLS_PORT} ssl {words}"]))
    configuration = replace(plan, extra=extra).render()
    keys = {name: digest(content) for name, content in contents.items()}
    covered = digest("".join([configuration.hash, *sorted(keys.values())]))
    return configuration.model_copy(update={"keys": keys, "hash": covered})


def secrets(configuration, *contents):
    numbers = {name: getattr(configuration, name) for name in ("amphora_id", "loadbalancer_id", "generation", "fence")}
    return Secrets(**numbers, contents={digest(content): content for content in contents})


async def put(agent, configuration, contents):
    """As a controller does it."""
    outcome = await agent.put_configuration(configuration)
    if isinstance(outcome, Wanting):
        wanted = [content for content in contents.values() if digest(content) in outcome.wanting]
        assert await agent.put_secrets(secrets(configuration, *wanted)) is None
        outcome = await agent.put_configuration(configuration)
    assert isinstance(outcome, Applied), outcome
    return outcome.how


async def connect(plan, client=None):
    """A connection over TLS; `client`: file of the certificate that is shown."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if client:
        context.load_cert_chain(client)
    async with asyncio.timeout(3):
        return await asyncio.open_connection(plan.address, TLS_PORT, ssl=context, server_hostname="x")


async def close(connection):
    connection[1].close()
    with contextlib.suppress(OSError):
        await connection[1].wait_closed()


async def ask(connection):
    """Status of one more request on a connection; 0: it is broken."""
    reader, writer = connection
    try:
        async with asyncio.timeout(3):
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]))
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        return 0
    return int(head.split()[1])


async def shown(plan):
    """The certificate that a new client is shown."""
    connection = await connect(plan)
    der = connection[1].get_extra_info("ssl_object").getpeercert(binary_form=True)
    await close(connection)
    return x509.load_der_x509_certificate(der)


def first(bundle):
    return x509.load_pem_x509_certificate(bundle.pem.encode())


def held(amphora):
    """Digests of all contents in the amphora's directory."""
    return {path.name for path in amphora.files.keys.contents.iterdir()}


def make_old(amphora):
    """What is here has been here for long."""
    for path in amphora.files.keys.contents.iterdir():
        os.utime(path, (1, 1))


async def serves(plan, bundle):
    """Whether a new client is shown this certificate."""
    try:
        return await shown(plan) == first(bundle)
    except OSError:
        return False
