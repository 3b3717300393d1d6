# SPDX-License-Identifier: Apache-2.0
"""Silence is noticed: whoever is concerned by votes that expire, or are confirmed again, is looked at."""

import shutil
from dataclasses import replace

import pytest

from caryatid.control.gslb import watch as watching
from caryatid.control.gslb.watch import Watch
from caryatid.model import GSLB_MONITOR
from caryatid.plan.votes import MISSED
from caryatid.store import clock, rows
from caryatid.store.database import Database
from caryatid.store.gslb import enrolled, shares, trees, votes
from caryatid.store.gslb.enrolled import Enrolled
from caryatid.wire.checks import Held
from tests.control.gslb.test_shares import pass_by
from tests.control.gslb.test_votes import Region

GOOD_S = MISSED * 10.0 + 5.0
"""Of the monitor that there is."""


class Watched(Region):
    """The same, and somebody who watches it."""

    def __init__(self, database):
        super().__init__(database)
        self.watch = Watch(database, "here")
        self.say(self.vote("UP"))
        self.turn()

    def turn(self):
        """Whether somebody was woken."""
        self.woken()
        self.watch.turn()
        return self.woken()

    def later(self, seconds):
        """So much time goes by for everything but the watch itself: as if it had looked just before."""
        pass_by(self.database, seconds)

    def confirm(self):
        self.sit("one", held=[Held(share=share, fence=fence) for share, fence in self.fences.items()])


@pytest.fixture
def region(tmp_path, sqlite):
    shutil.copy(sqlite, tmp_path / "caryatid.db")
    database = Database(f"sqlite:///{tmp_path}/caryatid.db")
    yield Watched(database)
    database.close()


def test_nobody_is_woken_as_long_as_votes_are_confirmed(region):
    for _ in range(3):
        region.later(GOOD_S - 1)
        region.confirm()
        region.turn()  # so long between two turns: somebody may have been silent meanwhile
        assert not region.turn()
        region.confirm()
        assert not region.turn()


def test_on_postgresql_votes_that_expire_wake_once_too(new_database):
    database = Database(new_database())
    test_votes_that_expire_wake_once(Watched(database))
    database.close()


def test_votes_that_expire_wake_once(region):
    region.confirm()
    assert not region.turn()
    region.later(GOOD_S - 0.5)
    assert not region.turn()
    expire(region)
    assert region.turn()
    assert not region.turn()


def test_what_is_confirmed_again_wakes(region):
    region.confirm()
    region.turn()
    region.later(GOOD_S - 0.5)
    region.turn()
    expire(region)
    region.turn()
    region.confirm()
    assert region.turn()
    assert not region.turn()


def test_what_another_holder_said_expires_though_the_share_is_confirmed(region):
    region.confirm()
    region.sit("one", leaving=True)
    region.fences = region.sit("two")
    region.turn()
    with region.database.transaction() as tx:
        tx.connection.exec_driver_sql(f"UPDATE gslb_vote SET at = at - {GOOD_S - 0.5}")
    region.watch = Watch(region.database, "here")
    region.turn()
    held = [Held(share=share, fence=fence) for share, fence in region.fences.items()]
    region.sit("two", held=held)
    assert not region.turn()
    region.watch._last -= 1.0
    with region.database.transaction() as tx:
        tx.connection.exec_driver_sql("UPDATE gslb_vote SET at = at - 1")
    region.watch._looked.clear()
    assert region.turn()


def test_a_first_vote_expires_though_its_share_was_never_confirmed_since(region):
    with region.database.transaction() as tx:
        tx.connection.exec_driver_sql("DELETE FROM gslb_vote")
    region.confirm()
    region.watch = Watch(region.database, "here")
    region.turn()
    region.say(region.vote("UP"))
    assert not region.turn()
    region.later(GOOD_S - 0.5)
    shift(region.watch, GOOD_S - 0.5)
    assert not region.turn()
    expire(region)
    shift(region.watch, 1.0)
    assert region.turn()


def shift(watch, seconds):
    """So much time goes by for what the watch remembers, too."""
    for key, one in watch._looked.items():
        changed = {name: getattr(one, name) - seconds for name in ("seen_at", "others_until", "until")}
        watch._looked[key] = replace(one, **changed)


def test_who_begins_to_watch_has_everybody_looked_at_and_who_waits_for_the_duty_nobody(region):
    other = Watch(region.database, "there")
    region.woken()
    other.turn()
    assert not region.woken()
    region.watch.close()
    other = Watch(region.database, "there")
    other.turn()
    assert region.woken()


def test_a_monitor_that_is_checked_more_often_expires_sooner(region):
    region.confirm()
    region.turn()
    with region.database.transaction() as tx:
        (monitor,) = trees.every(tx, GSLB_MONITOR)
        faster = monitor.model_copy(update={"interval": 1.0})
        rows.change(tx, GSLB_MONITOR, faster, at=clock.text(clock.now(tx)))
    region.turn()
    region.later(MISSED * 1.0 + 5.0 - 0.5)
    assert not region.turn()
    expire(region)
    assert region.turn()


def test_checkers_that_are_silent_are_no_more_and_so_is_what_was_said_in_a_region_that_is_gone(region):
    with region.database.transaction() as tx:
        enrolled.keep(tx, Enrolled("c1", region.id, "m", "1", None, (), clock.now(tx) + 60))
    region.later(watching.GONE_S + 1)
    region.turn()
    with region.database.read() as tx:
        assert shares.seated(tx, region.id) == []
    with region.database.transaction() as tx:
        tx.connection.exec_driver_sql(f"DELETE FROM gslb_region WHERE id = '{region.id}'")
    watching.forget(type("Door", (), {"database": region.database}))
    with region.database.read() as tx:
        assert votes.of_members(tx, [region.known["gslb_member"]]) == {}
        assert shares.every(tx) == []
        assert enrolled.every(tx) == []


def expire(region):
    """Another second goes by, and the turn before was before it."""
    region.later(1.0)
    region.watch._last -= 1.0
