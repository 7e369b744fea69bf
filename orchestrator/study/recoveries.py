"""The recoveries of a study, as its file declares them."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator

from orchestrator.study.conditions import WithOptions
from orchestrator.study.settings import Settings
from orchestrator.study.train import SHAPE_OF_ADAPTER


class Search(Settings):
    """Find the recovery budget by bisection instead of evaluating all budgets (see orchestrator/plan/bisection.py)."""

    benchmark: str = Field(description="the benchmark whose score is to be restored")
    recovered: float = Field(0.95, gt=0, description="the share of the base student's score that counts as restored")


class Recovery(WithOptions):
    """What all recoveries have in common; the other keys are options of its kind (`options`)."""

    kind: str = Field(description="how students are trained further (see `offmodel conditions`)")
    conditions: list[str] = Field(min_length=1, description="the conditions whose students are trained further")
    pairs: list[str] | None = Field(
        None,
        min_length=1,
        description='the pairs that it is for, as "student / teacher"; all of its conditions by default',
    )
    budgets: list[Annotated[int, Field(gt=0)]] = Field(
        min_length=1, description="how much of it, each from the same student: samples or steps, by its kind"
    )
    too_few_samples: Literal["skip", "shrink"] = Field(
        "skip",
        description="what becomes of a budget of more samples than are complete (neither truncated nor failed): skip "
        "leaves it out, shrink takes all that there are, for the smallest of such budgets",
    )
    search: Search | None = Field(None, description="bisect the budgets instead of evaluating all of them")

    @field_validator("budgets")
    @classmethod
    def _differ(cls, budgets: list[int]) -> list[int]:
        if len(set(budgets)) != len(budgets):
            raise ValueError(f"the same twice in {', '.join(map(str, budgets))}")
        return budgets


def _keeps_adapter(train: dict[str, Any]) -> dict[str, Any]:
    for key in (*SHAPE_OF_ADAPTER, "checkpoints"):
        if key in train:
            raise ValueError(
                f"{key} has no effect: training continues the student's adapter or weights, and ends at each budget"
            )
    return train


RecoveryTrain = Annotated[
    dict[str, Any],
    AfterValidator(_keeps_adapter),
    Field(default_factory=dict, description="fields that differ from the study's train"),
]
