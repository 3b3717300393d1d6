# SPDX-License-Identifier: Apache-2.0
"""Events reach receivers: each at least once, in order where nothing fails, and whatever receivers do to us."""

import asyncio
import threading
from contextlib import ExitStack, contextmanager

import pytest

from bench.waiting import pause, until
from caryatid.config import Settings
from caryatid.control import delivering, webhooks
from caryatid.model import DELIVERY, SUBSCRIPTION
from caryatid.model.policy import Caller
from caryatid.plan import webhooks as plan
from caryatid.services import webhooks as service
from caryatid.store import events, rows
from caryatid.store.database import Database
from caryatid.store.wake import Wakeups
from tests.doors import open_door
from tests.receiver import Receiver

OWNER = Caller("u1", "p1", frozenset({"member"}), "req-1")
OPERATOR = Caller("root", "p0", is_admin=True)


class Post:
    """A database, a door to it, and processes that deliver."""

    def __init__(self, url, folder):
        self.url = url
        self.settings = Settings(state_dir=folder, compute_driver="noop", webhook_private_targets="127.0.0.0/8")
        self.database = Database(url)
        self.door = open_door(self.database, self.settings)
        self.stack = ExitStack()
        self.number = 0

    def receiver(self, *behave):
        receiver = Receiver(*behave)
        self.stack.callback(receiver.stop)
        return receiver

    def subscribe(self, receiver, caller=OWNER, **body):
        """The document of a new subscription, with its secret."""
        return webhooks.create(self.door, caller, {"callback_url": receiver.url, **body}).document

    def happen(self, count=1, project_id="p1", kind="pool", root_id=None):
        """So many events; what they are about."""
        names = []
        for _ in range(count):
            self.number += 1
            with self.database.transaction() as tx:
                key = str(self.number)
                events.append(tx, "create", kind, key, by=OWNER, project_id=project_id, root_id=root_id)
            names.append(f"{kind}.create {key}")
        return names

    def start(self):
        """Another process begins to deliver; how it ends."""
        return self.stack.enter_context(delivering_process(self.url, self.settings))

    def shown(self, key):
        with self.database.read() as tx:
            return rows.get(tx, SUBSCRIPTION, key)

    def deliveries(self, key, **columns):
        with self.database.read() as tx:
            return rows.find(tx, DELIVERY, subscription_id=key, **columns)


@contextmanager
def delivering_process(url, settings):
    """What the core process does for webhooks, on a thread. Gives a function that ends it as a crash would."""
    database = Database(url)
    wakeups = Wakeups(database)
    wakeups.start()
    door = open_door(database, settings)
    begun, ended = threading.Event(), threading.Event()
    place = {}

    async def main():
        place["loop"], stop = asyncio.get_running_loop(), asyncio.Event()
        place["stop"] = stop
        delivery = service.Webhooks(door, wakeups)
        async with delivery:
            place["delivery"] = delivery
            begun.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: (asyncio.run(main()), ended.set()), daemon=True)
    thread.start()
    assert begun.wait(10)
    try:
        yield place
    finally:
        place["loop"].call_soon_threadsafe(place["stop"].set)
        thread.join(20)
        assert ended.is_set()
        wakeups.close()
        database.close()


@pytest.fixture
def post(database_url, tmp_path):
    made = Post(database_url, tmp_path)
    with made.stack:
        yield made
    made.database.close()


@pytest.fixture
def hurried(monkeypatch):
    """What waits for seconds and hours waits for less."""
    monkeypatch.setattr(plan, "AGAIN_S", 0.02)
    monkeypatch.setattr(plan, "AGAIN_MAX_S", 0.1)


def names(found):
    return [got.name for got in found if got.event["resource_type"] != "subscription"]


