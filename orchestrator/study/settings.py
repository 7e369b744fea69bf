"""What all parts of a study file have in common."""

from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from evaluators.suggest import did_you_mean


class StudyError(ValueError):
    """A study file that cannot be run as it stands; the message says what to change."""


class Settings(BaseModel):
    """A part of the study file: unknown keys are refused, and nothing changes after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


Part = TypeVar("Part", bound=Settings)


def changed(part: Part, where: str, overrides: dict[str, Any]) -> Part:
    """A part of the study with some fields replaced. Raises ValueError, which begins with `where`, for what it does not
    take."""
    for key in overrides:
        if key not in type(part).model_fields:
            raise ValueError(f"{where}.{key}: unknown key; {did_you_mean(key, type(part).model_fields)}")
    try:
        return type(part).model_validate({**part.model_dump(), **overrides})
    except ValidationError as error:
        raise ValueError(said(error, where)) from error


def said(error: ValidationError, where: str) -> str:
    """One line on the first of pydantic's findings."""
    found = error.errors()[0]
    return f"{'.'.join(map(str, (where, *found['loc'])))}: {found['msg'].removeprefix('Value error, ')}"


def check_known(where: str, what: str, name: str, known: Any, of: str) -> None:
    """Raise ValueError, with the nearest, for a name that is not known."""
    if name not in known:
        raise ValueError(f'{where}: {what}"{name}" is not among {of}; {did_you_mean(name, known)}')
