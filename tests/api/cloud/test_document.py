# SPDX-License-Identifier: Apache-2.0
"""The document is true where our own users ask: no 500, and no status or body that it does not name."""

import pytest
import schemathesis
from hypothesis import HealthCheck, given
from hypothesis import settings as examples

from tests.api.cloud.test_statuses import BY_PLACE
from tests.api.test_openapi import CHECKS


@pytest.mark.parametrize(("method", "path"), sorted(BY_PLACE))
def test_every_answer_is_as_the_document_says(method, path, guarded):
    document = schemathesis.openapi.from_asgi("/openapi.json", guarded.api.app)

    @given(case=document[path][method].as_strategy())
    @examples(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
    def check(case):
        case.headers = {**(case.headers or {}), **guarded.admin, "X-Subject-Token": guarded.token}
        case.call_and_validate(checks=CHECKS)

    check()