def test_what_happens_is_delivered_in_order_signed_and_once(post):
    receiver = post.receiver()
    post.happen(3)
    made = post.subscribe(receiver)
    post.start()
    wanted = post.happen(150)
    until(lambda: len(names(receiver.accepted)) >= 150, "all is delivered")
    assert names(receiver.accepted) == wanted, "what was before it began is not for it"
    assert len(set(receiver.ids)) == len(receiver.ids)
    for got in receiver.accepted:
        assert got.is_signed_with(made["signing_secret"])
        assert got.id == f"evt_{got.event['id'].replace('.', '_')}"
        assert got.path == "/hook?token=t"
        assert got.headers["user-agent"].startswith("Caryatid/")
    until(lambda: post.shown(made["id"])["cursor"] == receiver.accepted[-1].event["id"], "it is written down")
    assert post.shown(made["id"])["delivered_at"] is not None
    assert post.deliveries(made["id"]) == []


def test_who_was_away_gets_what_happened_meanwhile(post):
    receiver = post.receiver()
    post.subscribe(receiver)
    wanted = post.happen(250)
    post.start()
    until(lambda: names(receiver.accepted) == wanted, "all is delivered")


def test_each_gets_what_it_has_subscribed_to(post):
    receivers = {name: post.receiver() for name in ("all", "pools", "other", "everything")}
    post.subscribe(receivers["all"])
    post.subscribe(receivers["pools"], event_types=["pool.*", "member.delete"])
    post.subscribe(receivers["other"], OPERATOR, project_id="p2")
    post.subscribe(receivers["everything"], OPERATOR, all_projects=True, event_types=["pool.create", "listener.create"])
    post.start()
    pools, listeners = post.happen(2), post.happen(2, kind="listener")
    others = post.happen(1, project_id="p2")
    operators = post.happen(1, project_id=None)
    theirs = {"all": [*pools, *listeners], "pools": pools, "other": others}
    theirs["everything"] = [*pools, *listeners, *others, *operators]
    for name, wanted in theirs.items():
        until(lambda: len(names(receivers[name].accepted)) >= len(wanted), f"{name} has got it")  # noqa: B023
        assert names(receivers[name].accepted) == wanted


def test_a_subscription_to_a_load_balancer_gets_what_belongs_to_it(post):
    receiver = post.receiver()
    made = post.subscribe(receiver)
    root = "3d1e5a0c-9b7f-4f6e-8a2c-4d6e8f0a1b2c"
    with post.database.transaction() as tx:  # as if it were there
        row = SUBSCRIPTION.change(rows.get(tx, SUBSCRIPTION, made["id"]), {"loadbalancer_id": root})
        rows.change(tx, SUBSCRIPTION, row, at="2026-11-21T00:00:00.000000")
    post.start()
    post.happen()
    wanted = post.happen(root_id=root)
    until(lambda: receiver.accepted, "it is delivered")
    assert names(receiver.accepted) == wanted


def test_what_is_not_accepted_is_tried_again_and_the_rest_goes_on(post, hurried):
    left = {"pool.create 2": 3, "pool.create 5": 1}

    def behave(got):
        left[got.name] = left.get(got.name, 0) - 1
        return 500 if left[got.name] >= 0 else 204

    receiver = post.receiver(behave)
    made = post.subscribe(receiver, event_types=["pool.*"])
    post.start()
    wanted = post.happen(8)
    until(lambda: sorted(names(receiver.accepted)) == sorted(wanted), "all is delivered")
    until(lambda: post.deliveries(made["id"]) == [], "nothing waits")
    good = [name for name in names(receiver.accepted) if name not in left or name not in wanted[1:5:3]]
    assert good == [name for name in wanted if name not in wanted[1:5:3]], "the order of those that went well"
    assert len({got.id for got in receiver.got}) == 8, "an event has one id, however often it is sent"
    assert post.shown(made["id"])["failures"] == 0


