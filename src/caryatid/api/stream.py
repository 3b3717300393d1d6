# SPDX-License-Identifier: Apache-2.0
"""Server-sent events (WHATWG HTML §9.2): an answer that goes on as long as its source and its reader do."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, Final

import orjson
from starlette.responses import StreamingResponse

MEDIA_TYPE: Final = "text/event-stream"
SILENCE_MAX_S: Final = 15.0
"""After so long without an event a comment is sent, so that neither side takes the other for gone."""
HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


def frame(document: Any, *, event: str = "", key: str = "") -> bytes:
    """One event. `key`: what a client that comes back says that it has seen (Last-Event-ID)."""
    lines = [b"id: " + key.encode()] if key else []
    lines += [b"event: " + event.encode()] if event else []
    return b"\n".join([*lines, b"data: " + orjson.dumps(document), b"", b""])


def stream(frames: AsyncIterator[bytes]) -> StreamingResponse:
    """The answer that carries the frames as they come. Ends with them, or when its reader goes."""
    return StreamingResponse(_kept_alive(frames), media_type=MEDIA_TYPE, headers=HEADERS)


async def _kept_alive(frames: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    source = frames.__aiter__()
    coming: asyncio.Future[bytes] | None = None
    try:
        while True:
            coming = coming or asyncio.ensure_future(anext(source))
            done, _ = await asyncio.wait([coming], timeout=SILENCE_MAX_S)
            if not done:
                yield b": still here\n\n"
                continue
            try:
                found = coming.result()
            except StopAsyncIteration:
                return
            coming = None
            yield found
    finally:
        if coming is not None:
            coming.cancel()
            with suppress(asyncio.CancelledError, StopAsyncIteration):
                await coming
