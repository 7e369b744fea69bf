"""What pydantic finds wrong, in plain English: what to write, and what was given."""

import json
import re
from typing import Any

from evaluators.suggest import did_you_mean

WRITE = {
    "give a mapping of keys to values": ("model_type", "dict_type", "model_attributes_type", "dataclass_type"),
    "give a list, as [a, b]": ("list_type", "tuple_type"),
    "give a whole number": ("int_type", "int_parsing", "int_from_float"),
    "give a number": ("float_type", "float_parsing"),
    "give true or false": ("bool_type", "bool_parsing"),
    "give text": ("string_type",),
}
BOUNDS = {
    "greater_than": ("gt", "greater than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}


def in_plain_words(error: Any) -> str:
    """One of the errors that pydantic lists, as a message without its place."""
    kind, given, context = error["type"], error["input"], error.get("ctx", {})
    for what, kinds in WRITE.items():
        if kind in kinds:
            return f"{what}, not {_shown(given)}"
    if kind in BOUNDS:
        key, words = BOUNDS[kind]
        return f"give a number that is {words} {context[key]:g}, not {_shown(given)}"
    match kind:
        case "missing":
            return "missing; it has no default"
        case "extra_forbidden":
            return "unknown key"
        case "finite_number":
            return f"give a finite number, not {_shown(given)}"
        case "literal_error":
            return _not_a_choice(given, context["expected"])
        case "too_short":
            return f"give at least {context['min_length']} item, not {_shown(given)}"
        case "string_too_short":
            return "give text that is not empty"
        case "string_pattern_mismatch":
            return f"{_shown(given)} is not of the form {context['pattern']}"
        case _:
            return error["msg"].removeprefix("Value error, ")


def _not_a_choice(given: Any, expected: str) -> str:
    choices = [text or number for text, number in re.findall(r"'([^']*)'|(-?\d+)", expected)]
    suggestion = did_you_mean(str(given), choices) if isinstance(given, str) else ""
    near = suggestion if suggestion.startswith("did you mean") else ""
    return f"give {listed(choices)}, not {_shown(given)}{f'; {near}' if near else ''}"


def listed(choices: list[str]) -> str:
    """`a, b or c`."""
    return f"{', '.join(choices[:-1])} or {choices[-1]}" if len(choices) > 1 else choices[0]


def _shown(value: Any) -> str:
    text = "nothing" if value is None else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."
