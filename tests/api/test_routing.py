# SPDX-License-Identifier: Apache-2.0
"""What is advised against says so: in its answers, and in the document."""

import asyncio
from datetime import date

import httpx2

from caryatid.api import auth
from caryatid.api.app import Entry
from caryatid.api.call import answer
from caryatid.api.routing import Deprecated, Operation
from tests.api.conftest import LBAAS

OLDER = f"{LBAAS}/loadbalancers/{{id}}/statuses"


async def handler(_call):
    return answer(200, {})


def test_a_day_at_which_it_may_end_is_told_as_well(api):
    ending = Deprecated(date(2026, 11, 21), "Use the other.", sunset=date(2027, 11, 21))
    operation = Operation("GET", "/older", handler, "Older", "Test", open=True, deprecated=ending)
    entry = Entry(api.door, [operation], auth.Gate(api.door, api.wakeups))
    client = httpx2.AsyncClient(transport=httpx2.ASGITransport(entry), base_url="http://127.0.0.1")
    told = asyncio.run(client.get("/older")).headers
    assert told["deprecation"] == "@1795219200"
    assert told["sunset"] == "Sun, 21 Nov 2027 00:00:00 GMT"


def test_refusals_of_it_say_so_too(api):
    refused = api.get(OLDER.format(id="nowhere"))
    assert refused.status_code == 404
    assert refused.headers["deprecation"] == "@1795219200"
    assert "sunset" not in refused.headers
    assert "deprecation" not in api.get(OLDER.removesuffix("es").format(id="nowhere")).headers


def test_the_document_says_what_is_advised_against_and_what_is_better(api):
    document = api.get("/openapi.json").json()
    older = document["paths"][OLDER]["get"]
    assert (older["deprecated"], "/status" in older["description"]) == (True, True)
    assert "deprecated" not in document["paths"][OLDER.removesuffix("es")]["get"]
    assert document["components"]["schemas"]["Quota"]["properties"]["load_balancer"]["deprecated"]
