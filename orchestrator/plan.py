"""A study unfolded: its trials, and the stages that they share."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from orchestrator import conditions, findings, recoveries
from orchestrator.cell import Cell
from orchestrator.settings import StudyError
from orchestrator.stage import Stage, closure
from orchestrator.stages import train
from orchestrator.study import Study


@dataclass(frozen=True)
class Step:
    """One point of a trial, by its evaluations: the student after a recovery budget (0: before any), or, before that,
    `at` a step of its first training. `student` is None where it is the original one.

    `divergence` has, by benchmark, how likely the student and the original one find the student's answers, and `style`
    whose style they are in.
    """

    budget: int
    at: int | None
    student: Stage | None
    scores: dict[str, Stage]
    divergence: dict[str, tuple[Stage, Stage]]
    style: dict[str, Stage]

    def stages(self) -> Iterator[Stage]:
        yield from self.scores.values()
        for ours, theirs in self.divergence.values():
            yield from (ours, theirs)
        yield from self.style.values()


@dataclass(frozen=True)
class Trial:
    """One pair, condition and seed. `original` and `teacher_scores` are of the two models as they are; `surprise` is
    how likely the original student finds what this one was first trained on."""

    student: str
    teacher: str
    condition: str
    seed: int
    steps: tuple[Step, ...]
    original: dict[str, Stage]
    teacher_scores: dict[str, Stage]
    surprise: Stage | None

    @property
    def key(self) -> str:
        return f"{self.student}.{self.teacher}.{self.condition}.s{self.seed}"

    @property
    def params(self) -> dict[str, str | int]:
        """What tells this trial from the others."""
        return {"student": self.student, "teacher": self.teacher, "condition": self.condition, "seed": self.seed}

    def stages(self) -> Iterator[Stage]:
        """All that the trial measures; what that needs is in the inputs."""
        yield from self.references()
        for step in self.steps:
            yield from step.stages()

    def references(self) -> Iterator[Stage]:
        """What is measured but for the trained student."""
        yield from self.original.values()
        yield from self.teacher_scores.values()
        if self.surprise is not None:
            yield self.surprise


@dataclass(frozen=True)
class Plan:
    """All trials of a study."""

    study: Study
    trials: tuple[Trial, ...]

    @cached_property
    def stages(self) -> list[Stage]:
        """Every distinct stage, inputs first."""
        return closure(stage for trial in self.trials for stage in trial.stages())

    @cached_property
    def lora_rank(self) -> int:
        """The largest rank of an adapter that engines will be asked with; 0 for none."""
        return max((stage.settings.get("rank", 0) for stage in self.stages if stage.kind == "train"), default=0)

    def unshared(self) -> Counter[str]:
        """How many stages of each kind would run if every trial ran all that it needs by itself."""
        return Counter(stage.kind for trial in self.trials for stage in closure(trial.stages()))


def unfold(study: Study) -> Plan:
    """The plan of a study. Raises StudyError for what only shows when the parts meet."""
    made: dict = {}
    try:
        cells = [Cell(study, p.student, p.teacher, seed, made) for seed in study.seeds for p in study.pair_list]
        for alias in study.models:
            cells[0].model(alias)
        trials = tuple(_trial(cell, name) for name in study.conditions for cell in cells)
        findings.check(study, trials)
        return Plan(study, trials)
    except ValueError as error:
        raise StudyError(str(error)) from error


def _trial(cell: Cell, condition: str) -> Trial:
    study, options = cell.study, cell.study.conditions[condition]
    try:
        arm = conditions.module(conditions.kind_of(condition, options)).arm(
            cell, conditions.options(condition, options)
        )
    except ValueError as error:
        raise ValueError(f"conditions.{condition}: {error}") from error
    names = arm.benchmarks or tuple(study.benchmarks)
    students: dict[tuple[int, int | None], Stage | None] = {}
    if arm.student is not None and arm.student.kind == "train":
        students |= {(0, at): train.stopped(arm.student, at) for at in sorted(arm.student.runtime["checkpoints"])}
    students[0, None] = arm.student
    recovery = study.recovery
    if recovery is not None and condition in recovery.conditions:
        if arm.student is None:
            raise ValueError(f"recovery.conditions: {condition} trains no student, so there is none to bring back")
        recover = recoveries.module(recovery.method).recover
        try:
            students |= {(budget, None): recover(cell, arm.student, budget) for budget in sorted(recovery.budgets)}
        except ValueError as error:
            raise ValueError(f"recovery: {error}") from error
    steps = []
    for (budget, at), student in students.items():
        scores = {name: cell.score(name, student, arm.prefill) for name in names}
        divergence = {name: cell.divergence(name, student) for name in study.measures.kl if student is not None}
        style = {name: cell.style(name, scores[name]) for name in study.measures.style if name in scores}
        steps.append(Step(budget, at, student, scores, divergence, style))
    learnt = arm.student.inputs.get("data") if arm.student is not None else None
    return Trial(
        cell.student,
        cell.teacher,
        condition,
        cell.seed,
        tuple(steps),
        {name: cell.score_as_is(cell.student, name) for name in study.benchmarks},
        {name: cell.score_as_is(cell.teacher, name) for name in study.benchmarks},
        cell.surprise(learnt) if study.measures.perplexity and learnt is not None else None,
    )
