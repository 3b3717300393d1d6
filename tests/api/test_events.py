# SPDX-License-Identifier: Apache-2.0
"""Events over HTTP: lists, waiting, streams; who may see which."""

import asyncio
import dataclasses
import json
from contextlib import asynccontextmanager, suppress

import httpx2
import pytest
from sqlalchemy import text

from caryatid.api.app import create_app
from caryatid.api.news import News
from caryatid.api.tail import QUEUE_MAX, Follower, Told
from caryatid.model.event import BEGINNING, Sought
from caryatid.model.policy import Caller, Identified
from caryatid.store import events, wake
from tests.api.conftest import end, open_api, settings

EVENTS = "/v1/events"
WITHIN_S = 20
BY = Caller("u1", "p1", request_id="req-1")


def append(api, key, project_id="p1", **given):
    with api.door.database.transaction() as tx:
        events.append(tx, "create", "pool", key, by=BY, project_id=project_id, root_id=None, **given)


def listed(api, query="", **kwargs):
    answer = api.get(f"{EVENTS}{query}", **kwargs)
    assert answer.status_code == 200, answer.text
    return answer.json()


def ids(answer):
    return [event["resource_id"] for event in answer["events"]]


def types(answer):
    return [event["type"] for event in answer["events"]]


def now(api):
    return listed(api, "?after=now")["cursor"]


class Readers:
    """Everybody may read in the project that they name."""

    def identify(self, shown):
        return Identified(Caller("r", shown.project_id, frozenset({"reader"})), until=1e12)


@pytest.fixture
def readers(any_api):
    """The same application for people who may only read in their project; one that knows when it shall end."""
    door = dataclasses.replace(any_api.door, identity=Readers())
    news = News(any_api.wakeups)
    any_api.app = create_app(door, any_api.wakeups, news)
    any_api.news = news
    any_api.client = httpx2.AsyncClient(transport=httpx2.ASGITransport(any_api.app), base_url="http://127.0.0.1:9876")
    yield any_api
    any_api.runner.run(any_api.client.aclose())
    any_api.runner.run(end(news))


class Stream:
    """A streamed answer, frame by frame."""

    def __init__(self):
        self.status = 0
        self.ended = asyncio.Event()
        self._chunks = asyncio.Queue()
        self._text = ""

    async def send(self, message):
        if message["type"] == "http.response.start":
            self.status = message["status"]
        else:
            await self._chunks.put(message.get("body", b"").decode())

    async def frame(self):
        """The next event as (id, type, document)."""
        while "\n\n" not in self._text:
            self._text += await asyncio.wait_for(self._chunks.get(), WITHIN_S)
        said, _, self._text = self._text.partition("\n\n")
        found = dict(line.split(": ", 1) for line in said.split("\n"))
        return found.get("id"), found.get("event"), json.loads(found.get("data", "null"))

    async def keys(self, count):
        return [(await self.frame())[2]["resource_id"] for _ in range(count)]


@asynccontextmanager
async def streaming(api, query=b"", **headers):
    """A stream that has begun, behind its first frame."""
    given = {b"accept": b"text/event-stream", **{name.replace("_", "-").encode(): v for name, v in headers.items()}}
    scope = {"type": "http", "method": "GET", "path": EVENTS, "query_string": query, "headers": list(given.items())}
    stream, gone = Stream(), asyncio.Event()
    first = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive():
        if first:
            return first.pop()
        await gone.wait()
        return {"type": "http.disconnect"}

    async def run():
        await api.app({**scope, "scheme": "http", "server": ("127.0.0.1", 1)}, receive, stream.send)
        stream.ended.set()

    task = asyncio.create_task(run())
    stream.began = (await stream.frame())[0]
    yield stream
    gone.set()
    await asyncio.wait_for(task, WITHIN_S)


async def aside(act, *arguments, **named):
    return await asyncio.to_thread(lambda: act(*arguments, **named))


