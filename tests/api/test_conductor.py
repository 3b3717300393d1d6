# SPDX-License-Identifier: Apache-2.0
"""The door for hosts, over real TLS: who gets in, and for whom they may speak."""

import asyncio
import shutil
from contextlib import asynccontextmanager

import httpx2
import pytest

from caryatid.api.conductor import create_app
from caryatid.config import Settings
from caryatid.control import authority
from caryatid.control.credentials import Credentials
from caryatid.model import HOST
from caryatid.plan import certificates
from caryatid.store import hosts, rows
from caryatid.store.database import Database
from caryatid.wire.conductor import (
    CONDUCTOR_NAME,
    ConductorClient,
    ConductorRefused,
    EnrolmentToken,
    HostFacts,
)
from caryatid.wire.enrolment import enrol
from caryatid.wire.tls import client_context, listening_socket, server

FACTS = HostFacts(
    name="h1",
    agent_url="https://127.0.0.1:7777",
    capacity=10,
    bindable_from=1024,
    agent_version="0.1.0",
    haproxy_version="2.6.12",
)


@pytest.fixture
def registry(tmp_path, sqlite):
    shutil.copy(sqlite, tmp_path / "caryatid.db")
    database = Database(f"sqlite:///{tmp_path}/caryatid.db")
    yield authority.open_registry(database, Settings(state_dir=tmp_path))
    database.close()


@asynccontextmanager
async def conducted(registry):
    """The conductor's URL, while it is served."""
    context = Credentials(registry, "controller-test").server()
    listener = listening_socket("127.0.0.1", 0)
    serving = server(create_app(registry), context)
    task = asyncio.create_task(serving.serve(sockets=[listener]))
    try:
        yield f"https://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        serving.should_exit = True
        await task
        listener.close()


def token_for(registry, url):
    return EnrolmentToken(**{**authority.new_token(registry).model_dump(), "url": url})


def request_of(key):
    return certificates.request(key).decode()


async def enrolled(registry, url, facts=FACTS):
    key = certificates.new_key()
    answer = await enrol(token_for(registry, url), request_of(key), facts)
    context = client_context(answer.ca_pem, answer.certificate_pem.encode() + key)
    return answer, ConductorClient(url, context)


def test_a_host_enrols_with_a_token_and_then_speaks_for_itself(registry):
    async def story():
        async with conducted(registry) as url:
            answer, client = await enrolled(registry, url)
            moved = FACTS.model_copy(update={"agent_url": "https://127.0.0.1:8888"})
            refreshed = await client.refresh(answer.host_id, moved)
            renewed = await client.renew(answer.host_id, request_of(certificates.new_key()))
            await client.close()
            return answer, refreshed, renewed

    answer, refreshed, renewed = asyncio.run(story())
    with registry.database.read() as tx:
        host = rows.get(tx, HOST, answer.host_id)
    assert (host["name"], host["agent_url"], host["bindable_from"]) == ("h1", "https://127.0.0.1:8888", 1024)
    assert refreshed.health_addresses == answer.health_addresses == [registry.settings.health_listen]
    assert renewed.certificate_pem != answer.certificate_pem


def test_a_token_lets_one_host_in_once(registry):
    async def story():
        async with conducted(registry) as url:
            token = token_for(registry, url)
            await enrol(token, request_of(certificates.new_key()), FACTS)
            with pytest.raises(ConductorRefused, match="401"):
                await enrol(token, request_of(certificates.new_key()), FACTS)

    asyncio.run(story())
    with registry.database.read() as tx:
        assert rows.count(tx, HOST) == 1


def test_a_wrong_secret_lets_nobody_in_and_is_not_repeated(registry, capsys):
    async def story():
        async with conducted(registry) as url:
            token = token_for(registry, url)
            wrong = token.model_copy(update={"secret": "A" * 43})
            with pytest.raises(ConductorRefused) as refused:
                await enrol(wrong, request_of(certificates.new_key()), FACTS)
            return str(refused.value)

    said = asyncio.run(story())
    assert "A" * 43 not in said + "".join(capsys.readouterr())
    with registry.database.read() as tx:
        assert rows.count(tx, HOST) == 0


def test_a_host_does_not_speak_for_another_nor_does_a_stranger(registry):
    async def story():
        async with conducted(registry) as url:
            _, client = await enrolled(registry, url)
            other, other_client = await enrolled(registry, url)
            refused = []
            for act in (client.refresh(other.host_id, FACTS), client.renew(other.host_id, "x")):
                with pytest.raises(ConductorRefused, match="403"):
                    refused.append(await act)
            await client.close()
            await other_client.close()
            stranger = client_context(authority.trust_of(registry).bundle)
            async with httpx2.AsyncClient(verify=stranger, base_url=url) as http:
                answer = await http.put(
                    f"/1/hosts/{other.host_id}",
                    content=FACTS.model_dump_json(),
                    extensions={"sni_hostname": CONDUCTOR_NAME},
                )
            return answer.status_code

    assert asyncio.run(story()) == 403


def test_a_revoked_host_is_refused_at_once(registry):
    async def story():
        async with conducted(registry) as url:
            answer, client = await enrolled(registry, url)
            with registry.database.transaction() as tx:
                hosts.revoke(tx, answer.host_id)
            with pytest.raises(ConductorRefused, match="404"):
                await client.refresh(answer.host_id, FACTS)
            await client.close()

    asyncio.run(story())


@pytest.mark.parametrize(
    ("content", "status"),
    [(b"", 400), (b"{", 400), (b'{"token_id": "x"}', 400), (b" " * 70_000, 413)],
)
def test_a_body_that_is_no_enrolment_is_refused_with_a_reason(registry, content, status):
    async def story():
        transport = httpx2.ASGITransport(create_app(registry))
        async with httpx2.AsyncClient(transport=transport, base_url="https://c") as http:
            answer = await http.post("/1/enrolments", content=content)
            assert (await http.get("/1/ca")).text == authority.trust_of(registry).bundle
            return answer

    answer = asyncio.run(story())
    assert answer.status_code == status
    assert answer.json().keys() == {"reason"}
