# SPDX-License-Identifier: Apache-2.0
"""Jobs: receipts for accepted changes, what was done for them, and waiting until they end."""

import asyncio
import math
from typing import Any

from starlette.responses import Response

from caryatid.errors import Fault, NotFound, Refused
from caryatid.model import JOB
from caryatid.model.policy import Caller, require
from caryatid.store import jobs
from caryatid.store.database import Database

from .call import Call, answer
from .news import News
from .octavia.compat import Document, pick, shower
from .octavia.lists import Page
from .resources import FIELDS, READING, Documents, Resource, verbs
from .routing import Operation, Parameter

VERSION = "/v1"
CHANNEL = "jobs"
WAIT_MAX_S = 60
WAITERS_MAX = 500
WAIT = Parameter(
    "wait",
    f"Seconds to wait for its end, {WAIT_MAX_S} at most; the answer comes then, or as it is after that time.",
    {"type": "number", "minimum": 0},
)


class Jobs(Resource):
    """Jobs are no rows of a kind: their state is read off the generations of their root."""

    def __init__(self, news: News) -> None:
        super().__init__(JOB)
        self.news = news
        self.waiters = 0
        self.show_listed = shower(JOB, without=("log",))

    async def get(self, call: Call) -> Response:
        options = call.options("wait", several="fields")
        wait_s = _seconds(options.get("wait", "0"))
        key = call.path["id"]
        document = await self._read(call, key)
        if wait_s and document["ended_at"] is None and self.waiters < WAITERS_MAX:
            document = await self._ended(call, key, wait_s)
        return answer(200, {JOB.wrapper: pick(self.show(document), call.words("fields"))})

    def document(self, database: Database, caller: Caller, key: str, parent_id: str | None) -> dict[str, Any]:  # noqa: ARG002
        with database.read() as tx:
            document = jobs.get(tx, key)
        if document is None:
            raise NotFound(JOB.title, key)
        require(caller, self._get_one, document["project_id"])
        return _plain(document)

    def _page(self, database: Database, caller: Caller, page: Page) -> Documents:
        require(caller, self._get_all, page.query.project_id)
        with database.read() as tx:
            return [_plain(document) for document in jobs.page(tx, page.query)]

    async def _read(self, call: Call, key: str) -> dict[str, Any]:
        return await call.read(self.document, call.door.database, call.caller, key, None)

    async def _ended(self, call: Call, key: str, wait_s: float) -> dict[str, Any]:
        """The job once it has ended, or as it is after `wait_s`. Holds no thread and no connection meanwhile."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait_s
        self.waiters += 1
        try:
            while True:
                number = self.news.number(CHANNEL)
                document = await self._read(call, key)
                left_s = deadline - loop.time()
                if document["ended_at"] is not None or left_s <= 0 or self.news.closing:
                    return document
                await self.news.after(CHANNEL, number, left_s)
        finally:
            self.waiters -= 1


def _plain(document: Document) -> dict[str, Any]:
    """The same under names that are no more than text, which JSON needs."""
    return {name: document[name] for name in JOB.attributes}


def operations(news: News) -> list[Operation]:
    many, one = verbs(Jobs(news), VERSION, "list get")
    return [many, Operation(**{**vars(one), "query": (WAIT, FIELDS), "errors": READING})]


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not seconds >= 0:
        why = f"Value: '{text[:200]}'. Value should be a number"
        raise Refused([Fault(f"Invalid input for field/attribute wait. {why}", "wait")])
    return min(seconds, WAIT_MAX_S)
