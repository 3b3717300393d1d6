# SPDX-License-Identifier: Apache-2.0
"""Whatever a check does, one try ends in time with an outcome."""

import asyncio
from importlib.metadata import EntryPoint

import pytest

from caryatid.checker.checks.base import Failed
from caryatid.checker.targets import Targets
from caryatid.checker.trying import GROUP, Tries
from tests.checker.checks.places import check


class Odd:
    """A check that does what its parameters say."""

    def __init__(self, parameters, _means):
        self._how = parameters["how"]

    async def ask(self, place):
        match self._how:
            case "break":
                raise RuntimeError("a secret")
            case "hang":
                place.doing = "waiting for the moon"
                await asyncio.Event().wait()
            case "long":
                raise Failed("a\nb" + "x" * 1000)
            case "cancel":
                raise asyncio.CancelledError


def once(how, timeout_s=20.0):
    async def whole():
        tries = Tries(Targets(["127.0.0.0/8"], []))
        tries._kinds["odd"] = EntryPoint("odd", f"{__name__}:Odd", GROUP)
        try:
            return await tries.once(check("odd", timeout_s=timeout_s, how=how))
        finally:
            await tries.close()

    return asyncio.run(whole())


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.setattr(EntryPoint, "load", lambda _self: Odd)


def test_a_check_that_breaks_says_nothing_of_the_member():
    outcome = once("break")
    assert (outcome.up, outcome.ours, outcome.reason) == (False, True, "the check odd is broken: RuntimeError")


def test_a_check_that_hangs_is_ended():
    outcome = once("hang", 0.1)
    assert (outcome.up, outcome.ours, outcome.reason) == (False, False, "no end within 0.1 s: waiting for the moon")


def test_a_reason_is_one_line_of_500_characters_at_most():
    reason = once("long").reason
    assert len(reason) == 500
    assert reason.startswith("a bxxx")
    assert reason.endswith("…")


def test_only_who_ends_the_try_is_told_by_an_exception():
    with pytest.raises(asyncio.CancelledError):
        once("cancel")


def test_a_type_that_is_not_here_says_nothing_of_the_member():
    async def whole():
        tries = Tries(Targets([], []))
        try:
            return await tries.once(check("mysql"))
        finally:
            await tries.close()

    outcome = asyncio.run(whole())
    assert (outcome.ours, outcome.reason) == (True, "this checker knows no check mysql")
