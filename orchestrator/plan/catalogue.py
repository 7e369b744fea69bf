"""The conditions and recoveries that the code has: the command `offmodel conditions`."""

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from rich.console import Console

from orchestrator.conditions import CONDITIONS
from orchestrator.recoveries import RECOVERIES
from orchestrator.study.conditions import Condition
from orchestrator.study.recoveries import Recovery

SENTENCE_ENDS = re.compile(r"(?<=[.?!])\s+(?=[A-Z])")
SOURCE = "Source:"
COMMON: dict[str, type[BaseModel]] = {"conditions": Condition, "recoveries": Recovery}


@dataclass(frozen=True)
class Option:
    """A key that a study file may give; `default` is None where it must give it."""

    name: str
    default: str | None
    description: str
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Entry:
    """A condition or recovery: what it does, in a sentence, its source, and its options."""

    name: str
    what: str
    source: str
    options: tuple[Option, ...]


def entries() -> dict[str, list[Entry]]:
    """All conditions and recoveries, by the part of a study file to which they belong."""
    return {
        "conditions": [_entry(kind, CONDITIONS.module(kind)) for kind in CONDITIONS],
        "recoveries": [_entry(kind, RECOVERIES.module(kind)) for kind in RECOVERIES],
    }


def _entry(name: str, module: ModuleType) -> Entry:
    source = next((each for each in _paragraphs(module) if each.startswith(SOURCE)), "")
    source = SENTENCE_ENDS.split(source.removeprefix(SOURCE).strip())[0]
    return Entry(name, first_sentence(module), source, tuple(_options(module.Options)))


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
        console.print(f"[bold]{part}[/bold], each of which also takes {', '.join(COMMON[part].model_fields)}")
        for one in listed:
            console.print(f"\n  [bold]{one.name}[/bold]")
            for line in (one.what, f"{SOURCE} {one.source}"):
                console.print(f"    {line}", markup=False, soft_wrap=True)
            for option in one.options:
                default = "required" if option.default is None else f"default {option.default}"
                line = f"      {option.name} ({default}): {option.description}"
                if option.choices:
                    line += f"; {', '.join(option.choices[:-1])} or {option.choices[-1]}"
                console.print(line, markup=False, soft_wrap=True)
        console.print()
