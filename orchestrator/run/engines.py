"""The fleet: vLLM engines behind Ray Serve, one deployment for each shape of model.

A replica owns one engine and takes whole batches, one at a time. It starts its engine with the first checkpoint that it
is asked for, and takes on other checkpoints of that shape, and LoRA adapters, without a restart.
"""

import asyncio
import contextlib
import logging
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evaluators.engines import api
from evaluators.engines.api import APIModel
from orchestrator.store.context import Weights, checkpoint_of
from orchestrator.store.store import Store
from orchestrator.study.schema import Study

CHUNK_SECONDS = 5.0  # between two chunks of results, each of which may be kept in the store


@dataclass(frozen=True)
class EngineSpec:
    """What a replica needs to know before it starts."""

    store: str
    dtype: str
    max_model_len: int | None
    lora_rank: int
    threads: int
    api: APIModel | None = None  # in place of an engine of our own


class Replica:
    """A Serve replica around one engine (see evaluators/engine.py)."""

    def __init__(self, spec: EngineSpec):
        if spec.api is None:
            import vllm  # noqa: F401  # The slow part of a start; the first batch need not wait for it.

        self._spec, self._store = spec, Store(spec.store)
        self._engine: Any = None
        # One thread for good: an engine is not to be shared between threads, nor are its OpenMP workers.
        self._thread = ThreadPoolExecutor(1)

    async def ready(self) -> bool:
        """True, once there is a replica to say so."""
        return True

    async def ask(self, weights: Weights, what: str, requests: list, how: tuple) -> AsyncIterator[list]:
        """Do `what` ("generate" or "score", see Engine) with a batch of requests. Yields results as they are
        finished, in chunks, each with its request's place."""
        loop, chunks = asyncio.get_running_loop(), asyncio.Queue[Any]()

        def put(chunk: Any) -> None:
            loop.call_soon_threadsafe(chunks.put_nowait, chunk)

        gone = threading.Event()

        def work() -> None:
            try:
                for chunk in in_chunks(self._until(gone, self._results(weights, what, requests, how)), CHUNK_SECONDS):
                    put(chunk)
                put(None)
            except Exception as error:  # noqa: BLE001  # Raised again in whoever asks.
                put(error)

        self._thread.submit(work)
        try:
            while (chunk := await chunks.get()) is not None:
                if isinstance(chunk, Exception):
                    raise chunk
                yield chunk
        finally:
            gone.set()

    @staticmethod
    def _until(gone: threading.Event, results: Generator) -> Iterator:
        """Results for as long as somebody waits for them: a batch that nobody does must not hold up the next."""
        with contextlib.closing(results):
            for result in results:
                if gone.is_set():
                    return
                yield result

    def _results(self, weights: Weights, what: str, requests: list, how: tuple) -> Generator:
        """Lazily, so that it is in the engine's own thread that anything is done."""
        if self._spec.api is not None:
            assert what == "generate", f"an API was asked for a {what}"
            yield from api.generate(self._spec.api, requests, *how)
            return
        from evaluators.engines.vllm_engine import Engine

        with tempfile.TemporaryDirectory(prefix="offmodel-lent-") as scratch:
            base, adapter = self._folders(weights, Path(scratch))
            if self._engine is None:
                spec = self._spec
                self._engine = Engine(base, spec.dtype, spec.max_model_len, spec.lora_rank, spec.threads)
            self._engine.load(base)
            do = {"generate": self._engine.generate, "score": self._engine.score}[what]
            yield from do(requests, *how, adapter, must_differ=not weights.temporary)

    def _folders(self, weights: Weights, scratch: Path) -> tuple[str, Path | None]:
        """Local folders with the weights to answer with. Lent ones keep their own name: vLLM knows them by it."""
        if weights.temporary:
            place = weights.adapter or weights.base
            temporary = self._store.fetch_temporary(place, scratch / place.rsplit("/", 1)[-1])
            if weights.adapter is None:
                return str(temporary), None
            return checkpoint_of(self._store, weights.base), temporary
        if weights.adapter is None:
            return checkpoint_of(self._store, weights.base), None
        record = self._store.read_record(weights.adapter)
        assert record is not None, f"{weights.adapter} is not in the store"
        return checkpoint_of(self._store, weights.base), self._store.folder(weights.adapter, record)


