"""vLLM engines behind Ray Serve, one deployment for each model architecture.

A replica owns one engine and runs one batch at a time. It starts the engine with the checkpoint of its first batch, and
loads other checkpoints of that architecture, and LoRA adapters, without a restart.
"""

import asyncio
import contextlib
import logging
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evaluators.engines import api
from evaluators.engines.api import APIModel
from evaluators.engines.vllm_engine import EngineFailed
from evaluators.imports import IMPORTS
from orchestrator.run.engine_client import EngineLost, ask_despite_losses
from orchestrator.run.engine_lifetime import application
from orchestrator.store.checkpoints import checkpoint_of
from orchestrator.store.context import Weights
from orchestrator.store.store import Store
from orchestrator.store.temporary import fetch_temporary
from orchestrator.study.schema import Study
from trainers.scratch import scratch_folder

CHUNK_SECONDS = 5.0  # between two chunks of results, each of which may be stored
EXIT_SECONDS = 1.0  # in which the reason for a replica's end reaches its callers
POLL_SECONDS = 0.5  # between two looks at whether the engines have started


@dataclass(frozen=True)
class Failed:
    """In place of a chunk, the last word of a replica whose process is about to end."""

    reason: str


@dataclass(frozen=True)
class EngineSpec:
    """How a replica starts its engine."""

    store: str
    dtype: str
    max_model_len: int | None
    lora_rank: int
    threads: int
    timeout: float  # seconds without a finished request after which the engine counts as hung
    api: APIModel | None = None  # in place of a vLLM engine


class Replica:
    """A Serve replica with one engine; see evaluators/engines/vllm_engine.py.

    If vLLM fails or hangs, the process tells its callers and ends, and Serve starts another one.
    """

    def __init__(self, spec: EngineSpec, clock: Callable[[], float] = time.monotonic):
        if spec.api is None:
            with IMPORTS:
                import vllm  # noqa: F401  # The slow part of a start, before the first batch.

        self._spec, self._store = spec, Store(spec.store)
        self._engine: Any = None
        # One thread for the replica's life: neither an engine nor its OpenMP workers can be shared between threads.
        self._thread = ThreadPoolExecutor(1)
        self._clock = clock
        self._progress: float | None = None  # when the running batch last got on
        self._callers: set[asyncio.Queue] = set()

    async def check_health(self) -> None:
        """Serve calls this every few seconds."""
        if self._progress is not None and self._clock() - self._progress > self._spec.timeout:
            self._end(f"the engine hangs: no request was finished in {self._spec.timeout:g} s")

    def _end(self, reason: str) -> None:
        """Tell all callers the reason, and end this process."""
        for chunks in self._callers:
            chunks.put_nowait(Failed(reason))
        asyncio.get_running_loop().call_later(EXIT_SECONDS, os._exit, 1)

    async def call(self, weights: Weights, method: str, requests: list, arguments: tuple) -> AsyncIterator[list]:
        """Call `generate` or `score` of the engine with a batch of requests. Yields chunks of (index of the request,
        result) in the order in which requests finish."""
        loop, chunks = asyncio.get_running_loop(), asyncio.Queue[Any]()
        self._callers.add(chunks)

        def put(chunk: Any) -> None:
            loop.call_soon_threadsafe(chunks.put_nowait, chunk)

        cancelled = threading.Event()

        def run() -> None:
            self._progress = self._clock()
            try:
                results = self._until(cancelled, self._results(weights, method, requests, arguments))
                for chunk in in_chunks(results, CHUNK_SECONDS):
                    put(chunk)
                put(None)
            except EngineFailed as error:
                loop.call_soon_threadsafe(self._end, str(error))
            except Exception as error:  # noqa: BLE001  # Raised again in the caller.
                put(error)
            finally:
                self._progress = None

        self._thread.submit(run)
        try:
            while (chunk := await chunks.get()) is not None:
                if isinstance(chunk, Exception):
                    raise chunk
                yield chunk
        finally:
            cancelled.set()
            self._callers.discard(chunks)

    def _until(self, cancelled: threading.Event, results: Generator) -> Iterator:
        """Results until the caller is gone: its batch must not delay the next one."""
        with contextlib.closing(results):
            for result in results:
                self._progress = self._clock()
                if cancelled.is_set():
                    return
                yield result

    def _results(self, weights: Weights, method: str, requests: list, arguments: tuple) -> Generator:
        """A generator, so that everything runs in the engine's own thread."""
        if self._spec.api is not None:
            assert method == "generate", f"an API has no method {method}"
            yield from api.generate(self._spec.api, requests, *arguments)
            return
        with IMPORTS:
            from evaluators.engines.vllm_engine import Engine

        with scratch_folder() as scratch:
            base, adapter = self._folders(weights, scratch)
            self._progress = self._clock()  # A download of weights, and a load, may take as long as a request.
            if self._engine is None:
                spec = self._spec
                self._engine = Engine(base, spec.dtype, spec.max_model_len, spec.lora_rank, spec.threads)
            self._engine.load(base)
            self._progress = self._clock()
            call = {"generate": self._engine.generate, "score": self._engine.score}[method]
            yield from call(requests, *arguments, adapter, must_differ=not weights.temporary)

    def _folders(self, weights: Weights, scratch: Path) -> tuple[str, Path | None]:
        """Local folders of checkpoint and adapter. A temporary folder keeps its name, by which vLLM knows it."""
        if weights.temporary:
            path = weights.adapter or weights.base
            temporary = fetch_temporary(self._store, path, scratch / path.rsplit("/", 1)[-1])
            if weights.adapter is None:
                return str(temporary), None
            return checkpoint_of(self._store, weights.base, weights.path), temporary
        if weights.adapter is None:
            return checkpoint_of(self._store, weights.base, weights.path), None
        record = self._store.read_record(weights.adapter)
        assert record is not None, f"{weights.adapter} is not in the store"
        return checkpoint_of(self._store, weights.base, weights.path), self._store.folder(weights.adapter, record)


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


