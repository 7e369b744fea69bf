"""Findings: what each experiment of a study is expected to show, said before it runs.

A finding compares two points of the study, by default a trained student with the original one, and says on which side
of no difference the effect should lie. Everything it names is checked against the study before any work starts; what
comes out is set beside it by `effects.py`. A finding is judged for each pair of the study by itself, for students and
teachers differ; `student` and `teacher` of a point choose among them.
"""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from orchestrator.study.settings import Settings

ORIGINAL, TEACHER = "original", "teacher"  # the pair's models as they are, where a condition's name may stand


class Point(Settings):
    """A student of the study on a benchmark: of a condition, before any recovery or after a budget of it, or `at` a
    step of its first training; or the pair's original student or teacher as they are."""

    condition: str = Field(description=f"a condition of the study, {ORIGINAL} or {TEACHER}")
    benchmark: str | None = Field(None, description="of what is compared with: the same by default")
    recovery: str | None = None
    budget: int = Field(0, ge=0, description="of the recovery")
    step: int | None = Field(None, gt=0, description="a step of the condition's training that is among its checkpoints")
    student: str | None = Field(None, description="every student of the study by default, or the same")
    teacher: str | None = Field(None, description="every teacher of the study by default, or the same")

    @model_validator(mode="after")
    def _is_one_point(self) -> "Point":
        if self.step is not None and (self.budget or self.recovery):
            raise ValueError(
                "step: a step of the first training lies before any recovery: leave budget and recovery out"
            )
        if self.condition in (ORIGINAL, TEACHER) and (self.step is not None or self.budget or self.recovery):
            raise ValueError(f"{self.condition} is a model as it is: it has no step, budget or recovery")
        if self.recovery is not None and not self.budget:
            raise ValueError("recovery has no effect without a budget")
        return self

    def __str__(self) -> str:
        recovered = f", then {self.budget}{f' of {self.recovery}' if self.recovery else ''}" if self.budget else ""
        return f"{self.condition}{recovered}{f' at step {self.step}' if self.step is not None else ''}"


def _condition_alone(value: Any) -> Any:
    return {"condition": value} if isinstance(value, str) else value


class Hypothesis(Settings):
    """A claim, and the figures in which it must show: those of `compare` against those of `versus`."""

    experiment: int | str
    claim: str = Field(min_length=1)
    metric: Literal["score", "perplexity", "kl", "style"] = Field(
        "score",
        description="perplexity is of what a condition trains on; style is the share that reads like the teacher",
    )
    compare: Annotated[Point, BeforeValidator(_condition_alone)]
    versus: Annotated[Point, BeforeValidator(_condition_alone)] = Point(condition=ORIGINAL)
    group_by: str | None = Field(
        None, description="parts of the benchmark, as level: the change in the higher half against that in the lower"
    )
    expected: Literal["lower", "higher", "same"]
    margin: float | None = Field(None, gt=0, description="of the same: how far apart is still the same")

    @model_validator(mode="after")
    def _has_an_effect(self) -> "Hypothesis":
        if (self.expected == "same") != (self.margin is not None):
            raise ValueError("margin: expected: same needs one, as 0.05, and lower and higher take none")
        if self.group_by is not None and self.metric != "score":
            raise ValueError(
                f"group_by has no effect on {self.metric}: parts of a benchmark are told apart by score only"
            )
        if self.metric == "perplexity":
            for where, point in (("compare", self.compare), ("versus", self.versus)):
                if point.condition in (ORIGINAL, TEACHER):
                    raise ValueError(f"{where}: perplexity is of what a condition trains on: give the name of one")
                if point.benchmark or point.budget or point.step is not None:
                    raise ValueError(f"{where}: perplexity is of training data: leave benchmark, budget and step out")
        elif self.compare.benchmark is None:
            raise ValueError("compare.benchmark: missing")
        return self


def points(finding: Hypothesis, student: str, teacher: str) -> tuple[Point, Point]:
    """The two points for one pair, with all names filled in."""
    first = finding.compare.model_copy(update={"student": student, "teacher": teacher})
    second = finding.versus
    left_out = {key: getattr(first, key) for key in ("student", "teacher", "benchmark") if getattr(second, key) is None}
    return first, second.model_copy(update=left_out)
