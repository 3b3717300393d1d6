# SPDX-License-Identifier: Apache-2.0
"""What a real Ganeti answers (tests/ganeti/cluster.py)."""

from tests.ganeti.conftest import (
    ganeti,
    pytest_collection_modifyitems,
    pytest_pyfunc_call,
    pytest_runtest_logreport,
    pytest_runtest_setup,
)

__all__ = [
    "ganeti",
    "pytest_collection_modifyitems",
    "pytest_pyfunc_call",
    "pytest_runtest_logreport",
    "pytest_runtest_setup",
]
