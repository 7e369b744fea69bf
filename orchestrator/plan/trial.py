"""The trials of a study, the points at which they are evaluated, and the stages that they share."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from orchestrator.store.stage import Stage, closure
from orchestrator.study.schema import Study


@dataclass(frozen=True)
class EvaluationPoint:
    """One point of a trial, by its evaluations: the student after a recovery budget (0: before any), or, before that,
    `at` a step of its first training. `recovery` is the name of what the budget was spent on ("" before any);
    `student` is None where it is the original one.

    `divergence` has, by benchmark, how likely the student and the original one find the student's answers, and `style`
    whose style they are in.
    """

    recovery: str
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
    """One pair, condition, recovery ("" for a condition without any) and seed. `original` and `teacher_scores` are of
    the two models as they are; `training_nll` is how likely the original student finds what this one was first trained on.
    """

    student: str
    teacher: str
    condition: str
    recovery: str
    seed: int
    steps: tuple[EvaluationPoint, ...]
    original: dict[str, Stage]
    teacher_scores: dict[str, Stage]
    training_nll: Stage | None

    @property
    def key(self) -> str:
        names = (self.student, self.teacher, self.condition, *([self.recovery] if self.recovery else []))
        return f"{'.'.join(names)}.s{self.seed}"

    @property
    def params(self) -> dict[str, str | int]:
        """What tells this trial from the others."""
        return {
            "student": self.student,
            "teacher": self.teacher,
            "condition": self.condition,
            "recovery": self.recovery,
            "seed": self.seed,
        }

    def stages(self) -> Iterator[Stage]:
        """All that the trial measures; what that needs is in the inputs."""
        yield from self.references()
        for step in self.steps:
            yield from step.stages()

    def references(self) -> Iterator[Stage]:
        """What is measured but for the trained student."""
        yield from self.original.values()
        yield from self.teacher_scores.values()
        if self.training_nll is not None:
            yield self.training_nll


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
        return max((stage.settings.get("lora_r", 0) for stage in self.stages if stage.kind == "train"), default=0)

    def count_without_sharing(self) -> Counter[str]:
        """How many stages of each kind would run if every trial ran all that it needs by itself."""
        return Counter(stage.kind for trial in self.trials for stage in closure(trial.stages()))
