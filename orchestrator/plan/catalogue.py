"""The conditions, recoveries, objectives, measures and benchmarks that the code has: `offmodel conditions`."""

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass, fields
from types import ModuleType
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from rich.console import Console

from evaluators.benchmarks import BENCHMARKS
from orchestrator.conditions import CONDITIONS
from orchestrator.measures import MEASURES, SCORE
from orchestrator.recoveries import RECOVERIES
from orchestrator.study.conditions import Condition
from orchestrator.study.recoveries import Recovery
from orchestrator.study.settings import Settings
from trainers.objective import Objective
from trainers.objectives import OBJECTIVES

SENTENCE_ENDS = re.compile(r"(?<=[.?!])\s+(?=[A-Z])")
SOURCE, DATA_SET = "Source:", "Data set:"
MEANING = re.compile(r"^- `(\w+)`: (.*?)[;.]$(?=\n- |\Z)", re.DOTALL | re.MULTILINE)
PARTS = {
    "conditions": (CONDITIONS, f"each of which also takes {', '.join(Condition.model_fields)}"),
    "recoveries": (RECOVERIES, f"each of which also takes {', '.join(Recovery.model_fields)}"),
    "objectives": (OBJECTIVES, "values of train.objective: a name, or a mapping with its kind and its options"),
    "measures": (MEASURES, "keys of measures"),
    "benchmarks": (BENCHMARKS, "values of benchmarks.NAME.kind, beside lm_eval:TASK"),
}


@dataclass(frozen=True)
class Option:
    """A key that a study file may give; `default` is None where it must give it."""

    name: str
    default: str | None
    description: str
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Entry:
    """A condition, recovery, objective, measure or benchmark: what it is, its source, and its options."""

    name: str
    what: str
    source: str
    options: tuple[Option, ...]


def entries() -> dict[str, list[Entry]]:
    """All of them, by the part of a study file to which they belong."""
    return {
        part: [_entry(kind, plugins.module(kind)) for kind in plugins if kind != SCORE]
        for part, (plugins, _) in PARTS.items()
    }


def _entry(name: str, module: ModuleType) -> Entry:
    source = next((each for each in _paragraphs(module) if each.startswith((SOURCE, DATA_SET))), "")
    objective = getattr(module, "OBJECTIVE", None)
    options = _options(getattr(module, "Options", Settings)) if objective is None else options_of(objective)
    return Entry(name, first_sentence(module), SENTENCE_ENDS.split(source)[0], tuple(options))


def options_of(objective: Objective) -> Iterator[Option]:
    """The options of an objective, whose docstring has their meanings."""
    meanings = dict(MEANING.findall(inspect.getdoc(objective.options) or ""))
    for one in fields(objective.options):
        default = "none" if one.default is None else str(one.default).replace("\n", "\\n")
        yield Option(one.name, default, " ".join(meanings.get(one.name, "").split()))


def first_sentence(module: ModuleType) -> str:
    """The first sentence of a module's docstring, which says what it does."""
    return SENTENCE_ENDS.split(_paragraphs(module)[0])[0]


def _paragraphs(module: ModuleType) -> list[str]:
    return [" ".join(each.split()) for each in (inspect.getdoc(module) or "").split("\n\n")]


def _options(declared: type[BaseModel]) -> Iterator[Option]:
    for name, field in declared.model_fields.items():
        default = None if field.is_required() else _shown(field)
        choices = map(str, get_args(field.annotation)) if get_origin(field.annotation) is Literal else ()
        yield Option(name, default, field.description or "", tuple(choices))


def _shown(field: FieldInfo) -> str:
    value: Any = field.get_default(call_default_factory=True)
    return "none" if value in (None, {}, []) else str(value)


def show(console: Console) -> None:
    for part, listed in entries().items():
        console.print(f"[bold]{part}[/bold], {PARTS[part][1]}", soft_wrap=True)
        for one in listed:
            console.print(f"\n  [bold]{one.name}[/bold]")
            for line in (one.what, *([one.source] if one.source else [])):
                console.print(f"    {line}", markup=False, soft_wrap=True)
            for option in one.options:
                default = "required" if option.default is None else f"default {option.default}"
                line = f"      {option.name} ({default}): {option.description}"
                if option.choices:
                    line += f"; {', '.join(option.choices[:-1])} or {option.choices[-1]}"
                console.print(line, markup=False, soft_wrap=True)
        console.print()