def test_a_change_says_who_asked_and_what_was_there_before(any_api):
    made = any_api.loadbalancer(name="a")
    any_api.settle()
    since = now(any_api)
    change = {"loadbalancer": {"name": "b", "admin_state_up": False}}
    answer = any_api.put(f"/v2/lbaas/loadbalancers/{made['id']}", json=change)
    any_api.settle()
    update, *rest = listed(any_api, f"?after={since}")["events"]
    assert (update["type"], update["resource_id"], update["project_id"]) == (
        "loadbalancer.update", made["id"], made["project_id"],
    )  # fmt: skip
    assert update["detail"] == {"name": "b", "changed": {"name": ["a", "b"], "admin_state_up": [True, False]}}
    assert (update["user_id"], update["request_id"]) == ("noauth", answer.headers["x-openstack-request-id"])
    assert update["job_id"] == answer.headers["caryatid-job"]
    end = next(event for event in rest if event["type"] == "loadbalancer.update.end")
    assert (end["user_id"], end["job_id"]) == ("system:worker", update["job_id"])


def test_all_that_a_wish_makes_and_takes_along_is_told(any_api):
    since = now(any_api)
    made = any_api.populated()
    created = listed(any_api, f"?after={since}&limit=1000")["events"]
    assert {event["resource_id"] for event in created} >= {*made.values()}
    assert {event["type"].partition(".")[2] for event in created} == {"create"}
    assert len({event["job_id"] for event in created}) == 1
    any_api.settle()
    since = now(any_api)
    any_api.delete(f"/v2/lbaas/loadbalancers/{made['loadbalancers']}?cascade=true")
    gone = listed(any_api, f"?after={since}&limit=1000")
    assert {event["resource_id"] for event in gone["events"]} >= {*made.values()}
    assert {one.partition(".")[2] for one in types(gone)} == {"delete"}


def test_what_changes_with_another_is_told_with_its_own_old_and_new(any_api):
    made = any_api.populated()
    any_api.settle()
    since = now(any_api)
    policy = {"listener_id": made["listeners"], "action": "REJECT", "position": 1}
    any_api.create("/l7policies", "l7policy", **policy)
    found = {event["resource_id"]: event for event in listed(any_api, f"?after={since}")["events"]}
    assert found[made["l7policies"]]["type"] == "l7policy.update"
    assert found[made["l7policies"]]["detail"]["changed"] == {"position": [1, 2]}


def test_a_batch_of_members_says_of_each_what_became_of_it(any_api):
    made = any_api.populated()
    any_api.settle()
    before = {"address": "10.0.0.1", "protocol_port": 80}
    path = f"/v2/lbaas/pools/{made['pools']}/members"
    since = now(any_api)
    any_api.put(path, json={"members": [{**before, "weight": 7}, {"address": "10.0.0.2", "protocol_port": 80}]})
    pool, *members = listed(any_api, f"?after={since}")["events"]
    assert pool["detail"] == {"members": {"created": 1, "changed": 1, "deleted": 0}}
    assert [event["type"] for event in members] == ["member.create", "member.update"]
    assert members[1]["detail"] == {**before, "changed": {"weight": [1, 7]}}
    assert members[1]["resource_id"] == made["members"]


def test_a_payload_is_in_no_event(any_api):
    since = now(any_api)
    body = {"name": "s", "payload": "hush-hush", "payload_content_type": "text/plain"}
    assert any_api.post("/v1/secrets", json=body).status_code == 201
    found = listed(any_api, f"?after={since}")
    assert types(found) == ["secret.create"]
    assert "hush" not in json.dumps(found)


def test_one_goes_on_from_the_cursor_of_an_answer_or_of_an_event(any_api):
    since = now(any_api)
    for number in range(5):
        append(any_api, str(number))
    first = listed(any_api, f"?after={since}&limit=2")
    assert ids(first) == ["0", "1"]
    assert first["cursor"] == first["events"][-1]["id"]
    rest = listed(any_api, f"?after={first['cursor']}")
    assert ids(rest) == ["2", "3", "4"]
    assert listed(any_api, f"?after={rest['cursor']}") == {"events": [], "cursor": rest["cursor"]}
    assert ids(listed(any_api, f"?after={first['events'][0]['id']}&limit=1")) == ["1"]
    assert ids(listed(any_api, "?newest=true&limit=2")) == ["3", "4"]
    assert ids(listed(any_api, f"?newest=true&after={rest['events'][1]['id']}")) == ["4"]
    assert ids(listed(any_api, "?after=0&limit=1000"))[-5:] == ["0", "1", "2", "3", "4"]


def test_the_cursor_of_a_filtered_answer_is_behind_what_was_left_out(any_api):
    append(any_api, "mine")
    append(any_api, "theirs", project_id="p2")
    found = listed(any_api, "?project_id=p1")
    assert ids(found) == ["mine"]
    assert found["cursor"] == now(any_api)


