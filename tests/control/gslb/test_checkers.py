# SPDX-License-Identifier: Apache-2.0
"""Checkers take part when one authority takes the place of another; and tokens for them."""

import shutil
from datetime import UTC, datetime, timedelta

import pytest

from caryatid.config import Settings
from caryatid.control import authority, rotation
from caryatid.control.gslb import checkers, tokens
from caryatid.errors import Forbidden, NotFound, Unauthorized
from caryatid.model import GSLB_REGION
from caryatid.model.event import BEGINNING
from caryatid.model.policy import Caller
from caryatid.plan import certificates
from caryatid.store import events
from caryatid.store.database import Database
from caryatid.store.gslb import enrolled
from caryatid.wire.checkers import Newcomer, Standing
from caryatid.wire.conductor import EnrolmentToken, fingerprints
from tests.doors import open_door
from tests.store.gslb.conftest import Orchard


@pytest.fixture
def registry(tmp_path, sqlite):
    shutil.copy(sqlite, tmp_path / "caryatid.db")
    database = Database(f"sqlite:///{tmp_path}/caryatid.db")
    yield authority.open_registry(database, Settings(state_dir=tmp_path))
    database.close()


@pytest.fixture
def region(registry):
    return Orchard(registry.database).part(GSLB_REGION, name="fra")


def newcomer(token, csr=None):
    csr = csr or certificates.request(certificates.new_key()).decode()
    return Newcomer(token_id=token.id, secret=token.secret, csr_pem=csr, name="m1")


def enrolled_checker(registry, region):
    return checkers.enrol(registry, newcomer(tokens.new_token(registry, region)), datetime.now(UTC))


def stand(registry, known, trusts):
    standing = Standing(name="m1", release="1", trusts=trusts)
    return checkers.stand(registry, known.checker_id, standing, known.certificate_pem.encode())


def test_a_new_authority_is_not_used_before_checkers_trust_it_and_then_they_renew(registry, region):
    known, now = enrolled_checker(registry, region), datetime.now(UTC)
    stand(registry, known, fingerprints(known.ca_pem))
    rotation.begin(registry, now)
    assert rotation.standing(registry, now).waiting == [(known.checker_id, "checker m1")]
    told = stand(registry, known, fingerprints(known.ca_pem))
    assert len(fingerprints(told.ca_pem)) == 2
    assert not told.renew
    stand(registry, known, fingerprints(told.ca_pem))
    assert rotation.standing(registry, now).waiting == []
    rotation.advance(registry, now + timedelta(hours=1))
    assert stand(registry, known, fingerprints(told.ca_pem)).renew
    csr = certificates.request(certificates.new_key()).decode()
    renewed = checkers.renew(registry, known.checker_id, region, csr, now)
    assert not stand(registry, known.model_copy(update={"certificate_pem": renewed.certificate_pem}), []).renew


def test_a_request_that_cannot_be_signed_does_not_use_the_token_up(registry, region):
    token, now = tokens.new_token(registry, region), datetime.now(UTC)
    with pytest.raises(Forbidden):
        checkers.enrol(registry, newcomer(token, "nonsense"), now)
    assert checkers.enrol(registry, newcomer(token), now).region == "fra"
    with pytest.raises(Unauthorized):
        checkers.enrol(registry, newcomer(token), now)


def test_who_was_revoked_gets_no_certificate_and_holds_no_rotation_up(registry, region):
    known, now = enrolled_checker(registry, region), datetime.now(UTC)
    with registry.database.transaction() as tx:
        assert enrolled.revoke(tx, known.checker_id)
        assert not enrolled.revoke(tx, "nobody")
    csr = certificates.request(certificates.new_key()).decode()
    with pytest.raises(Forbidden):
        checkers.renew(registry, known.checker_id, region, csr, now)
    rotation.begin(registry, now)
    assert rotation.standing(registry, now).waiting == []


def test_administrators_make_tokens_for_regions_that_there_are_and_an_event_says_so(registry, region):
    door = open_door(registry.database, registry.settings)
    admin = Caller("admin", "p1", is_admin=True)
    token = EnrolmentToken.decode(tokens.token(door, admin, region))
    assert checkers.enrol(registry, newcomer(token), datetime.now(UTC)).region_id == region
    with pytest.raises(NotFound):
        tokens.token(door, admin, "0" * 36)
    with pytest.raises(Forbidden):
        tokens.token(door, Caller("user", "p1"), region)
    with registry.database.read() as tx:
        said = [(row["action"], row["resource_id"]) for row in events.after(tx, BEGINNING)]
    assert said == [("token", region), ("enrol", region)]