def in_chunks(results: Iterable, seconds: float, clock: Callable[[], float] = time.monotonic) -> Iterator[list]:
    """Results in lists: one when so much time has passed since the last, and one with the rest."""
    chunk, last = [], clock()
    try:
        for result in results:
            chunk.append(result)
            if clock() - last > seconds:
                yield chunk
                chunk, last = [], clock()
    except Exception:
        if chunk:  # What was paid for before the failure is kept.
            yield chunk
        raise
    if chunk:
        yield chunk


class Engines:
    """The engines of one run. Every run has its own, so that one may end before another."""

    def __init__(self, run: str, study: Study, engines: list[str], lora_rank: int):
        """Deploy the engines, without waiting for them; `lora_rank` is the largest that they will be asked with."""
        from ray import serve

        logging.getLogger("ray.serve").setLevel(logging.ERROR)  # Serve sets its own level when it is imported.
        resources = study.resources.engine
        spec = EngineSpec(
            store=study.store,
            dtype=study.dtype,
            max_model_len=study.max_model_len,
            lora_rank=lora_rank,
            threads=max(1, int(resources.cpus)),
        )
        deployment = serve.deployment(
            Replica,
            num_replicas=resources.replicas,
            max_ongoing_requests=1000,
            ray_actor_options={
                "num_cpus": resources.cpus,
                "num_gpus": resources.gpus,
                "runtime_env": {"env_vars": {"OMP_NUM_THREADS": str(spec.threads)}},
            },
        )
        self._names = [_application(run, name) for name in engines]

        def deployed(name: str) -> Any:
            served = study.models[name].served if name in study.models else None
            if served is None:
                return deployment.bind(spec)
            # One replica for all stages, so that its bound on questions under way is one for the whole run.
            waiting = deployment.options(num_replicas=1, ray_actor_options={"num_cpus": 0})
            return waiting.bind(replace(spec, api=served))

        self._began, self._ready = time.time(), 0.0
        if not engines:  # Nothing is left but to grade.
            return
        serve.start(proxy_location="Disabled", logging_config={"log_level": "ERROR"})
        targets = [
            serve.RunTarget(deployed(engine), name=name, route_prefix=None)
            for engine, name in zip(engines, self._names, strict=True)
        ]
        serve.run_many(targets, wait_for_applications_running=False)
        threading.Thread(target=self._wait, daemon=True).start()

    def _wait(self) -> None:
        from ray import serve

        for name in self._names:
            serve.get_app_handle(name).ready.remote().result()
        self._ready = time.time()

    @property
    def started(self) -> tuple[float, float] | None:
        """When the engines were deployed, and when the last of them was ready for its first batch."""
        return (self._began, self._ready) if self._ready else None

    def stop(self) -> None:
        """End the engines; with their processes their memory is free."""
        from ray import serve

        for name in self._names:
            serve.delete(name)


def _application(run: str, engine: str) -> str:
    return f"offmodel-{run}-{engine}"


def ask(
    run: str, retries: int, engine: str, weights: Weights, what: str, requests: list, *how: Any
) -> Iterator[list[tuple[int, Any]]]:
    """Ask an engine of the fleet from any process of the cluster; what a lost replica left is asked again, `retries`
    times. See Replica.ask."""
    from ray import serve
    from ray.exceptions import RayActorError

    handle = serve.get_app_handle(_application(run, engine)).options(stream=True)
    left = dict(enumerate(requests))
    for more in reversed(range(retries + 1)):
        places = list(left)
        try:
            for chunk in handle.ask.remote(weights, what, [left[place] for place in places], how):
                results = [(places[i], result) for i, result in chunk]
                for place, _ in results:
                    del left[place]
                yield results
            return
        except RayActorError:
            if not more:
                raise
