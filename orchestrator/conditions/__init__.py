"""The conditions of a study, one file each: how a student is made from the base student, and how it is evaluated.

A condition is a module of this package with

- `Options`: the keys that a study file may give it beside those of every `Condition`;
- `build(builder, options)`: the `ConditionSpec` of one pair and seed, built from the stages that `builder` offers.

The first sentence of its docstring says what it does. The paragraph that begins with `Source:` says where it comes from
and what is our choice.

The file's name is the condition's kind. A study names its conditions freely, and gives `kind` where the two differ.
"""

from evaluators.plugins import Plugins
from orchestrator.study.conditions import Condition, plugin_name
from orchestrator.study.settings import Settings, parsed
from trainers.objectives import OBJECTIVES

CONDITIONS = Plugins(__name__, "condition", ("Options", "build"))


def options(name: str, condition: Condition) -> Settings:
    """The options of a study's condition, as its module declares them. Raises ValueError, a line for each mistake."""
    try:
        declared = CONDITIONS.module(condition.kind).Options
    except ValueError as error:
        if condition.kind in CONDITIONS:
            raise ValueError(f"conditions.{name}: {error}") from error
        hint = f", or give {name} a kind" if condition.kind == plugin_name(name) else ""
        if condition.kind in OBJECTIVES:
            hint += f"; it is an objective: write kind: off_model and train: {{objective: {condition.kind}}}"
        raise ValueError(f"conditions.{name}: {error}{hint}") from error
    values = condition.options
    if "benchmarks" in declared.model_fields and condition.benchmarks is not None:
        values["benchmarks"] = condition.benchmarks
    return parsed(declared, values, f"conditions.{name}", Condition.model_fields)