@pytest.mark.parametrize(
    "query",
    ["type=pool.explode", "type=*", "type=.*", "limit=0", "limit=1001", "limit=x", "after=x", "wait=-1", "wait=x",
     "since=yesterday", "until=2026-13-01", "newest=perhaps", "colour=red", "limit=1&limit=2"],
)  # fmt: skip
def test_what_cannot_be_is_refused(any_api, query):
    assert any_api.get(f"{EVENTS}?{query}").status_code == 400


def test_filters_are_of_type_resource_user_and_time(any_api):
    append(any_api, "a", detail={"name": "n"})
    assert ids(listed(any_api, "?type=pool.create,pool.delete&resource_id=a&user_id=u1&resource_type=pool")) == ["a"]
    assert ids(listed(any_api, "?type=pool.*&since=2026-01-01T00:00:00Z&until=2999-01-01")) == ["a"]
    assert ids(listed(any_api, "?type=pool.*&since=2998-12-31T23:00:00-01:00")) == []
    assert ids(listed(any_api, "?type=member.*&resource_id=a")) == []


def test_a_cursor_that_is_not_in_the_log_any_more_is_gone(any_api):
    append(any_api, "a")
    old = now(any_api)
    append(any_api, "b")
    with any_api.door.database.transaction() as tx:
        events.purge(tx, "2999-01-01T00:00:00")
    answer = any_api.get(f"{EVENTS}?after={old}")
    assert answer.status_code == 410
    assert "restored" in answer.json()["faultstring"]
    assert any_api.get(f"{EVENTS}?after={old}", headers={"Accept": "text/event-stream"}).status_code == 410
    assert ids(listed(any_api, "?after=0")) == ["b"]


def test_who_reads_in_a_project_sees_its_events_alone(readers):
    append(readers, "mine")
    append(readers, "theirs", project_id="p2")
    append(readers, "the operator's", project_id=None)
    mine = {"X-Project-Id": "p1"}
    assert ids(listed(readers, headers=mine)) == ["mine"]
    assert ids(listed(readers, "?project_id=p1", headers=mine)) == ["mine"]
    assert readers.get(f"{EVENTS}?project_id=p2", headers=mine).status_code == 403
    assert readers.get(EVENTS).status_code == 403, "of no project"


def test_a_wait_ends_with_the_first_event_that_is_sought(any_api):
    since = now(any_api)

    async def wait():
        waiting = asyncio.create_task(any_api.client.get(f"{EVENTS}?after={since}&wait=20&resource_id=b"))
        await asyncio.sleep(0.05)
        await aside(append, any_api, "a")
        await aside(append, any_api, "b")
        return (await asyncio.wait_for(waiting, WITHIN_S)).json()

    found = any_api.runner.run(wait())
    assert ids(found) == ["b"]
    assert found["cursor"] == found["events"][0]["id"]


def test_a_wait_in_vain_gives_the_place_to_go_on_from(any_api):
    since = now(any_api)

    async def wait():
        waiting = asyncio.create_task(any_api.client.get(f"{EVENTS}?after={since}&wait=1&resource_id=b"))
        await asyncio.sleep(0.05)
        await aside(append, any_api, "a")
        return (await asyncio.wait_for(waiting, WITHIN_S)).json()

    found = any_api.runner.run(wait())
    assert found["events"] == []
    assert found["cursor"] == now(any_api) != since


def test_a_wait_does_not_miss_what_happened_before_it_began(any_api):
    since = now(any_api)
    append(any_api, "a")
    assert ids(listed(any_api, f"?after={since}&wait=20")) == ["a"]


def test_a_stream_tells_what_happens_and_goes_on_where_it_was(any_api):
    async def follow():
        async with streaming(any_api) as stream:
            assert stream.status == 200
            await aside(append, any_api, "a")
            key, name, document = await stream.frame()
            assert (key, name, document["resource_id"]) == (document["id"], "pool.create", "a")
        for number in range(3):
            await aside(append, any_api, f"meanwhile {number}")
        async with streaming(any_api, last_event_id=key.encode()) as stream:
            assert stream.began == key
            await aside(append, any_api, "b")
            assert await stream.keys(4) == ["meanwhile 0", "meanwhile 1", "meanwhile 2", "b"]
        async with streaming(any_api, b"after=" + key.encode()) as stream:
            assert await stream.keys(4) == ["meanwhile 0", "meanwhile 1", "meanwhile 2", "b"]

    any_api.runner.run(follow())


