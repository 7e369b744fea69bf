"""The conditions and recoveries that the code has: the command `offmodel conditions`."""

import inspect
import re
from types import ModuleType
from typing import Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from rich.console import Console

from evaluators.plugins import Plugins
from orchestrator.conditions import CONDITIONS
from orchestrator.recoveries import RECOVERIES
from orchestrator.study.conditions import Condition
from orchestrator.study.messages import listed
from orchestrator.study.recoveries import Recovery

SENTENCE_ENDS = re.compile(r"(?<=[.?!])\s+(?=[A-Z])")
SOURCE = "Source:"
PARTS: dict[str, tuple[Plugins, type[BaseModel]]] = {
    "conditions": (CONDITIONS, Condition),
    "recoveries": (RECOVERIES, Recovery),
}


def first_sentence(module: ModuleType) -> str:
    """The first sentence of a module's docstring, which says what it does."""
    return SENTENCE_ENDS.split(_paragraphs(module)[0])[0]


def source_of(module: ModuleType) -> str:
    """The first sentence of the paragraph that says where a condition or recovery comes from."""
    source = next((each for each in _paragraphs(module) if each.startswith(SOURCE)), "")
    return SENTENCE_ENDS.split(source.removeprefix(SOURCE).strip())[0]


def _paragraphs(module: ModuleType) -> list[str]:
    return [" ".join(each.split()) for each in (inspect.getdoc(module) or "").split("\n\n")]


def show(console: Console) -> None:
    """Print each condition and recovery: what it does, its source and its options."""
    for part, (plugins, common) in PARTS.items():
        console.print(f"[bold]{part}[/bold], each of which also takes {', '.join(common.model_fields)}")
        for kind in plugins:
            module = plugins.module(kind)
            console.print(f"\n  [bold]{kind}[/bold]")
            for line in (first_sentence(module), f"{SOURCE} {source_of(module)}"):
                console.print(f"    {line}", markup=False, soft_wrap=True)
            for name, field in module.Options.model_fields.items():
                console.print(f"      {_option(name, field)}", markup=False, soft_wrap=True)
        console.print()


def _option(name: str, field: FieldInfo) -> str:
    """A key that a study file may give: its default, what it means, and its choices."""
    value = field.get_default(call_default_factory=True)
    default = "required" if field.is_required() else f"default {'none' if value in (None, {}, []) else value}"
    choices = [*map(str, get_args(field.annotation))] if get_origin(field.annotation) is Literal else []
    return f"{name} ({default}): {field.description}{f'; {listed(choices)}' if choices else ''}"
