# SPDX-License-Identifier: Apache-2.0
"""What the controller's client makes of agents that are away, silent, newer or wrong."""

import asyncio
import contextlib
import time
from datetime import UTC, datetime

import orjson
import pytest

from caryatid.plan import certificates
from caryatid.plan.certificates import Identity
from caryatid.wire.agent import (
    AgentClient,
    AgentError,
    AgentTimeout,
    AgentUnreachable,
    AgentWanting,
    Configuration,
    Secrets,
    Server,
)
from caryatid.wire.tls import client_context, server_context

HOST = "h1"


@pytest.fixture(scope="module")
def authority():
    return certificates.new_authority("test", datetime.now(UTC))


def credentials(authority, role, name):
    key = certificates.new_key()
    return certificates.sign(authority, certificates.request(key), Identity(role, name), datetime.now(UTC), 1) + key


@contextlib.asynccontextmanager
async def agent(authority, *answers, hang=False):
    """A server that gives these raw answers, one a request and connection; yields a client of it."""
    ca = authority.certificate_pem.decode()
    left = list(answers)
    served = []
    done = asyncio.Event()

    async def serve(reader, writer):
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            served.append(await reader.readuntil(b"\r\n\r\n"))
            if hang:
                await done.wait()
            elif left:
                writer.write(left.pop(0))
                await writer.drain()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    context = server_context(ca, credentials(authority, "host", HOST))
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    client = AgentClient(url, HOST, client_context(ca, credentials(authority, "controller", "c1")), read_timeout_s=0.3)
    client.served = served
    try:
        yield client
    finally:
        client.close()
        done.set()
        server.close()
        await asyncio.sleep(0.05)


def answer(status, body):
    content = orjson.dumps(body)
    return b"HTTP/1.1 %d X\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (status, len(content), content)


def info(**more):
    known = {"version": 1, "host_id": HOST, "agent_version": "9", "haproxy_version": "2.6", "bindable_from": 1}
    return {**known, "boot_id": 1, "amphorae": 0, **more}


def test_an_agent_that_does_not_answer_is_a_timeout(authority):
    async def whole():
        async with agent(authority, hang=True) as client:
            begin = time.monotonic()
            with pytest.raises(AgentTimeout):
                await asyncio.to_thread(client.info)
            assert time.monotonic() - begin < 2

    asyncio.run(whole())


def test_an_agent_that_is_away_is_unreachable(authority):
    async def whole():
        context = client_context(authority.certificate_pem.decode(), credentials(authority, "controller", "c1"))
        client = AgentClient("https://127.0.0.1:1", HOST, context)
        with pytest.raises(AgentUnreachable):
            await asyncio.to_thread(client.info)
        client.close()

    asyncio.run(whole())


def test_a_broken_connection_is_tried_once_more(authority):
    async def whole():
        async with agent(authority, b"", answer(200, info())) as client:
            assert (await asyncio.to_thread(client.info)).host_id == HOST
            assert len(client.served) == 2
        async with agent(authority, b"", b"", b"") as client:
            with pytest.raises(AgentUnreachable):
                await asyncio.to_thread(client.info)
            assert len(client.served) == 2

    asyncio.run(whole())


def test_what_a_newer_agent_adds_is_ignored_and_what_is_missing_is_an_error(authority):
    async def whole():
        async with agent(authority, answer(200, info(novelty=[1]))) as client:
            assert (await asyncio.to_thread(client.info)).version == 1
        async with agent(authority, answer(200, {"version": 1})) as client:
            with pytest.raises(AgentError, match="understood"):
                await asyncio.to_thread(client.info)
        async with agent(authority, answer(500, {"x": 1})) as client:
            with pytest.raises(AgentError, match="500"):
                await asyncio.to_thread(client.info)

    asyncio.run(whole())


def test_five_thousand_servers_arrive_as_they_were_sent():
    backend = "a" * 73
    servers = [Server(backend, f"{number:036}", "10.0.0.1", 80, 1, True, "check inter 5s") for number in range(5000)]
    configuration = Configuration(
        amphora_id="a",
        loadbalancer_id="l",
        generation=1,
        fence=1,
        text="x" * 750_000,
        servers=servers,
        hash="h",
        base_hash="b",
    )
    content = configuration.__pydantic_serializer__.to_json(configuration)
    assert Configuration.model_validate_json(content) == configuration


def test_contents_that_an_agent_lacks_are_named(authority):
    async def scenario():
        numbers = {"generation": 1, "fence": 1, "hash": "h", "base_hash": "b"}
        configuration = Configuration(amphora_id="a1", loadbalancer_id="lb1", text="", servers=[], **numbers)
        wanting = answer(428, {"wanting": ["a" * 64], "more": "of a newer agent"})
        async with agent(authority, wanting) as client:
            with pytest.raises(AgentWanting) as lack:
                await asyncio.to_thread(client.put_configuration, configuration)
        assert lack.value.wanting == ("a" * 64,)

    asyncio.run(scenario())


def test_no_failure_repeats_what_was_secret(authority):
    secret = "-----BEGIN PRIVATE KEY-----\nMARKED\n"
    secrets = Secrets(amphora_id="a1", loadbalancer_id="lb1", generation=1, fence=1, contents={"a" * 64: secret})

    async def scenario():
        answers = (answer(400, {"reason": "no"}), answer(503, {}), answer(500, "x"), b"nonsense")
        for each in answers:
            async with agent(authority, each) as client:
                with pytest.raises(AgentError) as failure:
                    await asyncio.to_thread(client.put_secrets, secrets)
                assert "MARKED" not in f"{failure.value!r} {secrets!r}"

    asyncio.run(scenario())
