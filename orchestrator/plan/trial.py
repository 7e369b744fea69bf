"""The trials of a study, the points at which they are evaluated, and the stages that they share."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from orchestrator.measures import SCORE
from orchestrator.store.stage import Stage, closure
from orchestrator.study.hypotheses import TEACHER, UNTRAINED
from orchestrator.study.schema import Study

Measured = Mapping[str, Mapping[str, tuple[Stage, ...]]]  # the stages of each measure, by benchmark


@dataclass(frozen=True, kw_only=True)
class EvaluationPoint:
    """A point at which a trial evaluates its student: after a budget of a recovery ("" and 0: before any recovery), or,
    with `step`, after that step of its first training. `student` is None for the base student. `of_student` has the
    stages of measures of the student itself, by measure."""

    recovery: str = ""
    budget: int = 0
    step: int | None = None
    student: Stage | None
    measured: Measured
    of_student: Mapping[str, tuple[Stage, ...]] = field(default_factory=dict)

    @property
    def scores(self) -> dict[str, Stage]:
        """The evaluations, by benchmark."""
        return _scores(self.measured)

    def stages(self) -> Iterator[Stage]:
        yield from _stages(self.measured)
        for stages in self.of_student.values():
            yield from stages


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One pair, condition, recovery ("" for a condition without any) and seed.

    `untrained` has the stages of the pair's untrained models, by `untrained` and `teacher`; `training_data` those of
    what the student is first trained on, by measure.
    """

    student: str
    teacher: str
    condition: str
    recovery: str
    seed: int
    points: tuple[EvaluationPoint, ...]
    untrained: Mapping[str, Measured]
    training_data: Mapping[str, tuple[Stage, ...]]

    @property
    def pair(self) -> tuple[str, str]:
        return self.student, self.teacher

    @property
    def key(self) -> str:
        """A name that no other trial of the study has."""
        names = (self.student, self.teacher, self.condition, *([self.recovery] if self.recovery else []))
        return f"{'.'.join(names)}.s{self.seed}"

    @property
    def params(self) -> dict[str, str | int]:
        """What distinguishes this trial from the others of its study."""
        names = ("student", "teacher", "condition", "recovery", "seed")
        return {name: getattr(self, name) for name in names}

    @property
    def untrained_scores(self) -> dict[str, Stage]:
        """The evaluations of the untrained student, by benchmark."""
        return _scores(self.untrained[UNTRAINED])

    @property
    def teacher_scores(self) -> dict[str, Stage]:
        """The evaluations of the teacher, by benchmark."""
        return _scores(self.untrained[TEACHER])

    def untrained_stages(self, model: str, measure: str, benchmark: str) -> tuple[Stage, ...]:
        """The stages of a measure of an untrained model; empty where the stages of a point have its values."""
        return self.untrained[model].get(measure, {}).get(benchmark, ())

    @property
    def compares_logits(self) -> bool:
        """Whether an objective compares the student's logits with those of another model."""
        students = [point.student for point in self.points if point.student is not None]
        itself = {answered.inputs["generations"].inputs["base"] for answered in self.untrained_scores.values()}
        return bool({student.inputs["teacher"] for student in students if "teacher" in student.inputs} - itself)

    def stages(self) -> Iterator[Stage]:
        """All that the trial measures; what that needs is in the inputs."""
        yield from self.references()
        for point in self.points:
            yield from point.stages()

    def references(self) -> Iterator[Stage]:
        """The stages of the untrained models and of the training data."""
        for measured in self.untrained.values():
            yield from _stages(measured)
        for stages in self.training_data.values():
            yield from stages


def _stages(measured: Measured) -> Iterator[Stage]:
    return (stage for by_benchmark in measured.values() for stages in by_benchmark.values() for stage in stages)


def _scores(measured: Measured) -> dict[str, Stage]:
    return {name: stage for name, (stage,) in measured[SCORE].items()}


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
        """The largest rank of an adapter that an engine must serve; 0 if there is no adapter."""
        adapters = (stage.settings.train.lora for stage in self.stages if stage.kind == "train")
        return max((lora.r for lora in adapters if lora is not None), default=0)

    def count_without_sharing(self) -> Counter[str]:
        """How many stages of each kind would run if trials did not share stages."""
        return Counter(stage.kind for trial in self.trials for stage in closure(trial.stages()))
