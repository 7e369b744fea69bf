"""The Serve replica of a model behind an API: it sends requests, and has no engine.

One call runs at a time, so that the API's limit on concurrent requests holds for the whole run.
"""

import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from evaluators.engines import api
from evaluators.engines.api import Account, APIModel
from orchestrator.run.engine_lifetime import event_log_of, note_begun
from orchestrator.run.streams import CHUNK_SECONDS, Stream, Streams
from orchestrator.store.context import Weights
from orchestrator.study.cost_assumptions import TokenPrice


@dataclass(frozen=True, kw_only=True)
class APISpec:
    """How a replica calls a model of a run. `price`: None if the study declares none. `timeout`: seconds without a
    finished request after which the replica counts as hung."""

    run: str
    name: str
    model: APIModel
    price: TokenPrice | None
    timeout: float


class APIReplica:
    def __init__(self, spec: APISpec, clock: Callable[[], float] = time.monotonic):
        self._run_name, self._model, self._timeout, self._clock = spec.run, spec.model, spec.timeout, clock
        self._account = Account()
        if spec.price is not None:
            self._account = _account(spec, spec.price)
        self._thread = ThreadPoolExecutor(1)
        self._streams = Streams()
        self._progress: float | None = None  # when the running call last got on

    async def check_health(self) -> None:
        """Serve calls this every few seconds."""
        if self._progress is not None and self._clock() - self._progress > self._timeout:
            self._streams.end_process(f"the engine hangs: no request was finished in {self._timeout:g} s")

    async def call(
        self, id: str, weights: Weights, method: str, requests: list, arguments: tuple, alone: bool
    ) -> AsyncIterator[list]:
        """As `Replica.call`, without weights. No call crashes it, so none needs to be alone."""
        assert method == "generate", f"an API has no method {method}"
        with self._streams.open() as stream:
            self._thread.submit(self._run, id, stream, requests, arguments)
            async for chunk in stream.chunks():
                yield chunk

    def _run(self, id: str, stream: Stream, requests: list, arguments: tuple) -> None:
        self._progress = self._clock()
        try:
            note_begun(self._run_name, [id])
            for chunk in in_chunks(self._results(stream, requests, arguments), CHUNK_SECONDS):
                stream.put(chunk)
            stream.put(None)
        except Exception as error:  # noqa: BLE001  # Raised again in the caller.
            stream.put(error)
        finally:
            self._progress = None

    def _results(self, stream: Stream, requests: list, arguments: tuple) -> Iterator:
        """Results until the caller is gone."""
        (params,) = arguments
        with contextlib.closing(api.generate(self._model, requests, params, self._account)) as results:
            for result in results:
                self._progress = self._clock()
                if stream.closed:
                    return
                yield result


def _account(spec: APISpec, price: TokenPrice) -> Account:
    """The account of a model, with what an earlier replica of the run has spent."""
    import ray

    log = event_log_of(spec.run)
    return Account(
        input=price.input,
        output=price.output,
        most=spec.model.max_cost,
        spent=ray.get(log.spent.remote(spec.name)),
        on_spend=lambda dollars: log.spend.remote(spec.name, dollars),
    )


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
