"""The conditions, recoveries, objectives, measures and benchmarks that the code has: `offmodel conditions`."""

import inspect
import re
from types import ModuleType
from typing import Literal, get_args, get_origin

from pydantic.fields import FieldInfo
from rich.console import Console

from evaluators.benchmarks import BENCHMARKS
from evaluators.messages import listed
from orchestrator.conditions import CONDITIONS
from orchestrator.measures import MEASURES, SCORE
from orchestrator.recoveries import RECOVERIES
from orchestrator.study.conditions import Condition
from orchestrator.study.recoveries import Recovery
from trainers.objectives import OBJECTIVES

SENTENCE_ENDS = re.compile(r"(?<=[.?!])\s+(?=[A-Z])")
SOURCES = ("Source:", "Data set:")
PARTS = {
    "conditions": (CONDITIONS, f"each of which also takes {', '.join(Condition.model_fields)}"),
    "recoveries": (RECOVERIES, f"each of which also takes {', '.join(Recovery.model_fields)}"),
    "objectives": (OBJECTIVES, "values of train.objective: a name, or a mapping with its kind and its options"),
    "measures": (MEASURES, "keys of measures"),
    "benchmarks": (BENCHMARKS, "values of benchmarks.NAME.kind, beside lm_eval:TASK"),
}


def first_sentence(module: ModuleType) -> str:
    """The first sentence of a module's docstring, which says what it does."""
    return SENTENCE_ENDS.split(_paragraphs(module)[0])[0]


def source_of(module: ModuleType) -> str:
    """The first sentence of the paragraph that says where it comes from; empty if there is none."""
    source = next((each for each in _paragraphs(module) if each.startswith(SOURCES)), "")
    return SENTENCE_ENDS.split(source)[0]


def options_of(module: ModuleType) -> dict[str, FieldInfo]:
    """The keys that a study file may give to it, by name."""
    objective = getattr(module, "OBJECTIVE", None)
    declared = objective.options if objective is not None else getattr(module, "Options", None)
    return getattr(declared, "__pydantic_fields__", {})


def _paragraphs(module: ModuleType) -> list[str]:
    return [" ".join(each.split()) for each in (inspect.getdoc(module) or "").split("\n\n")]


def show(console: Console) -> None:
    """Print each of them: what it does, its source and its options."""
    for part, (plugins, use) in PARTS.items():
        console.print(f"[bold]{part}[/bold], {use}", soft_wrap=True)
        for kind in plugins:
            if kind == SCORE:
                continue
            module = plugins.module(kind)
            console.print(f"\n  [bold]{kind}[/bold]")
            for line in filter(None, (first_sentence(module), source_of(module))):
                console.print(f"    {line}", markup=False, soft_wrap=True)
            for name, field in options_of(module).items():
                console.print(f"      {_option(name, field)}", markup=False, soft_wrap=True)
        console.print()


def _option(name: str, field: FieldInfo) -> str:
    """A key that a study file may give: its default, what it means, and its choices."""
    value = field.get_default(call_default_factory=True)
    default = "required" if field.is_required() else f"default {'none' if value in (None, {}, []) else value}"
    choices = [*map(str, get_args(field.annotation))] if get_origin(field.annotation) is Literal else []
    text = f"{name} ({default}): {field.description}{f'; {listed(choices)}' if choices else ''}"
    return text.replace("\n", "\\n")
