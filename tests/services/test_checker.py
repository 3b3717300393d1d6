# SPDX-License-Identifier: Apache-2.0
"""The checker as a process."""

import asyncio
import os
import signal
import sys

from tests.checker.checking import check, members
from tests.checker.conductor import Conductor, eventually


def test_a_checker_enrols_works_and_gives_back_what_it_has_when_it_is_told_to_end(tmp_path):
    async def scenario(conductor):
        (tmp_path / "token").write_text(conductor.new_token().encode())
        words = ["checker", "--region", "here", "--join", conductor.url, "--token-file", str(tmp_path / "token")]
        environment = {**os.environ, "CARYATID_STATE_DIR": str(tmp_path / "state")}
        process = await asyncio.create_subprocess_exec(sys.executable, "-m", "caryatid", *words, env=environment)
        try:
            async with members(1) as (one,):
                conductor.want([check("m", one.port)])
                await eventually(lambda: conductor.words() == {"m": "UP"}, 75)  # programs start slowly where many do
                await one.stop()
                await eventually(lambda: conductor.words() == {"m": "DOWN"})
        finally:
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(20):
                assert await process.wait() == 0
        (_, seat), *others = conductor.seats.values()
        assert seat.leaving
        assert not others
        assert conductor.holders() == {}

    async def whole():
        async with asyncio.timeout(115), Conductor().open() as conductor:
            await scenario(conductor)

    asyncio.run(whole())
