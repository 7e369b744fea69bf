"""What all parts of a study file share: unknown keys are refused, and mistakes are explained in plain English."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from evaluators.messages import KEY, in_plain_words
from evaluators.rows import FILES, is_file
from evaluators.suggest import did_you_mean

EXPLAINED = "explained"  # the type of an error whose message is final
LARGEST = 2**31 - 1  # of whole numbers


class StudyError(ValueError):
    """A study file that cannot be run as it stands; the message says what to change, a mistake a line."""


class Settings(BaseModel):
    """A part of the study file: unknown keys are refused, and nothing changes after validation.

    `HINTS` says what to write in place of keys that users of other tools may try.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)
    HINTS: ClassVar[Mapping[str, str]] = {}

    @field_validator("*")
    @classmethod
    def _is_not_too_large(cls, value: Any) -> Any:
        check_size(value)
        return value

    @model_validator(mode="wrap")
    @classmethod
    def _explain_mistakes(cls, value: Any, validate: Any, info: ValidationInfo) -> Any:
        try:
            return validate(value)
        except ValidationError as error:
            raise ValidationError.from_exception_data(
                cls.__name__, [cls._explained(e, info.context or ()) for e in error.errors()]
            ) from None

    @classmethod
    def _explained(cls, error: Any, beside: Iterable[str]) -> InitErrorDetails:
        message = error["msg"] if error["type"] == EXPLAINED else in_plain_words(error)
        if error["type"] in ("extra_forbidden", "invalid_key") and len(error["loc"]) == 1:
            key = str(error["loc"][0])
            message = cls.HINTS.get(key) or f"unknown key; {did_you_mean(key, [*cls.model_fields, *beside])}"
        return InitErrorDetails(
            type=PydanticCustomError(EXPLAINED, "{message}", {"message": message}),
            loc=error["loc"],
            input=error["input"],
        )


def check_size(value: Any) -> None:
    """Raise ValueError for a whole number, also in a list, that engines and trainers cannot represent."""
    for one in value if isinstance(value, list) else (value,):
        if isinstance(one, int) and abs(one) > LARGEST:
            raise ValueError(f"give a whole number from -{LARGEST:,} to {LARGEST:,}")


Part = TypeVar("Part", bound=BaseModel)


def parsed(declared: type[Part], values: Mapping[str, Any], where: str, beside: Iterable[str] = ()) -> Part:
    """Values as a part of a study. Raises ValueError with a line for each mistake; `where` is the place of the part,
    and `beside` the keys that its mapping also has."""
    try:
        return declared.model_validate(values, context=tuple(beside))
    except ValidationError as error:
        raise ValueError("\n".join(mistakes(error, where))) from error


def changed(part: Part, where: str, overrides: Mapping[str, Any]) -> Part:
    """A part of the study with some fields replaced. Raises ValueError for what it does not take."""
    return parsed(type(part), {**part.model_dump(), **overrides}, where)


def mistakes(error: ValidationError, where: str) -> list[str]:
    """What is wrong, a line for each mistake: `place: message`. A tag of a union, as <hub>, is no part of a place."""
    lines = []
    for one in error.errors():
        path = [where, *(str(part) for part in one["loc"] if not str(part).startswith("<") and part != KEY)]
        place = ".".join(part for part in path if part)
        message = one["msg"] if one["type"] == EXPLAINED else in_plain_words(one)
        lines += [f"{place}: {line}" if place else line for line in message.splitlines()]
    return lines


def unknown(where: str, names: Iterable[str] | None, known: Iterable[str], of: str, what: str = "") -> Iterator[str]:
    """A line, with a suggestion, for each name that is not known."""
    known = list(known)
    for name in names or ():
        if name not in known:
            yield f'{where}: {what}"{name}" is not among {of}; {did_you_mean(name, known)}'


def regular_expression(text: str) -> str:
    """The same text. Raises ValueError for one that is not a regular expression."""
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"{text!r} is not a regular expression: {error}") from error
    return text


def check_known(where: str, name: str, known: Iterable[str], of: str) -> None:
    """Raise ValueError, with a suggestion, for a name that is not known."""
    for mistake in unknown(where, [name], known, of):
        raise ValueError(mistake)


@contextmanager
def study_errors(where: str = "") -> Iterator[None]:
    """Turns a ValueError into a StudyError whose lines begin with the place in the study to which they belong."""
    try:
        yield
    except ValueError as error:
        raise StudyError(
            "\n".join(f"{where}: {line}" if where else line for line in str(error).splitlines())
        ) from error


def is_local_file(source: str | None) -> bool:
    """Whether rows are read from a file on this machine."""
    return source is not None and is_file(source) and "://" not in source


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """`{"a": {"b": 1}}` as `{"a.b": 1}`; tuples as lists, as in JSON."""
    if isinstance(value, dict) and value:
        return {k: v for key, item in value.items() for k, v in flatten(item, f"{prefix}{key}.").items()}
    return {prefix[:-1]: list(value) if isinstance(value, tuple) else value}


def absolute(path: str) -> str:
    """A path relative to the working directory as an absolute one: stages run in other folders. URIs stay."""
    return path if "://" in path else os.path.abspath(os.path.expanduser(path))


def absolute_file(source: str) -> str:
    """The source of rows: a file by its absolute path; anything else stays."""
    return absolute(source) if is_file(source) else source


def _check_source(source: str) -> str:
    for ending in (".csv", ".json", ".tsv", ".gz", ".arrow"):
        if source.lower().endswith(ending):
            raise ValueError(f"{source}: rows are read from files that end in {', '.join(FILES)}: convert it to one")
    return absolute_file(source)


def _number_from_all(value: Any) -> Any:
    if isinstance(value, str) and value != "all":
        raise ValueError(f'give a whole number, or all, not "{value}"')
    return None if value == "all" else value


Source = Annotated[str, AfterValidator(_check_source)]
Count = Annotated[
    Annotated[int, Field(gt=0)] | None,
    BeforeValidator(_number_from_all, json_schema_input_type=Annotated[int, Field(gt=0)] | Literal["all"] | None),
    PlainSerializer(lambda n: "all" if n is None else n, when_used="json"),
]