def test_a_stream_tells_each_event_once_while_much_is_written(any_api):
    """Catching up meets what comes; pages are shorter than what there is."""
    since = now(any_api)
    count = 2500

    def write():
        for first in range(0, count, 50):
            with any_api.door.database.transaction() as tx:
                rows = [
                    events.happened("create", "pool", str(number), by=BY, project_id="p1", root_id=None)
                    for number in range(first, first + 50)
                ]
                events.append_all(tx, rows)

    async def follow():
        writing = asyncio.create_task(aside(write))
        await asyncio.sleep(0.1)
        async with streaming(any_api, b"after=" + since.encode()) as stream:
            found = await stream.keys(count)
            await writing
            await aside(append, any_api, "last")
            return found, await stream.keys(1)

    found, last = any_api.runner.run(follow())
    assert found == [str(number) for number in range(count)]
    assert last == ["last"]


def test_a_stream_of_a_project_tells_its_events_alone(readers):
    async def follow():
        async with streaming(readers, x_project_id=b"p1") as stream:
            for project_id in ("p2", None, "p1"):
                await aside(append, readers, f"of {project_id}", project_id)
            return await stream.keys(1)

    assert readers.runner.run(follow()) == ["of p1"]


def test_streams_and_waits_end_when_who_may_see_what_changes(readers):
    async def follow():
        async with streaming(readers, x_project_id=b"p1") as stream:
            with readers.door.database.transaction() as tx:
                wake.notify(tx, "access")
            await asyncio.sleep(0.1)
            await aside(append, readers, "not for them, perhaps")
            await asyncio.wait_for(stream.ended.wait(), WITHIN_S)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(stream.frame(), 0.01)

    readers.runner.run(follow())


def test_streams_and_waits_end_when_the_process_is_about_to(readers):
    async def follow():
        headers = {"X-Project-Id": "p1"}
        async with streaming(readers, x_project_id=b"p1") as stream:
            waiting = asyncio.create_task(readers.client.get(f"{EVENTS}?after=now&wait=60", headers=headers))
            await asyncio.sleep(0.1)
            readers.news.close()
            await asyncio.wait_for(stream.ended.wait(), WITHIN_S)
            answer = await asyncio.wait_for(waiting, WITHIN_S)
            assert (answer.status_code, answer.json()["events"]) == (200, [])

    readers.runner.run(follow())


def test_no_more_waits_for_one_that_is_slow_than_a_queue_holds_and_it_reads_the_rest():
    row = dict.fromkeys(("kind", "action", "project_id", "resource_id"), "x") | {"xid": 0, "at": "now"}

    async def fall_behind():
        follower = Follower(Sought(), BEGINNING)
        for number in range(1, QUEUE_MAX + 4):
            follower.tell(Told({**row, "seq": number}))
        return follower.start.seq, [one.cursor.seq for one in follower.take()]

    assert asyncio.run(fall_behind()) == (QUEUE_MAX + 1, [QUEUE_MAX + 2, QUEUE_MAX + 3])


def test_a_stream_tells_all_of_more_than_its_queue_holds(any_api):
    count = 3 * QUEUE_MAX

    def write():
        with any_api.door.database.transaction() as tx:
            rows = [
                events.happened("create", "pool", str(number), by=BY, project_id="p1", root_id=None)
                for number in range(count)
            ]
            events.append_all(tx, rows)

    async def follow():
        async with streaming(any_api) as stream:
            await aside(write)
            return await stream.keys(count)

    assert any_api.runner.run(follow()) == [str(number) for number in range(count)]


@pytest.fixture
def on_postgresql(tmp_path, new_database):
    yield from open_api(new_database(), settings(tmp_path))


def test_what_an_older_transaction_keeps_back_is_told_when_that_ends(on_postgresql):
    async def follow():
        database = on_postgresql.door.database
        async with streaming(on_postgresql) as stream:
            with database.transaction() as old:
                old.connection.execute(text("SELECT pg_current_xact_id()"))
                await aside(append, on_postgresql, "a")
                with suppress(TimeoutError):
                    await asyncio.wait_for(stream.frame(), 0.3)
                    pytest.fail("the older one might still tell something")
            return await stream.keys(1)  # it ended without ringing

    assert on_postgresql.runner.run(follow()) == ["a"]
