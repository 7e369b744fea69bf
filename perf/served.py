"""The engines of a study behind a real Ray Serve, for comparisons with bare vLLM: which calls the stages of a study
make, and their results."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from orchestrator.plan.trial import Plan
from orchestrator.run import engines
from orchestrator.run.allocator import allocator_of, start_allocator
from orchestrator.run.engine_lifetime import application, start_event_log
from orchestrator.run.stage_runner import KINDS
from orchestrator.store.context import StageContext, Weights
from orchestrator.store.stage import Stage
from orchestrator.store.store import Store
from orchestrator.study.schema import Study

KEY = ("trial", "stage")  # the use of the engine by all calls of a comparison


@dataclass(frozen=True)
class Ask:
    """One call of an engine: `method` is `generate` or `score`."""

    weights: Weights
    method: str
    requests: list
    arguments: tuple = ()


class _Asked(Exception):
    """In place of an engine's answer."""


def asks_of(plan: Plan, store: Store, scratch: Path) -> Iterator[tuple[Stage, Ask]]:
    """The calls of engines that the stages of a finished study have made: each runs again up to its call."""
    for stage in plan.stages:
        if not stage.runtime.uses_engine or stage.kind == "train":
            continue
        found: list[Ask] = []

        def engine(_: str, weights: Weights, method: str, requests: list, *arguments: Any, found: list = found) -> Any:
            found.append(Ask(weights, method, requests, arguments))
            raise _Asked

        try:
            KINDS[stage.kind].run(StageContext(stage, store, scratch, engine))
        except _Asked:
            yield stage, found[0]


class Served:
    """The engine `name` of a study, on the Ray that this process is connected to."""

    def __init__(self, run: str, study: Study, name: str, lora_rank: int = 0):
        import ray

        self._run, self._name = run, name
        shares, most = engines.shares(study, [name]), engines.most(study)
        self.event_log, self._allocator = start_event_log(run), start_allocator(run, shares, most, {})
        engines.deploy(run, study, [name], lora_rank)
        ray.get(self._allocator.use_engine.remote(KEY, name))

    @property
    def replicas(self) -> int:
        """How many replicas are there."""
        from ray import serve

        deployments = serve.status().applications[application(self._run, self._name)].deployments.values()
        return sum(deployment.replica_states.get("RUNNING", 0) for deployment in deployments)

    def enlarge(self, replicas: int) -> None:
        """Ask for that many replicas."""
        import ray

        ray.get(allocator_of(self._run).enlarge.remote(KEY, self._name, replicas))

    def call(self, ask: Ask, retries: int = 0) -> Iterator[tuple[int, Any]]:
        """(index of the request, result) in the order in which requests finish."""
        caller = engines.Caller(run=self._run, key=KEY, retries=retries)
        chunks = engines.call(caller, self._name, ask.weights, ask.method, ask.requests, *ask.arguments)
        return chain.from_iterable(chunks)

    def answers_to_all(self, asks: list[Ask]) -> list[dict[int, Any]]:
        """The results of many calls at once, each from a thread of its own, as the stages of a study make them."""
        found: list[dict[int, Any]] = [{} for _ in asks]

        def answer(i: int) -> None:
            found[i] = dict(self.call(asks[i]))

        threads = [threading.Thread(target=answer, args=(i,)) for i in range(len(asks))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(len(results) == len(ask.requests) for results, ask in zip(found, asks, strict=True)), "one failed"
        return found

    def end(self) -> None:
        """Give the engine's resources back."""
        from ray import serve

        serve.delete(application(self._run, self._name))
