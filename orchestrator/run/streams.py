"""How results travel in a replica: from the thread that computes them to the coroutine that Serve reads."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

CHUNK_SECONDS = 5.0  # between two chunks of results, each of which may be stored
EXIT_SECONDS = 1.0  # in which the reason for a replica's end reaches its callers


@dataclass(frozen=True)
class Failed:
    """In place of a chunk, the last word of a replica whose process is about to end."""

    reason: str


@dataclass(frozen=True)
class Settings:
    """In place of a chunk, before all results: how the engine that answers is set."""

    values: Mapping[str, Any]


class Stream:
    """The chunks of one call, which end with None or with an error that is raised in the caller."""

    def __init__(self) -> None:
        self._loop, self._chunks = asyncio.get_running_loop(), asyncio.Queue[Any]()
        self.closed = False  # The caller is gone: its requests must not delay those of others.

    def put(self, chunk: Any) -> None:
        """Add a chunk, from any thread."""
        self._loop.call_soon_threadsafe(self._chunks.put_nowait, chunk)

    async def chunks(self) -> AsyncIterator[Any]:
        while (chunk := await self._chunks.get()) is not None:
            if isinstance(chunk, Exception):
                raise chunk
            yield chunk


class Streams:
    """The streams of a replica that are open."""

    def __init__(self) -> None:
        self._open: set[Stream] = set()

    @contextmanager
    def open(self) -> Iterator[Stream]:
        """A new stream, which is closed when its caller has all chunks, or is gone."""
        stream = Stream()
        self._open.add(stream)
        try:
            yield stream
        finally:
            stream.closed = True
            self._open.discard(stream)

    def end_process(self, reason: str) -> None:
        """Tell all callers the reason, and end this process, so that Serve starts another one. From any thread."""
        for stream in list(self._open):
            stream.put(Failed(reason))
        threading.Timer(EXIT_SECONDS, os._exit, [1]).start()
