# SPDX-License-Identifier: Apache-2.0
"""Where the master key is: made once, the same on every controller, or none."""

import pytest

from caryatid.control.vault import NoMasterKey, Vault
from caryatid.errors import CaryatidError
from caryatid.store import migrate
from caryatid.store.database import Database


@pytest.fixture
def database(tmp_path):
    url = f"sqlite:///{tmp_path}/c.db"
    migrate.upgrade(url)
    database = Database(url)
    yield database
    database.close()


def sealed(database, folder, plain=b"secret"):
    with database.transaction() as tx:
        return Vault(folder).ensured(tx).seal("it", plain)


def unsealed(database, folder, what, name="it"):
    with database.read() as tx:
        return Vault(folder).key(tx).unseal(name, what)


def test_what_one_controller_seals_another_with_the_same_file_unseals(database, tmp_path):
    what = sealed(database, tmp_path / "a")
    assert b"secret" not in what
    assert unsealed(database, tmp_path / "a", what) == b"secret"


def test_the_key_is_its_owners_alone(database, tmp_path):
    sealed(database, tmp_path / "a")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["master.key"]
    assert (tmp_path / "a/master.key").stat().st_mode & 0o777 == 0o600


def test_a_controller_without_the_file_makes_no_other_key(database, tmp_path):
    sealed(database, tmp_path / "a")
    for act in (Vault.ensured, Vault.key):
        with pytest.raises(NoMasterKey), database.transaction() as tx:
            act(Vault(tmp_path / "b"), tx)
    assert not (tmp_path / "b/master.key").exists()


def test_a_controller_with_another_key_is_refused(database, tmp_path):
    what = sealed(database, tmp_path / "a")
    (tmp_path / "master.key").write_bytes(b"x" * 32)
    for act in (Vault.ensured, Vault.key):
        with pytest.raises(NoMasterKey), database.transaction() as tx:
            act(Vault(tmp_path), tx)
    (tmp_path / "master.key").write_bytes(b"short")
    with pytest.raises(CaryatidError, match="5 bytes"):
        unsealed(database, tmp_path, what)


def test_what_was_sealed_under_one_name_is_nothing_under_another(database, tmp_path):
    what = sealed(database, tmp_path)
    with pytest.raises(NoMasterKey):
        unsealed(database, tmp_path, what, name="other")
    with pytest.raises(NoMasterKey):
        unsealed(database, tmp_path, b"")


def test_a_key_that_was_made_in_vain_is_the_key_all_the_same(database, tmp_path):
    vault = Vault(tmp_path)
    with pytest.raises(NoMasterKey), database.transaction() as tx:
        vault.ensured(tx).unseal("it", b"")
    with database.transaction() as tx:
        what = vault.ensured(tx).seal("it", b"secret")
    assert unsealed(database, tmp_path, what) == b"secret"