def test_while_a_receiver_is_down_events_wait_in_the_log_and_then_all_come_in_order(post, hurried):
    down = threading.Event()
    down.set()
    receiver = post.receiver(lambda _: 503 if down.is_set() else 200)
    made = post.subscribe(receiver, event_types=["pool.*"])
    post.start()
    wanted = post.happen(200)
    until(lambda: post.shown(made["id"])["failures"] > plan.DOWN_AFTER + 3, "it is known to be down")
    shown = post.shown(made["id"])
    assert "503" in shown["trouble"]
    assert shown["failed_at"] is not None
    down.clear()
    refused = {got.name for got in list(receiver.got)}
    assert len(refused) < 100, "the rest waits in the log"
    until(lambda: len(receiver.accepted) >= 200, "all is delivered")
    assert sorted(names(receiver.accepted)) == sorted(wanted)
    rest = [name for name in names(receiver.accepted) if name not in refused]
    assert rest == [name for name in wanted if name not in refused]
    until(lambda: post.deliveries(made["id"]) == [], "nothing waits")
    assert post.shown(made["id"])["trouble"] is None


def test_many_that_are_never_accepted_do_not_hold_up_the_others(post, hurried):
    receiver = post.receiver(lambda got: 500 if int(got.event["resource_id"]) % 2 else 200)
    made = post.subscribe(receiver, event_types=["pool.*"])
    post.start()
    wanted = post.happen(80)[1::2]
    until(lambda: names(receiver.accepted) == wanted, "those that can be are delivered")
    wanted += [post.happen(2)[1] for _ in range(5)]
    until(lambda: names(receiver.accepted) == wanted, "new ones, too, in order")
    assert len(post.deliveries(made["id"], state="pending")) == 45


def test_who_has_left_too_much_gets_nothing_new(post, hurried, monkeypatch):
    monkeypatch.setattr(delivering, "PENDING_MAX", 3)
    monkeypatch.setattr(plan, "DOWN_AFTER", 1000)
    bad = threading.Event()
    bad.set()
    receiver = post.receiver(lambda _: 500 if bad.is_set() else 200)
    made = post.subscribe(receiver, event_types=["pool.*"])
    post.start()
    wanted = post.happen(10)
    until(lambda: len(receiver.got) > 20, "it is tried")
    assert len(post.deliveries(made["id"])) == 3
    assert len({got.id for got in receiver.got}) == 3
    bad.clear()
    until(lambda: sorted(names(receiver.accepted)) == sorted(wanted), "all is delivered")


def test_receivers_that_hang_hold_up_nobody_else(post, hurried):
    hanging = post.receiver(lambda _: "hang")
    for _ in range(30):
        post.subscribe(hanging)
    receiver = post.receiver()
    post.subscribe(receiver, event_types=["pool.*"])
    post.start()
    until(lambda: len(hanging.got) >= 30, "they hang")
    wanted = post.happen(5)
    until(lambda: names(receiver.accepted) == wanted, "the other has got all", timeout_s=5)


@pytest.mark.parametrize(
    ("told", "reason"), [("redirect", "answers 302"), ("close", "cannot be asked"), (404, "answers 404")]
)
def test_what_is_no_2xx_is_not_accepted(post, hurried, told, reason):
    elsewhere = post.receiver()
    receiver = post.receiver(lambda _: told)
    receiver.elsewhere = elsewhere.url
    made = post.subscribe(receiver)
    post.start()
    until(lambda: post.deliveries(made["id"]), "it is put aside")
    (delivery,) = post.deliveries(made["id"])[:1]
    assert reason in delivery["reason"]
    assert (delivery["state"], delivery["event_type"]) == ("pending", "subscription.create")
    assert elsewhere.got == [], "redirections are not followed"


@pytest.mark.parametrize("told", ["endless", "drip"])
def test_what_follows_a_2xx_does_not_matter(post, told):
    receiver = post.receiver(lambda _: told)
    made = post.subscribe(receiver, event_types=["pool.*"])
    post.start()
    wanted = post.happen(2)
    until(lambda: names(receiver.accepted) == wanted, "all is delivered")
    assert post.deliveries(made["id"]) == []


