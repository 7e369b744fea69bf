"""What a study file says of its recoveries."""

from typing import Annotated, Any

from pydantic import Field, field_validator

from orchestrator.study.settings import Settings


class Search(Settings):
    """Look for the budget that brings back this share of the original student's score on a benchmark by bisection, in
    place of measuring all budgets; see orchestrator/search.py."""

    benchmark: str
    recovered: float = Field(0.95, gt=0)


class Recovery(Settings):
    """What is done to bring students back, and with how much of it."""

    kind: str
    conditions: list[str] = Field(min_length=1, description="the conditions whose students are brought back")
    pairs: list[str] | None = Field(None, min_length=1, description='as "student / teacher"; those of the conditions')
    budgets: list[Annotated[int, Field(gt=0)]] = Field(min_length=1)
    train: dict[str, Any] = Field({}, description="what differs from the study's recipe; one epoch by default")
    search: Search | None = None

    @field_validator("budgets")
    @classmethod
    def _differ(cls, budgets: list[int]) -> list[int]:
        if len(set(budgets)) != len(budgets):
            raise ValueError(f"the same twice in {', '.join(map(str, budgets))}")
        return budgets

    @field_validator("train")
    @classmethod
    def _has_an_effect(cls, train: dict[str, Any]) -> dict[str, Any]:
        for key in ("lora_r", "lora_alpha", "checkpoints"):
            if key in train:
                raise ValueError(f"{key} has no effect: an adapter is gone on with, and measured at each budget")
        return train
