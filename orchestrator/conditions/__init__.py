"""The conditions of a study, one file each: what is done to a student, and how it is asked.

A condition is a module of this package with

- `Options`: the keys that a study file may give it;
- `arm(cell, options)`: the `ConditionSpec` of one pair and seed, built from the stages that `cell` offers.

Its docstring says in its first sentence what it does, and after `Source:` where it comes from and what is our choice.

The file's name is the condition's kind. A study names its conditions as it likes and gives the kind where the two
differ (`off-model` is `off_model`), `pairs` where a condition is for some of the study's pairs only, and `benchmarks`
where its student is asked some of the benchmarks only.
"""

import pkgutil
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any

from pydantic import BaseModel, ValidationError

from orchestrator.study.settings import said
from orchestrator.study.suggest import did_you_mean

COMMON = ("kind", "pairs", "benchmarks")  # what every condition takes; some have more to say of benchmarks


def kinds() -> list[str]:
    """Every file of this folder."""
    return _files_in(tuple(__path__))


@cache
def _files_in(folders: tuple[str, ...]) -> list[str]:
    return [module.name for module in pkgutil.iter_modules(folders)]


@cache
def module(kind: str) -> ModuleType:
    return import_module(f"{__name__}.{kind}")


def kind_of(name: str, options: dict[str, Any]) -> str:
    """The kind of a study's condition. Raises ValueError, with the nearest, for one that does not exist."""
    kind = str(options.get("kind", name.replace("-", "_")))
    if kind not in kinds():
        raise ValueError(f'conditions.{name}: there is no condition "{kind}"; {did_you_mean(kind, kinds())}')
    return kind


def options(name: str, given: dict[str, Any]) -> BaseModel:
    """A condition's options as its module declares them. Raises ValueError for what it does not take."""
    declared = module(kind_of(name, given)).Options
    values = {key: value for key, value in given.items() if key not in COMMON or key in declared.model_fields}
    for key in values:
        if key not in declared.model_fields:
            raise ValueError(f"conditions.{name}.{key}: unknown key; {did_you_mean(key, declared.model_fields)}")
    try:
        return declared.model_validate(values)
    except ValidationError as error:
        raise ValueError(said(error, f"conditions.{name}")) from error