def test_a_receiver_that_is_gone_is_told_nothing_until_it_is_enabled_again(post):
    here = threading.Event()
    receiver = post.receiver(lambda _: 200 if here.is_set() else 410)
    made = post.subscribe(receiver, event_types=["pool.*"])
    post.start()
    wanted = post.happen(3)
    until(lambda: not post.shown(made["id"])["enabled"], "it is disabled")
    pause(0.3)
    assert len(receiver.got) == 1
    here.set()
    webhooks.change(post.door, OWNER, made["id"], {"enabled": True})
    until(lambda: names(receiver.accepted) == wanted, "nothing is lost")


def test_what_is_tried_for_too_long_is_dead_and_can_be_replayed(post, hurried, monkeypatch):
    monkeypatch.setattr(plan, "GIVEN_UP_S", 0.05)
    bad = threading.Event()
    bad.set()
    receiver = post.receiver(lambda got: 500 if bad.is_set() and got.event["resource_id"] in "24" else 200)
    made = post.subscribe(receiver, event_types=["pool.*"])
    post.start()
    wanted = post.happen(6)
    until(lambda: len(post.deliveries(made["id"], state="dead")) == 2, "two are dead")
    assert names(receiver.accepted) == [wanted[0], wanted[2], wanted[4], wanted[5]]
    dead = post.deliveries(made["id"], state="dead")
    assert all(one["next_at"] is None and one["attempts"] > 1 and "500" in one["reason"] for one in dead)
    bad.clear()
    assert webhooks.replay(post.door, OWNER, made["id"], {"deliveries": [dead[0]["id"]]}).deliveries == 1
    until(lambda: len(receiver.accepted) == 5, "one is delivered")
    assert webhooks.replay(post.door, OWNER, made["id"], None).deliveries == 1
    until(lambda: sorted(names(receiver.accepted)) == wanted, "both are")
    until(lambda: post.deliveries(made["id"]) == [], "nothing is kept of them")


def test_events_can_be_sent_again_from_a_place_in_the_log_or_from_a_moment(post):
    receiver = post.receiver()
    post.happen(2)
    with post.database.read() as tx:
        moment = events.newest(tx, limit=1)[0]["at"]
    made = post.subscribe(receiver, event_types=["pool.*"])
    post.start()
    wanted = post.happen(3)
    until(lambda: names(receiver.accepted) == wanted, "all is delivered")
    webhooks.replay(post.door, OWNER, made["id"], {"after": receiver.accepted[0].event["id"]})
    until(lambda: names(receiver.accepted) == [*wanted, *wanted[1:]], "two are sent again")
    assert receiver.ids[3:] == receiver.ids[1:3], "under the same ids"
    webhooks.replay(post.door, OWNER, made["id"], {"since": moment})
    until(lambda: len(receiver.accepted) == 9, "what was before the subscription, too")
    assert names(receiver.accepted)[5:] == ["pool.create 2", *wanted]


def test_a_new_secret_overlaps_with_the_old_one(post):
    receiver = post.receiver()
    made = post.subscribe(receiver, event_types=["pool.*"])
    post.start()
    until(lambda: post.happen() and receiver.accepted, "it delivers")
    new = webhooks.new_secret(post.door, OWNER, made["id"], {"overlap_s": 3600}).document["signing_secret"]
    assert new != made["signing_secret"]
    until(lambda: post.happen() and receiver.accepted[-1].is_signed_with(new), "it signs with the new one")
    assert receiver.accepted[-1].is_signed_with(made["signing_secret"])
    third = webhooks.new_secret(post.door, OWNER, made["id"], {"overlap_s": 0}).document["signing_secret"]
    until(lambda: post.happen() and receiver.accepted[-1].is_signed_with(third), "it signs with the third")
    assert not receiver.accepted[-1].is_signed_with(new)


