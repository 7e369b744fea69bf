"""Studies whose stages do nothing, to measure what everything else costs: Ray, Ray Tune, leases and records in the
store, MLflow and the report. No engine is started."""

from typing import Any

from evaluators.engines.generations import Generation, to_jsonl
from evaluators.engines.requests import Completion
from evaluators.evaluate import Graded, summary
from evaluators.grading.verdict import Verdict
from orchestrator.plan.build import build_plan
from orchestrator.plan.state import state_of
from orchestrator.plan.trial import Plan
from orchestrator.run import driver, preflight, stage_runner
from orchestrator.run.tracking import Tracker
from orchestrator.stages import evaluate, sample, train
from orchestrator.store.context import StageContext
from orchestrator.store.store import Store
from orchestrator.study.schema import Study

TEACHERS, MOST_SEEDS = 20, 5
GENERATIONS = [
    Generation(
        id=str(i),
        prompt=[{"role": "user", "content": ""}],
        completions=(Completion(token_ids=(1,), text="", truncated=False),),
    )
    for i in range(2)
]
GRADES = [
    Graded(id=str(i), group={}, score=float(i), verdicts=(Verdict(score=float(i), parsed=True),)) for i in range(2)
]
# Of each kind of stage: the facts that it returns, and the files that its readers need.
FACTS: dict[str, dict[str, Any]] = {
    "model": {},
    "sample": {"n": 2, "tokens": 0, "truncated": 0.0},
    "train": {"tokens": 0},
    "evaluate": {**summary(GENERATIONS, GRADES), "figures": {}},
}
FILES = {
    "sample": {sample.GENERATIONS: to_jsonl(GENERATIONS)},
    "train": {train.STEPS: '{"step": 0, "loss": 1.0}\n'},
    "evaluate": {evaluate.GRADES: to_jsonl(GRADES)},
}


class EmptyStage:
    """Takes the place of a module of `orchestrator.stages`: it writes what its readers need, and does nothing else."""

    def __init__(self, kind: str):
        self._kind = kind

    def run(self, context: StageContext) -> dict:
        for name, text in FILES.get(self._kind, {}).items():
            (context.out / name).write_text(text)
        return FACTS[self._kind]


def use_empty_stages() -> None:
    """Replace the stages that work, and deploy no engine; Ray calls this in every process that it starts."""
    kinds: Any = stage_runner.KINDS
    kinds.update({kind: EmptyStage(kind) for kind in FACTS})
    engines: Any = driver.engines
    engines.deploy = lambda *_: None


def make_study(trials: int, store: str, train_cpus: float = 1.0, benchmarks: int = 1) -> Study:
    """A study with this many trials, a multiple of 20: off-model SFT over students, teachers and seeds. A trial has
    about 1 + 2 * `benchmarks` stages of its own."""
    seeds = min(MOST_SEEDS, trials // TEACHERS)
    students = [f"student-{i}" for i in range(trials // (seeds * TEACHERS))]
    teachers = [f"teacher-{i}" for i in range(TEACHERS)]
    return Study.model_validate(
        {
            "name": "scale",
            "store": store,
            "models": {name: f"someone/{name}" for name in students + teachers},
            "pairs": {"students": students, "teachers": teachers},
            "prompts": {"source": "synthetic", "n": 10},
            "sampling": {"max_tokens": 8},
            "train": {"learning_rate": 1e-3},
            "conditions": {"off-model": None},
            "benchmarks": {
                f"maths-{i}": {"kind": "math500", "source": "synthetic", "n": 10 + i} for i in range(benchmarks)
            },
            "seeds": list(range(seeds)),
            # No engine is started, but each takes its share.
            "resources": {"engine": {"cpus": 0.01}, "train": {"cpus": train_cpus}},
        }
    )


def pending(plan: Plan) -> int:
    """The number of trials that are not done; the checks before a run are part of it."""
    store = Store(plan.study.store)
    state = state_of(plan, store)
    preflight.check(plan, store, state.records)
    return len(state.pending)


def run(study: Study, address: str | None = None) -> None:
    """What `offmodel run` does, without its output, on the Ray that this process is connected to. `address`: of its
    cluster, None for a local Ray."""
    plan = build_plan(study)
    pending(plan)
    tracker = Tracker(plan)
    tracker.start()
    driver.run_study(plan, address, tracker, None)
    assert tracker.finish() is None
