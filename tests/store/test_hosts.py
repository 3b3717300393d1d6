# SPDX-License-Identifier: Apache-2.0
from concurrent.futures import ThreadPoolExecutor

import pytest

from caryatid.store import hosts
from caryatid.store.hosts import Credential, Tombstone


def test_a_token_is_good_once(database):
    with database.transaction() as tx:
        hosts.open_enrolment(tx, "t", b"secret", valid_s=60)

    def redeem(_):
        with database.transaction() as tx:
            return hosts.redeem(tx, "t", b"secret") is not None

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(redeem, range(8))) == 1


BAD = [("t", b"wrong", 60), ("u", b"s", 60), ("t", b"s", -1), ("\x00", b"s", 60)]


@pytest.mark.parametrize(("token", "secret", "valid_s"), BAD)
def test_a_wrong_or_late_token_is_no_good(tx, token, secret, valid_s):
    hosts.open_enrolment(tx, "t", b"s", valid_s=valid_s)
    assert not hosts.redeem(tx, token, secret)


def test_the_secret_of_a_token_is_not_in_the_database(tx):
    hosts.open_enrolment(tx, "t", b"very secret", valid_s=60)
    stored = tx.connection.exec_driver_sql("SELECT secret_hash FROM enrolment").scalar()
    assert b"secret" not in bytes(stored)


def test_expired_tokens_are_removed(tx):
    hosts.open_enrolment(tx, "old", b"s", valid_s=-1)
    hosts.open_enrolment(tx, "new", b"s", valid_s=60)
    assert hosts.purge_enrolments(tx) == 1
    assert hosts.redeem(tx, "new", b"s")


def test_a_host_is_known_by_its_latest_credential_until_revoked(tx):
    hosts.write_credential(tx, Credential("h", b"k1", "01"))
    hosts.write_credential(tx, Credential("h", b"k2", "02"))
    assert hosts.credential(tx, "h") == Credential("h", b"k2", "02")
    assert hosts.revoke(tx, "h")
    assert hosts.credential(tx, "h").revoked
    assert not hosts.revoke(tx, "nobody")
    assert [known.host_id for known in hosts.credentials(tx)] == ["h"]
    hosts.remove_credential(tx, "h")
    assert hosts.credential(tx, "h") is None


def test_a_credential_does_not_show_its_key():
    assert "k1" not in repr(Credential("h", b"k1", "01"))


def test_the_first_to_keep_a_setting_decides(database):
    def keep(number):
        with database.transaction() as tx:
            return hosts.keep_setting(tx, "authority", b"%d" % number)

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(keep, range(8)))) == 1
    with database.transaction() as tx:
        hosts.write_setting(tx, "authority", b"new")
        assert hosts.setting(tx, "authority") == b"new"
        assert hosts.setting(tx, "nothing") is None


def test_what_is_left_on_a_host_is_remembered_until_removed(tx):
    stones = [Tombstone("a1", "h1", "lb", 3, 4, ["port"]), Tombstone("a2", "h2", "lb", 1, 1, [])]
    for stone in stones:
        hosts.bury(tx, stone)
    hosts.bury(tx, Tombstone("a2", "h2", "lb", 2, 5, []))
    assert hosts.tombstones(tx, host_id="h1") == stones[:1]
    assert [(stone.generation, stone.fence) for stone in hosts.tombstones(tx)] == [(3, 4), (2, 5)]
    hosts.remove_tombstone(tx, "a1")
    assert [stone.amphora_id for stone in hosts.tombstones(tx)] == ["a2"]
