# SPDX-License-Identifier: Apache-2.0
"""Zones find this installation's own name server, where it is now."""

from dataclasses import replace

from caryatid.control.gslb import credentials, embedded
from caryatid.control.gslb.embedded import BACKEND_ID, Embedded
from caryatid.model import GSLB_BACKEND
from caryatid.store import rows

HERE = Embedded("http://127.0.0.1:20001", "a key", "127.0.0.1", 5300)


def seen(door):
    with door.database.transaction() as tx:
        (row,) = rows.find(tx, GSLB_BACKEND)
        return row, credentials.of(tx, door, BACKEND_ID)


def test_it_is_a_backend_with_its_key_encrypted(door):
    embedded.ensure(door, HERE)
    row, shown = seen(door)
    assert (row["name"], row["driver"], row["url"]) == ("embedded", "powerdns", HERE.url)
    assert row["name_servers"] == [{"address": "127.0.0.1", "port": 5300}]
    assert "weighted" in row["policies"]
    assert "proximity" not in row["policies"], "it has no data about where clients are"
    assert shown == {"api_key": "a key"}
    assert "a key" not in str(row)
    assert "a key" not in repr(HERE)


def test_it_is_told_once_and_again_only_where_it_has_changed(door):
    embedded.ensure(door, HERE)
    before = seen(door)
    embedded.ensure(door, HERE)
    assert seen(door) == before
    embedded.ensure(door, replace(HERE, url="http://127.0.0.1:20002", key="another", geo=True))
    row, shown = seen(door)
    assert (row["url"], row["options"]) == ("http://127.0.0.1:20002", {"geo": True})
    assert "proximity" in row["policies"]
    assert shown == {"api_key": "another"}
    assert row["id"] == before[0]["id"]
