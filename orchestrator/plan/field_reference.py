"""The keys of a study file, from its schema: a JSON schema for editors, and the page docs/fields.md.

Run as a module, it prints the page.
"""

from collections.abc import Iterator
from dataclasses import fields
from inspect import cleandoc
from types import ModuleType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel

from evaluators.benchmarks import BENCHMARKS
from orchestrator.conditions import CONDITIONS
from orchestrator.plan.catalogue import first_sentence
from orchestrator.recoveries import RECOVERIES
from orchestrator.study.schema import Study
from trainers import objectives

Row = tuple[str, str, str, str]  # key, type, default, meaning
HEADER = """# Fields of a study file

Generated from the schema: do not edit. `offmodel schema` prints the same as a JSON schema, which editors use for
completion and checks. Write it to a file and name that file in the first line of a study:

    # yaml-language-server: $schema=study.schema.json

`.` separates levels, `<name>` is a name of your choice, and `[]` an item of a list. Paths are relative to the working
directory.
"""


def json_schema() -> dict[str, Any]:
    """The JSON schema of a study file."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Study.model_json_schema()}


def markdown() -> str:
    """The page docs/fields.md."""
    parts = [HEADER, _table(rows_of(Study))]
    for title, where, kinds in (
        ("Options of conditions", "conditions.<name>", _plugins(CONDITIONS)),
        ("Options of recoveries", "recoveries.<name>", _plugins(RECOVERIES)),
        ("Options of objectives", "train.objective", _objectives()),
    ):
        parts.append(f"## {title}\n\nKeys of `{where}` for each `kind`.\n")
        parts += [f"### `{kind}`\n\n{what}\n\n{_table(rows)}" for kind, what, rows in kinds]
    parts.append(f"## Benchmarks\n\nValues of `benchmarks.<name>.kind`, beside `lm_eval:<task>`.\n\n{_benchmarks()}")
    return "\n".join(parts)


def rows_of(model: type[BaseModel], prefix: str = "") -> Iterator[Row]:
    """A row for each field of a part of the study, and of the parts in it."""
    for name, field in model.model_fields.items():
        key = f"{prefix}{name}"
        default = "required" if field.is_required() else _value(field.get_default(call_default_factory=True))
        yield key, type_of(field.annotation), default, field.description or ""
        for inner, path in _parts(field.annotation, key):
            yield from rows_of(inner, f"{path}.")


def type_of(annotation: Any) -> str:
    """A type in words, such as `number` or `list of text`."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return type_of(arguments[0])
    if origin in (Union, UnionType):
        names = dict.fromkeys(type_of(one) for one in arguments if one is not type(None))
        return " or ".join(names)
    if origin is Literal:
        return ", ".join(map(str, arguments))
    if origin in (list, tuple):
        return f"list of {type_of(arguments[0])}"
    if origin is dict or (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        return "mapping"
    return {int: "whole number", float: "number", bool: "true or false", str: "text"}.get(annotation, "mapping")


def _parts(annotation: Any, key: str) -> Iterator[tuple[type[BaseModel], str]]:
    """The parts of a study in a type, each with its place."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, key
    elif origin is Annotated:
        yield from _parts(arguments[0], key)
    elif origin in (Union, UnionType):
        for one in arguments:
            yield from _parts(one, key)
    elif origin is list:
        yield from _parts(arguments[0], f"{key}[]")
    elif origin is dict:
        yield from _parts(arguments[1], f"{key}.<name>")


def _plugins(plugins: Any) -> Iterator[tuple[str, str, Iterator[Row]]]:
    for kind in plugins:
        module: ModuleType = plugins.module(kind)
        yield kind, first_sentence(module), rows_of(module.Options)


def _objectives() -> Iterator[tuple[str, str, Iterator[Row]]]:
    """Options of objectives are dataclasses, whose docstrings say what they mean."""
    for kind in objectives.OBJECTIVES:
        module, options = objectives.OBJECTIVES.module(kind), objectives.get(kind).options
        types = get_type_hints(options)
        rows = ((one.name, type_of(types[one.name]), _value(one.default), "") for one in fields(options))
        yield kind, f"{first_sentence(module)}\n\n{cleandoc(options.__doc__ or '')}", rows


def _benchmarks() -> str:
    rows = []
    for kind in BENCHMARKS:
        module = BENCHMARKS.module(kind)
        cells = (f"`{kind}`", module.HUB[0], f"{module.ROWS:,}", f"{module.MAX_TOKENS:,}", first_sentence(module))
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(["| kind | data set | examples | max_tokens | meaning |", "|---|---|---|---|---|", *rows, ""])


def _value(value: Any) -> str:
    if isinstance(value, BaseModel):
        return "see below"
    if value is None or value in ({}, []):
        return "none"
    return str(value).lower() if isinstance(value, bool) else f"`{value}`"


def _table(rows: Iterator[Row]) -> str:
    lines = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for key, kind, default, meaning in dict.fromkeys(rows):
        lines.append(f"| `{key}` | {kind} | {default} | {meaning} |".replace("||", "\\|\\|"))
    return "\n".join([*lines, ""]) if len(lines) > 2 else "No options.\n"


if __name__ == "__main__":
    print(markdown())
