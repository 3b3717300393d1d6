# SPDX-License-Identifier: Apache-2.0
"""How members for datagrams are checked, and what checks come to."""

import asyncio
import contextlib
import socket

import pytest

from caryatid.agent.checks import Asker, Verdict
from caryatid.wire.datagrams import Monitor

HOST = "127.0.0.1"


def monitor(kind="UDP-CONNECT", **attributes):
    known = {"type": kind, "delay_s": 1, "timeout_s": 0.3, "rise": 2, "fall": 3, "codes": [(200, 200)]}
    return Monitor.model_validate({**known, **attributes})


def asked(wanted: Monitor, port: int, address: str = HOST, times: int = 1) -> bool | None:
    async def ask() -> bool | None:
        with contextlib.closing(Asker(wanted, address, port, contextlib.nullcontext)) as asker:
            for _ in range(times):
                said = await asker.ask()
            return said

    return asyncio.run(ask())


def heard(results: str, **attributes: int) -> str:
    """U or D after each result, which is + or -."""
    verdict, wanted = Verdict(), monitor(**attributes)
    states = []
    for result in results:
        verdict.hear(wanted, good=result == "+")
        states.append("U" if verdict.up else "D")
    return "".join(states)


@pytest.mark.parametrize(("results", "states"), [
    ("+--+---", "UUUUUUD"),
    ("-+-++", "DDDDU"),  # nothing was known before the first word
    ("+---++-", "UUUDDUU"),
])  # fmt: skip
def test_a_member_falls_and_rises_after_as_many_results_in_a_row_as_asked_for(results, states):
    assert heard(results, fall=3, rise=2) == states


@pytest.fixture
def udp():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind((HOST, 0))
        yield made


def closed_port(kind) -> int:
    with socket.socket(socket.AF_INET, kind) as made:
        made.bind((HOST, 0))
        return made.getsockname()[1]


def test_who_says_nothing_to_a_datagram_may_be_there_and_a_closed_port_is_an_answer(udp):
    assert asked(monitor(), udp.getsockname()[1], times=2) is True
    assert asked(monitor(), closed_port(socket.SOCK_DGRAM)) is False


@pytest.fixture
def web():
    """Answers each connection with what is in it, if anything is; and what it was told."""

    class Web:
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
        told = b""

        async def ask(self, wanted: Monitor) -> bool | None:
            async def serve(reader, writer):
                with contextlib.suppress(asyncio.IncompleteReadError):
                    self.told = await reader.readuntil(b"\r\n\r\n")
                writer.write(self.answer)
                with contextlib.suppress(ConnectionError):
                    await writer.drain()
                writer.close()

            server = await asyncio.start_server(serve, HOST, 0)
            async with server:
                port = server.sockets[0].getsockname()[1]
                with contextlib.closing(Asker(wanted, HOST, port, contextlib.nullcontext)) as asker:
                    return await asker.ask()

    return Web()


def test_a_connection_that_is_taken_is_enough_and_one_that_is_not_too(web):
    assert asyncio.run(web.ask(monitor("TCP"))) is True
    assert asked(monitor("TCP"), closed_port(socket.SOCK_STREAM)) is False


@pytest.mark.parametrize(("answer", "codes", "good"), [
    (b"HTTP/1.1 200 OK\r\n\r\n", [(200, 200)], True),
    (b"HTTP/1.0 204 No\r\n\r\n", [(200, 200), (202, 204)], True),
    (b"HTTP/1.1 503 No\r\n\r\n", [(200, 299)], False),
    (b"SSH-2.0-OpenSSH_9.2", [(200, 299)], False),
    (b"HTTP/1.1 2", [(200, 299)], False),
    (b"", [(200, 299)], False),
])  # fmt: skip
def test_an_http_check_goes_by_the_status(web, answer, codes, good):
    web.answer = answer
    assert asyncio.run(web.ask(monitor("HTTP", codes=codes))) is good


def test_a_request_has_the_method_path_version_and_name_that_the_monitor_says(web):
    assert asyncio.run(web.ask(monitor("HTTP", method="HEAD", path="/health?x=1", version="1.1", host="a.example")))
    assert web.told == b"HEAD /health?x=1 HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n"


def test_an_answer_that_does_not_come_in_time_is_none():
    with socket.create_server((HOST, 0)) as silent:
        assert asked(monitor("HTTP"), silent.getsockname()[1]) is False
