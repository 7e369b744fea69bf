"""How results travel in a replica: from the thread that computes them to the coroutine that Serve reads."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any

CHUNK_SECONDS = 5.0  # between two chunks of results, each of which may be stored
EXIT_SECONDS = 1.0  # in which the reason for a replica's end reaches its callers


@dataclass(frozen=True)
class Failed:
    """In place of a chunk, the last word of a replica whose process is about to end."""

    reason: str


class Stream:
    """The chunks of one call, which end with None or with an error that is raised in the caller."""

    def __init__(self) -> None:
        self._loop, self._chunks = asyncio.get_running_loop(), asyncio.Queue[Any]()
        self._closed = threading.Event()

    def put(self, chunk: Any) -> None:
        """Add a chunk, from any thread."""
        self._loop.call_soon_threadsafe(self._chunks.put_nowait, chunk)

    @property
    def closed(self) -> bool:
        """Whether the caller is gone: its requests must not delay those of others."""
        return self._closed.is_set()

    async def chunks(self) -> AsyncIterator[Any]:
        try:
            while (chunk := await self._chunks.get()) is not None:
                if isinstance(chunk, Exception):
                    raise chunk
                yield chunk
        finally:
            self._closed.set()


def end_process(streams: Iterable[Stream], reason: str) -> None:
    """Tell all callers the reason, and end this process, so that Serve starts another one."""
    for stream in streams:
        stream.put(Failed(reason))
    threading.Timer(EXIT_SECONDS, os._exit, [1]).start()
