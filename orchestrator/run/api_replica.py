"""The Serve replica of a model behind an API: it sends requests, and has no engine.

One call runs at a time, so that the API's limit on concurrent requests holds for the whole run.
"""

import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

from evaluators.engines import api
from evaluators.engines.api import APIModel
from orchestrator.run.streams import CHUNK_SECONDS, Stream, Streams
from orchestrator.store.context import Weights


class APIReplica:
    """`timeout`: seconds without a finished request after which the replica counts as hung."""

    def __init__(self, model: APIModel, timeout: float, clock: Callable[[], float] = time.monotonic):
        self._model, self._timeout, self._clock = model, timeout, clock
        self._thread = ThreadPoolExecutor(1)
        self._streams = Streams()
        self._progress: float | None = None  # when the running call last got on

    async def check_health(self) -> None:
        """Serve calls this every few seconds."""
        if self._progress is not None and self._clock() - self._progress > self._timeout:
            self._streams.end_process(f"the engine hangs: no request was finished in {self._timeout:g} s")

    async def call(self, weights: Weights, method: str, requests: list, arguments: tuple) -> AsyncIterator[list]:
        """As `Replica.call`, without weights."""
        assert method == "generate", f"an API has no method {method}"
        with self._streams.open() as stream:
            self._thread.submit(self._run, stream, requests, arguments)
            async for chunk in stream.chunks():
                yield chunk

    def _run(self, stream: Stream, requests: list, arguments: tuple) -> None:
        self._progress = self._clock()
        try:
            for chunk in in_chunks(self._results(stream, requests, arguments), CHUNK_SECONDS):
                stream.put(chunk)
            stream.put(None)
        except Exception as error:  # noqa: BLE001  # Raised again in the caller.
            stream.put(error)
        finally:
            self._progress = None

    def _results(self, stream: Stream, requests: list, arguments: tuple) -> Iterator:
        """Results until the caller is gone."""
        with contextlib.closing(api.generate(self._model, requests, *arguments)) as results:
            for result in results:
                self._progress = self._clock()
                if stream.closed:
                    return
                yield result


def in_chunks(results: Iterable, seconds: float, clock: Callable[[], float] = time.monotonic) -> Iterator[list]:
    """Results in lists: one each time `seconds` have passed, and one with the rest."""
    chunk, last = [], clock()
    try:
        for result in results:
            chunk.append(result)
            if clock() - last > seconds:
                yield chunk
                chunk, last = [], clock()
    except Exception:
        if chunk:  # Results from before the failure are kept.
            yield chunk
        raise
    if chunk:
        yield chunk