class Engines:
    """The engines of one run. Every run has its own, so that one run can end before another."""

    def __init__(self, run: str, study: Study, engines: list[str], lora_rank: int):
        """Deploy the engines, without waiting for them; `lora_rank` is the largest rank to serve."""
        with IMPORTS:
            from ray import serve

        logging.getLogger("ray.serve").setLevel(logging.ERROR)  # Serve sets its own level when it is imported.
        resources = study.resources.engine
        spec = EngineSpec(
            store=study.store,
            dtype=study.dtype,
            max_model_len=study.max_model_len,
            lora_rank=lora_rank,
            threads=max(1, int(resources.cpus)),
            timeout=resources.timeout_seconds,
        )
        deployment = serve.deployment(
            Replica,
            num_replicas=resources.replicas,
            max_ongoing_requests=1000,
            graceful_shutdown_wait_loop_s=0.1,
            graceful_shutdown_timeout_s=1,  # A replica ends with its run, when nobody needs its results.
            ray_actor_options={
                "num_cpus": resources.cpus,
                "num_gpus": resources.gpus,
                "runtime_env": {"env_vars": {"OMP_NUM_THREADS": str(spec.threads)}},
            },
        )
        self._names = [application(run, name) for name in engines]

        def deployed(name: str) -> Any:
            served = study.models[name].served if name in study.models else None
            if served is None:
                return deployment.bind(spec)
            # One replica for all stages, so that its limit on concurrent requests holds for the whole run.
            waiting = deployment.options(num_replicas=1, ray_actor_options={"num_cpus": 0})
            return waiting.bind(replace(spec, api=served))

        self._began, self._ready = time.time(), 0.0
        self._finished = threading.Event()
        self._waiting = threading.Thread(target=self._wait, daemon=True)
        if not engines:  # Only grading is left.
            return
        serve.start(proxy_location="Disabled", logging_config={"log_level": "ERROR"})
        targets = [
            serve.RunTarget(deployed(engine), name=name, route_prefix=None)
            for engine, name in zip(engines, self._names, strict=True)
        ]
        serve.run_many(targets, wait_for_applications_running=False)
        self._waiting.start()

    def _wait(self) -> None:
        with IMPORTS:
            from ray import serve

        while not self._finished.wait(POLL_SECONDS):
            found = serve.status().applications
            if all(found[name].status == "RUNNING" for name in self._names):
                self._ready = time.time()
                return

    def finish(self) -> None:
        """Do not wait any more for the engines to start."""
        self._finished.set()
        if self._waiting.is_alive():
            self._waiting.join()

    @property
    def started(self) -> tuple[float, float] | None:
        """The Unix times at which the engines were deployed, and at which all were ready for a batch."""
        return (self._began, self._ready) if self._ready else None


def batch(handle: Any, weights: Weights, method: str, requests: list, arguments: tuple) -> Iterator[list]:
    """The chunks of `Replica.call`. Raises EngineLost, with the reason, where the replica is lost."""
    from ray.exceptions import ObjectLostError, RayActorError

    reason = ""
    try:
        for chunk in handle.call.remote(weights, method, requests, arguments):
            if isinstance(chunk, Failed):
                reason = chunk.reason
            else:
                yield chunk
    except (RayActorError, ObjectLostError) as error:
        raise EngineLost(reason or str(error)) from None


def call(
    run: str, retries: int, engine: str, weights: Weights, method: str, requests: list, *arguments: Any
) -> Iterator[list[tuple[int, Any]]]:
    """Call `generate` or `score` of an engine from any process of the cluster; see Replica.call and
    ask_despite_losses."""
    with IMPORTS:
        from ray import serve

    handle = serve.get_app_handle(application(run, engine)).options(stream=True)

    def ask(requests: list, arguments: tuple) -> Iterator[list[tuple[int, Any]]]:
        return batch(handle, weights, method, requests, arguments)

    return ask_despite_losses(ask, retries, method, requests, arguments)