def test_the_old_secret_is_used_no_longer_than_it_was_said(post):
    receiver = post.receiver()
    made = post.subscribe(receiver, event_types=["pool.*"])
    post.start()
    webhooks.new_secret(post.door, OWNER, made["id"], {"overlap_s": 1})
    old = made["signing_secret"]
    until(lambda: post.happen() and receiver.accepted and receiver.accepted[-1].is_signed_with(old), "it is used")
    until(lambda: post.happen() and not receiver.accepted[-1].is_signed_with(old), "it is not used any more")


def test_of_two_processes_one_delivers_and_the_other_takes_over(post):
    receiver = post.receiver()
    post.subscribe(receiver, event_types=["pool.*"])
    with delivering_process(post.url, post.settings):
        first = post.happen(20)
        until(lambda: len(receiver.accepted) == 20, "all is delivered")
        post.start()
        second = post.happen(20)
        until(lambda: len(receiver.accepted) == 40, "all is delivered")
    third = post.happen(20)
    until(lambda: len(receiver.accepted) >= 60, "the other goes on")
    assert names(receiver.accepted) == [*first, *second, *third], "and nothing was sent twice"


def test_what_was_delivered_and_not_written_down_is_delivered_again_under_the_same_id(post, monkeypatch):
    monkeypatch.setattr(delivering, "KEPT_S", 3600)
    receiver = post.receiver()
    made = post.subscribe(receiver, event_types=["pool.*"])
    before = post.shown(made["id"])["cursor"]
    with delivering_process(post.url, post.settings) as process:
        wanted = post.happen(3)
        until(lambda: names(receiver.accepted) == wanted, "all is delivered")
        assert post.shown(made["id"])["cursor"] == before
        monkeypatch.setattr(delivering.Courier, "keep", never)  # as after a crash
        assert process
    monkeypatch.undo()
    post.start()
    until(lambda: len(receiver.accepted) == 6, "it is delivered again")
    assert receiver.ids[:3] == receiver.ids[3:]


async def never(*_):
    pass


def test_a_subscription_that_is_deleted_or_disabled_gets_nothing_more(post):
    receivers = [post.receiver() for _ in range(3)]
    made = [post.subscribe(receiver, event_types=["pool.*"]) for receiver in receivers]
    post.start()
    post.happen()
    until(lambda: all(receiver.accepted for receiver in receivers), "all deliver")
    webhooks.delete(post.door, OWNER, made[0]["id"])
    webhooks.change(post.door, OWNER, made[1]["id"], {"enabled": False})
    pause(0.3)
    post.happen()
    until(lambda: len(receivers[2].accepted) == 2, "the third delivers")
    assert [len(receiver.got) for receiver in receivers] == [1, 1, 2]
    webhooks.change(post.door, OWNER, made[1]["id"], {"enabled": True})
    until(lambda: len(receivers[1].accepted) == 2, "it gets what it has missed")


def test_what_an_older_transaction_holds_back_comes_when_that_has_ended(new_database, tmp_path):
    post = Post(new_database(), tmp_path)
    with post.stack:
        receiver = post.receiver()
        post.subscribe(receiver, event_types=["pool.*"])
        post.start()
        first = post.happen()
        until(lambda: names(receiver.accepted) == first, "it delivers")
        with post.database.transaction() as tx:
            events.append(tx, "create", "pool", "older", by=OWNER, project_id="p1", root_id=None)
            later = post.happen(2)
            pause(0.5)
            assert names(receiver.accepted) == first, "they are committed, and something may yet come before them"
        wanted = [*first, "pool.create older", *later]
        until(lambda: names(receiver.accepted) == wanted, "all is delivered, in the order of the log")
    post.database.close()


def test_where_events_before_a_moment_were_removed_what_is_kept_is_delivered(post):
    receiver = post.receiver()
    made = post.subscribe(receiver, event_types=["pool.*"])
    post.happen(3)
    kept = post.happen(3)
    with post.database.transaction() as tx:
        events.purge(tx, events.newest(tx, limit=3)[0]["at"])
    post.start()
    until(lambda: names(receiver.accepted) == kept, "what is kept is delivered")
    assert post.deliveries(made["id"]) == []
