"""A Serve replica with one vLLM engine (evaluators/engines/vllm_engine.py).

If vLLM fails or hangs, the process tells its callers and ends, and Serve starts another one.
"""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from evaluators.engines.split import Split
from evaluators.engines.vllm_engine import Engine, EngineFailed
from evaluators.imports import IMPORTS
from orchestrator.run.allocation import Amount
from orchestrator.run.allocator import allocator_of
from orchestrator.run.engine_lifetime import event_log_of, note_begun
from orchestrator.run.engine_loop import Call, EngineLoop
from orchestrator.run.local_weights import local_weights
from orchestrator.run.other_nodes import OtherNodes
from orchestrator.run.streams import Streams
from orchestrator.store.context import Weights
from orchestrator.store.store import Store
from trainers.scratch import scratch_folder

NODE_LOST = "a node of the engine is lost"
ROLLOUTS_FIRST = -1  # the priority of requests for which a training waits


@dataclass(frozen=True, kw_only=True)
class EngineSpec:
    """How a replica starts its engine."""

    run: str
    engine: str
    store: str
    dtype: str
    max_model_len: int | None
    lora_rank: int
    threads: int  # of each process
    split: Split
    part: Amount  # what it needs on each of its nodes
    timeout: float  # seconds of one step, or of a load of weights, after which the engine counts as hung


class Replica:
    def __init__(self, spec: EngineSpec, clock: Callable[[], float] = time.monotonic):
        began = time.time()
        with IMPORTS:
            import vllm  # noqa: F401  # The slow part of a start, before the first call.

        self._spec, self._store, self._clock = spec, Store(spec.store), clock
        self._streams = Streams()
        self._others = OtherNodes(spec.store, spec.split.nodes, spec.part)
        self._engine = EngineLoop(self._start, partial(note_begun, spec.run), clock)
        # One thread for the replica's life: neither an engine nor its OpenMP workers can be shared between threads.
        threading.Thread(target=self._run, daemon=True).start()
        self._note_start(began)

    def _start(self, base: str) -> Engine:
        import ray

        began, spec = time.time(), self._spec
        settings = {
            "checkpoint": base,
            "dtype": spec.dtype,
            "max_model_len": spec.max_model_len,
            "lora_rank": spec.lora_rank,
            "threads": spec.threads,
            "split": spec.split,
            "memory_level": ray.get(allocator_of(spec.run).memory_level.remote(spec.engine)),
        }
        engine = Engine(**{**settings, "split": self._others.start(settings)})
        self._note_start(began)
        return engine

    def _note_start(self, began: float) -> None:
        """Log a part of the start, which began at a Unix time."""
        event_log_of(self._spec.run).engine_started.remote(began, time.time() - began)

    def _run(self) -> None:
        try:
            self._engine.run()
        except Exception as error:  # The callers learn the reason, whatever it is.
            if isinstance(error, EngineFailed) and error.out_of_memory:
                self._take_less_memory()
            self._streams.end_process(str(error))
            raise

    def _take_less_memory(self) -> None:
        """Let this engine's next replica start with smaller limits."""
        import ray

        level = ray.get(allocator_of(self._spec.run).take_less_memory.remote(self._spec.engine))
        note = (
            f"the engine of {self._spec.engine} ran out of memory; it starts again with smaller limits (level {level})"
        )
        event_log_of(self._spec.run).note.remote(note, "")

    async def check_health(self) -> None:
        """Serve calls this every few seconds."""
        since = self._engine.busy_since
        if since is not None and self._clock() - since > self._spec.timeout:
            self._streams.end_process(f"the engine hangs: one step took longer than {self._spec.timeout:g} s")
        if await asyncio.to_thread(self._others.lost):
            self._streams.end_process(NODE_LOST)

    async def call(
        self, id: str, weights: Weights, method: str, requests: list, arguments: tuple, alone: bool
    ) -> AsyncIterator[Any]:
        """Call `generate` or `score` of the engine, with nothing else beside it if `alone`. The event log has the `id`
        of the call once it has begun. Yields the engine's settings, and chunks of (index of the request, result) in the
        order in which requests finish."""
        with scratch_folder() as scratch, self._streams.open() as stream:
            base, adapter = await asyncio.to_thread(local_weights, self._store, weights, scratch)
            if not await asyncio.to_thread(self._others.fetch, weights, scratch):
                self._streams.end_process(NODE_LOST)
            else:
                self._engine.submit(
                    Call(
                        id=id,
                        base=base,
                        adapter=adapter,
                        method=method,
                        requests=requests,
                        arguments=arguments,
                        must_differ=not weights.temporary,
                        priority=ROLLOUTS_FIRST if weights.temporary else 0,
                        alone=alone,
                        stream=stream,
                        since=self._clock(),
                    )
                )
            try:
                async for chunk in stream.chunks():
                    yield chunk
            finally:
                if weights.temporary:
                    self._others.forget(scratch)
