# SPDX-License-Identifier: Apache-2.0
import json
from datetime import UTC, datetime

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from caryatid.model.subscription import secret_bytes, secret_text
from caryatid.plan import webhooks

EVENT = {"id": "12.34.0a1b2c3d", "type": "pool.create", "at": "2026-11-21T19:05:25.123456", "detail": {"name": "ä\n"}}
KEYS = st.binary(min_size=24, max_size=64)


@given(KEYS)
def test_a_secret_as_it_is_written_is_the_key(key):
    assert secret_bytes(secret_text(key)) == key


@given(KEYS, KEYS, st.dictionaries(st.text(), st.text()))
def test_what_is_sent_verifies_with_the_public_library_for_each_key(old, new, detail):
    sent = webhooks.message({**EVENT, "detail": detail})
    said = webhooks.headers(sent, int(datetime.now(UTC).timestamp()), [new, old])
    for key in (old, new):
        assert Webhook(secret_text(key)).verify(sent.body, said)["data"]["detail"] == detail
    other = bytes(byte ^ 255 for byte in new)
    assume(other != old)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret_text(other)).verify(sent.body, said)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret_text(new)).verify(sent.body + b" ", said)


def test_a_message_has_a_type_a_moment_and_the_event_and_an_id_without_dots():
    sent = webhooks.message(EVENT)
    assert sent.id == "evt_12_34_0a1b2c3d"
    assert json.loads(sent.body) == {"type": "pool.create", "timestamp": "2026-11-21T19:05:25.123456Z", "data": EVENT}
    assert sent == webhooks.message(dict(EVENT)), "however often"


@pytest.mark.parametrize(
    ("status", "verdict"),
    [(200, "delivered"), (204, "delivered"), (299, "delivered"), (101, "failed"), (301, "failed"), (400, "failed"),
     (410, "gone"), (429, "failed"), (500, "failed")],
)  # fmt: skip
def test_what_an_answer_means(status, verdict):
    assert webhooks.verdict(status) == verdict


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_attempts_come_apart_up_to_ten_minutes_and_never_at_once(attempts, jitter):
    wait_s = webhooks.again_s(attempts, jitter)
    assert 0.8 <= wait_s <= 600
    assert webhooks.again_s(attempts + 1, jitter) >= wait_s


def test_a_day_is_enough():
    assert webhooks.given_up(0, 86_400)
    assert not webhooks.given_up(0, 86_399)
    first, tries = 0.0, 1
    while not webhooks.given_up(0, first):
        first += webhooks.again_s(tries, 0.5)
        tries += 1
    assert 150 < tries < 200
