"""What all parts of a study file have in common."""

from typing import Any

from pydantic import BaseModel, ConfigDict

from orchestrator.nearest import did_you_mean


class StudyError(ValueError):
    """A study file that cannot be run as it stands; the message says what to change."""


class Settings(BaseModel):
    """A part of the study file: unknown keys are refused, and nothing changes after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


def must_know(where: str, what: str, name: str, known: Any, of: str) -> None:
    """Raise ValueError, with the nearest, for a name that is not known."""
    if name not in known:
        raise ValueError(f'{where}: {what}"{name}" is not among {of}; {did_you_mean(name, known)}')
