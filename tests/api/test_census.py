# SPDX-License-Identifier: Apache-2.0
"""Metrics that are counted in the database when somebody asks; on both."""

from prometheus_client import generate_latest

from caryatid import metrics
from caryatid.control.census import Census


def test_a_process_shows_what_there_is_in_the_database_when_it_is_asked(any_api):
    any_api.loadbalancer()
    registry = metrics.shown([metrics.HOUSEKEEPING], Census(any_api.door.database))
    pending = 'caryatid_loadbalancers{operating_status="OFFLINE",provisioning_status="PENDING_CREATE"} 1.0'
    work = ("caryatid_work_due 1.0", 'caryatid_jobs{state="queued"} 1.0', "caryatid_events_held_seconds 0.0")
    text = generate_latest(registry).decode()
    assert [line for line in (pending, *work) if line not in text] == []
    any_api.settle()
    text = generate_latest(registry).decode()
    done = ("caryatid_work_due 0.0", 'caryatid_jobs{state="queued"} 0.0', 'caryatid_amphorae{status="ALLOCATED"} 1.0')
    assert [line for line in (pending.replace("PENDING_CREATE", "ACTIVE"), *done) if line not in text] == []


def test_requests_are_timed_by_what_they_are(any_api):
    api, made = any_api, any_api.loadbalancer()["id"]
    for path in ("/v2/lbaas/loadbalancers", f"/v2/lbaas/loadbalancers/{made}", "/v1/status"):
        api.get(path)
    text = api.get("/metrics").text
    for operation in ("show", "list", "change", "other"):
        assert f'caryatid_api_request_seconds_count{{operation="{operation}"}}' in text
