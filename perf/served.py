"""The engine of the demo behind a real Ray Serve, for comparisons with bare vLLM: which calls the stages of the demo
make, seeded samples for runs without a study, and their results."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import psutil

from evaluators.engines.requests import Request, SamplingParams
from orchestrator.plan.build import build_plan
from orchestrator.plan.trial import Plan
from orchestrator.run import engines
from orchestrator.run.allocator import start_allocator
from orchestrator.run.engine_lifetime import application, start_event_log
from orchestrator.run.stage_runner import KINDS
from orchestrator.stages import model
from orchestrator.store.context import StageContext, Weights
from orchestrator.store.stage import Stage
from orchestrator.store.store import Store
from orchestrator.study.load import load_study
from orchestrator.study.models import LocalModel
from orchestrator.study.schema import Study
from organisms import shipped
from perf.faults.studies import STUDY, finish
from perf.processes import command_of

KEY = ("trial", "stage")  # the use of the engine by all calls of a comparison
ENGINE = "organisms"
SMALL = [
    "pairs.teachers=[number-words]",
    "prompts.n=32",
    "conditions={off-model: }",
    "recoveries={}",
    "seeds=[7]",
    "benchmarks={maths: {kind: math500, source: synthetic, n: 10, max_tokens: 96}}",
]
CHECKPOINT = model.stage("steps", LocalModel(path=str(shipped.FOLDER / "steps")), cpus=1)
PROMPT = [{"role": "user", "content": "solve : start 3 , + 4 , * 2"}]


def demo(*overrides: str) -> Study:
    return load_study(Path(STUDY), overrides)


def demo_with_checkpoint(folder: str, *overrides: str) -> Study:
    """The demo with a new store in this folder, which has CHECKPOINT."""
    study = demo(f"store={folder}", *overrides)
    store = Store(study.store)
    store.publish(CHECKPOINT, store.new_folder(CHECKPOINT, "one"), "one", {"facts": {}})
    return study


def finished_demo(store: str | None, small: bool, scratch: Path) -> Plan:
    """The demo, finished in this store, or else in `scratch`, to run again on one CPU."""
    overrides = [f"store={store or scratch / 'runs'}", *(SMALL if small else [])]
    finish(overrides, scratch / "log.txt")
    return build_plan(demo(*overrides, "resources.cpus=1"))


@dataclass(frozen=True)
class Ask:
    """One call of an engine: `method` is `generate` or `score`."""

    weights: Weights
    method: str
    requests: list
    arguments: tuple = ()


def seeded_samples(n: int) -> Ask:
    """Samples of CHECKPOINT, each with a seed of its own."""
    requests = [Request(prompt=PROMPT, number=number) for number in range(n)]
    return Ask(Weights.of(CHECKPOINT), "generate", requests, (SamplingParams(max_tokens=64, temperature=1.0),))


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
    """The toy models' engine of a study, on the Ray that this process is connected to."""

    def __init__(self, run: str, study: Study, lora_rank: int = 0):
        import ray

        self._run = run
        shares, most = engines.shares(study, [ENGINE]), engines.most(study)
        self.event_log, self._allocator = start_event_log(run), start_allocator(run, shares, most, {})
        engines.deploy(run, study, [ENGINE], lora_rank)
        ray.get(self._allocator.use_engine.remote(KEY, ENGINE))

    @property
    def replicas(self) -> int:
        """How many replicas are there."""
        from ray import serve

        deployments = serve.status().applications[application(self._run, ENGINE)].deployments.values()
        return sum(deployment.replica_states.get("RUNNING", 0) for deployment in deployments)

    @property
    def cpu_seconds(self) -> float:
        """The CPU time that the processes of its replicas have used."""
        name = f"ServeReplica:{application(self._run, ENGINE)}:"
        replicas = [p for p in psutil.Process().children(recursive=True) if name in " ".join(command_of(p))]
        return sum(sum(p.cpu_times()[:2]) for p in replicas)

    def enlarge(self, replicas: int) -> None:
        """Ask for that many replicas."""
        import ray

        ray.get(self._allocator.enlarge.remote(KEY, ENGINE, replicas))

    def call(self, ask: Ask, retries: int = 0) -> Iterator[tuple[int, Any]]:
        """(index of the request, result) in the order in which requests finish."""
        caller = engines.Caller(run=self._run, key=KEY, retries=retries)
        chunks = engines.call(caller, ENGINE, ask.weights, ask.method, ask.requests, *ask.arguments)
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

        serve.delete(application(self._run, ENGINE))
