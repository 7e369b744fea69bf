"""What brings a student back, one file each.

A recovery method is a module of this package with

- `SPENT`: what a budget counts;
- `recover(cell, start, budget, recovery)`: the stage that trains the student of `start` further, with `budget` of that,
  as a study's `recovery` has it.

A study names its recoveries as it likes: the same method may be tried in several ways.
"""

import pkgutil
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Annotated, Any

from pydantic import Field, field_validator

from orchestrator.nearest import did_you_mean
from orchestrator.settings import Settings

METHODS = tuple(module.name for module in pkgutil.iter_modules(__path__))


class Search(Settings):
    """Look for the budget that brings back this share of the original student's score on a benchmark by bisection, in
    place of measuring all budgets; see orchestrator/search.py."""

    benchmark: str
    recovered: float = Field(0.95, gt=0)


class Recovery(Settings):
    """What is done to bring students back, and with how much of it."""

    method: str
    conditions: list[str] = Field(min_length=1, description="the conditions whose students are brought back")
    pairs: list[str] | None = Field(None, min_length=1, description='as "student / teacher"; those of the conditions')
    budgets: list[Annotated[int, Field(gt=0)]] = Field(min_length=1)
    train: dict[str, Any] = Field({}, description="what differs from the study's recipe; one epoch by default")
    search: Search | None = None

    @field_validator("method")
    @classmethod
    def _is_known(cls, method: str) -> str:
        if method not in METHODS:
            raise ValueError(f'there is no method "{method}"; {did_you_mean(method, METHODS)}')
        return method

    @field_validator("budgets")
    @classmethod
    def _differ(cls, budgets: list[int]) -> list[int]:
        if len(set(budgets)) != len(budgets):
            raise ValueError(f"the same twice in {', '.join(map(str, budgets))}")
        return budgets

    @field_validator("train")
    @classmethod
    def _has_an_effect(cls, train: dict[str, Any]) -> dict[str, Any]:
        for key in ("rank", "alpha", "checkpoints"):
            if key in train:
                raise ValueError(f"{key} has no effect: an adapter is gone on with, and measured at each budget")
        return train


@cache
def module(method: str) -> ModuleType:
    return import_module(f"{__name__}.{method}")
