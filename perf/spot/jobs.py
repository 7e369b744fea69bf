"""The stages of plans as jobs of a simulation, with times from the cost model (orchestrator/plan/gpu_hours.py).

The times of starts and saves are assumptions of ours: BYTES_PER_SECOND, BASE_SECONDS. A state of a training has three
float32 numbers for each trained parameter, and its first process writes all of them (trainers/learner.py).
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from orchestrator.plan.gpu_hours import gpu_hours_of
from orchestrator.plan.trial import Plan
from orchestrator.plan.work import gpus_of
from orchestrator.plan.workload import asked_of, rows_in
from orchestrator.run.allocation import Amount, Task
from orchestrator.run.spread import PART, PARTS_EACH
from orchestrator.store.stage import Stage, closure
from orchestrator.study.models import OpenModel
from orchestrator.study.schema import Study
from trainers.saving import seconds_between_saves

BYTES_PER_SECOND = 1e9  # of weights and states, between a process and a bucket
BASE_SECONDS = 60.0  # of the start of an engine or a training, without its weights
BYTES_OF_WEIGHT, BYTES_OF_STATE = 2, 12
LORA_SHARE = 0.005  # of the parameters, which LoRA trains


@dataclass(frozen=True, kw_only=True)
class Job:
    """`seconds`: of a task, or of one replica of its engine. `parts`: how many replicas its requests fill.
    `load_seconds`: of a replica, to load weights that are not those that it starts with."""

    key: str
    seconds: float
    after: tuple[str, ...]
    task: Task | None = None
    engine: str | None = None
    parts: int = 1
    start_seconds: float = 0.0
    save_seconds: float = 0.0
    load_seconds: float = 0.0
    trials: int = 0  # that need it
    behind: float = 0.0  # seconds of the longest chain from its start

    @property
    def instant(self) -> bool:
        return self.task is None and self.engine is None


@dataclass(frozen=True, kw_only=True)
class Engine:
    """What one replica needs, and how long it takes to start."""

    needs: Amount
    start_seconds: float
    replicas: int


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Jobs by key, inputs first, and the keys that each trial needs, in the order of the trials. `between_saves`: of
    the study's `save_every_seconds` and the seconds of a save, as in trainers/saving.py."""

    jobs: dict[str, Job]
    engines: dict[str, Engine]
    trials: list[frozenset[str]]
    trials_at_once: int
    save_every_seconds: float = 300.0
    between_saves: Callable[[float, float], float] = seconds_between_saves

    def gpus(self, job: Job) -> float:
        """Those that work on a job at once, or those of one replica."""
        if job.task is not None:
            return job.task.needs.gpus
        return self.engines[job.engine].needs.gpus if job.engine else 0.0

    @property
    def gpu_seconds(self) -> float:
        return sum(job.seconds * self.gpus(job) for job in self.jobs.values())

    def every(self, job: Job) -> float:
        """Seconds of training between two saves."""
        return self.between_saves(self.save_every_seconds, job.save_seconds)

    def shortest(self, job: Job) -> float:
        """The seconds that a job takes at least."""
        return job.seconds / min(job.parts, self.engines[job.engine].replicas) if job.engine else job.seconds


def workload_of(plans: Sequence[Plan]) -> Workload:
    """What all these plans need; a stage that several have counts once."""
    # The plans run side by side: their trials are mixed evenly.
    placed = [((i + 0.5) / len(plan.trials), trial) for plan in plans for i, trial in enumerate(plan.trials)]
    ordered = [trial for _, trial in sorted(placed, key=lambda each: each[0])]
    trials = [frozenset(stage.address for stage in closure(trial.stages())) for trial in ordered]
    needed = Counter(key for trial in trials for key in trial)
    jobs, engines = dict[str, Job](), dict[str, Engine]()
    for plan in plans:
        engines |= _engines(plan.study)
        hours = gpu_hours_of(plan.stages, plan.study).by_stage
        for stage in plan.stages:
            seconds = hours.get(stage, 0.0) * 3600 / gpus_of(stage, plan.study)
            jobs.setdefault(stage.address, _job(stage, plan.study, seconds, needed[stage.address]))
    study = plans[0].study
    return with_chains(
        Workload(
            jobs=jobs,
            engines=engines,
            trials=trials,
            trials_at_once=study.resources.max_concurrent_trials,
            save_every_seconds=study.resources.train.save_every_seconds,
        )
    )


def _engines(study: Study) -> dict[str, Engine]:
    found = {}
    for alias in study.models:
        resources = study.resources.of_engine(alias)
        found[alias] = Engine(
            needs=Amount(cpus=resources.cpus, gpus=resources.gpus),
            start_seconds=_start_seconds(_parameters(alias, study)),
            replicas=resources.replicas,
        )
    return found


def _parameters(alias: str | None, study: Study) -> float:
    model = study.models[alias or ""]
    assert isinstance(model, OpenModel)
    assert model.parameters is not None
    return model.parameters


def _start_seconds(parameters: float) -> float:
    return BASE_SECONDS + parameters * BYTES_OF_WEIGHT / BYTES_PER_SECOND


def _job(stage: Stage, study: Study, seconds: float, trials: int) -> Job:
    after = tuple(one.address for one in stage.inputs.values())
    if stage.kind == "train":
        parameters = _parameters(stage.runtime.engine, study)
        trained = parameters * (LORA_SHARE if stage.settings.leaves_adapter else 1.0)
        (cpus, gpus), n = stage.runtime.total, stage.runtime.processes
        return Job(
            key=stage.address,
            seconds=seconds,
            after=after,
            task=Task(process=Amount(cpus=cpus / n, gpus=gpus / n), processes=n),
            start_seconds=_start_seconds(parameters),
            save_seconds=trained * BYTES_OF_STATE / BYTES_PER_SECOND,
            trials=trials,
        )
    if not stage.runtime.uses_engine:
        return Job(key=stage.address, seconds=0.0, after=after, trials=trials)
    student = stage.inputs.get("student")
    full = student is not None and student.kind == "train" and not student.settings.leaves_adapter
    size = _parameters(stage.runtime.engine, study) * BYTES_OF_WEIGHT
    return Job(
        key=stage.address,
        seconds=seconds,
        after=after,
        engine=stage.runtime.engine,
        parts=math.ceil(requests_of(stage, study) / (PART * PARTS_EACH)),
        load_seconds=size / BYTES_PER_SECOND if full else 0.0,
        trials=trials,
    )


def requests_of(stage: Stage, study: Study) -> int:
    """How many requests a stage sends: one for all samples of a prompt."""
    if stage.kind == "logprobs":
        return rows_in(stage.inputs["data"], study)
    return asked_of(stage, study)[0] // stage.settings.sampling_params.n


def with_chains(workload: Workload) -> Workload:
    """With `behind` of each job."""
    behind = dict.fromkeys(workload.jobs, 0.0)
    for key, job in reversed(workload.jobs.items()):
        behind[key] += workload.shortest(job)
        for one in job.after:
            behind[one] = max(behind[one], behind[key])
    return replace(workload, jobs={key: replace(job, behind=behind[key]) for key, job in workload.jobs.items()})
