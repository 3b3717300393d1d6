# SPDX-License-Identifier: Apache-2.0
"""Tests of virtual machines: the image is made before, where packages can be got, and is there inside."""

from pathlib import Path

import pytest

from bench.site import inside
from tests.ganeti.vm import image as images


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Function) -> None:
    if "image" in item.fixturenames and not inside():
        images.make()


@pytest.fixture(scope="session")
def image() -> Path:
    """Where the image is with which machines boot, and what goes with it."""
    return images.MADE
