"""What a study of 1,000 trials costs when its stages do nothing: plan, run and cached re-run, in seconds.

Everything but the stages is real: Ray, Ray Tune, the claims and records of the store, MLflow, the report. Stages that
ask the fleet do not, so no engine is started.

    python -m benchmarks.scale [trials]
"""

import sys
import tempfile
import time
from pathlib import Path

import ray
from rich.console import Console

from evaluators.engines.engine import Completion
from evaluators.engines.generations import Generation, to_jsonl
from evaluators.evaluate import Graded, summary
from evaluators.grading.verdict import Verdict
from orchestrator.plan.build import build_plan
from orchestrator.plan.trial import Plan
from orchestrator.run import driver, preflight, stage_runner
from orchestrator.run.tracking import Tracker
from orchestrator.stages import evaluate, sample
from orchestrator.store.store import Store
from orchestrator.study.schema import Study

SEEDS, TEACHERS = 5, 20
ANSWERED = [
    Generation(str(i), [{"role": "user", "content": ""}], (), (), (Completion((1,), "", False),)) for i in range(2)
]
GRADED = [Graded(str(i), {}, float(i), (Verdict(float(i), True),)) for i in range(2)]
FACTS = {
    "model": {},
    "sample": {"n": 2, "tokens": 0, "truncated": 0.0},
    "train": {"weights": "adapter", "tokens": 0},
    "evaluate": {**summary(ANSWERED, GRADED), "figures": {}},
}
FILES = {"sample": (sample.ANSWERS, to_jsonl(ANSWERED)), "evaluate": (evaluate.GRADES, to_jsonl(GRADED))}


class Nothing:
    """A kind of stage that does nothing but leave what its readers need."""

    def __init__(self, kind: str):
        self._kind = kind

    def run(self, work) -> dict:
        if self._kind in FILES:
            name, lines = FILES[self._kind]
            (work.out / name).write_text(lines)
        return FACTS[self._kind]


def do_nothing() -> None:
    """In every process of the benchmark's Ray: put stages that do nothing in the place of those that do."""
    stage_runner.KINDS.update({kind: Nothing(kind) for kind in FACTS})


class NoFleet:
    """In the place of the fleet, which nobody asks."""

    def __init__(self, *_: object):
        self.started = None

    def stop(self) -> None:
        pass


def study_of(trials: int, store: str) -> Study:
    """A study with that many trials: off-model SFT over students, teachers and seeds, on one benchmark."""
    students = [f"student-{i}" for i in range(trials // (SEEDS * TEACHERS))]
    teachers = [f"teacher-{i}" for i in range(TEACHERS)]
    return Study.model_validate(
        {
            "name": "scale",
            "store": store,
            "models": {name: f"someone/{name}" for name in students + teachers},
            "pairs": {"students": students, "teachers": teachers},
            "prompts": {"source": "organisms", "n": 10},
            "sampling": {"max_tokens": 8},
            "train": {"learning_rate": 1e-3},
            "conditions": {"off-model": None},
            "benchmarks": {"maths": {"kind": "math500", "source": "synthetic", "n": 10}},
            "seeds": list(range(SEEDS)),
            "resources": {"engine": {"cpus": 0.01}},  # None is started, but there must be room for them.
        }
    )


def plan_study(study: Study) -> tuple[Plan, int]:
    """The plan, and how many of its trials are not done."""
    plan = build_plan(study)
    store = Store(study.store)
    state = driver.state_of(plan, store)
    preflight.check(plan, store, state.records)
    return plan, len(state.pending)


def run_all(study: Study) -> None:
    plan, _ = plan_study(study)
    with Tracker(plan) as tracker:
        driver.run_study(plan, None, tracker, None)


def timed(console: Console, what: str, act, *arguments) -> float:
    started = time.time()
    act(*arguments)
    seconds = time.time() - started
    console.print(f"{what}: {seconds:.1f} s")
    return seconds


def main(trials: int = 1000) -> None:
    console = Console(highlight=False)
    driver.fleet.Engines = NoFleet
    with tempfile.TemporaryDirectory() as folder:
        study = study_of(trials, str(Path(folder, "store")))
        console.print(f"{len(build_plan(study).trials)} trials, {len(build_plan(study).stages)} distinct stages")
        timed(console, "plan", plan_study, study)
        started = time.time()
        driver.start_ray(None, study, worker_process_setup_hook=do_nothing)
        do_nothing()
        timed(console, f"run (Ray was up after {time.time() - started:.1f} s more)", run_all, study)
        ray.shutdown()
        assert plan_study(study)[1] == 0, "not every trial is done"
        timed(console, "cached re-run", run_all, study)


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
