"""The conditions of a study, one file each: what is done to a student, and how it is asked.

A condition is a module of this package with

- `Options`: the keys that a study file may give it;
- `build(builder, options)`: the `ConditionSpec` of one pair and seed, built from the stages that `builder` offers.

Its docstring says in its first sentence what it does, and after `Source:` where it comes from and what is our choice.

The file's name is the condition's kind. A study names its conditions as it likes and gives the kind where the two
differ (`off-model` is `off_model`), `pairs` where a condition is for some of the study's pairs only, and `benchmarks`
where its student is asked some of the benchmarks only.
"""

from typing import Any

from pydantic import BaseModel, ValidationError

from evaluators.plugins import Plugins
from evaluators.suggest import did_you_mean
from orchestrator.study.settings import said

CONDITIONS = Plugins(__name__, "condition")
COMMON = ("kind", "pairs", "benchmarks")  # what every condition takes; some have more to say of benchmarks


def kind_of(name: str, options: dict[str, Any]) -> str:
    """The kind of a study's condition."""
    return str(options.get("kind", name.replace("-", "_")))


def options(name: str, given: dict[str, Any]) -> BaseModel:
    """A condition's options as its module declares them. Raises ValueError for what it does not take."""
    try:
        declared = CONDITIONS.module(kind_of(name, given)).Options
    except ValueError as error:
        raise ValueError(f"conditions.{name}: {error}") from error
    values = {key: value for key, value in given.items() if key not in COMMON or key in declared.model_fields}
    for key in values:
        if key not in declared.model_fields:
            raise ValueError(f"conditions.{name}.{key}: unknown key; {did_you_mean(key, declared.model_fields)}")
    try:
        return declared.model_validate(values)
    except ValidationError as error:
        raise ValueError(said(error, f"conditions.{name}")) from error
