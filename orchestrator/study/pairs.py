"""Which students learn from which teachers."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Discriminator, Field, Tag

from orchestrator.study.settings import Settings


class Pair(Settings):
    """One student with one teacher; also written "student / teacher"."""

    student: str = Field(description="in a list of pairs: a key of models")
    teacher: str = Field(description="in a list of pairs: a key of models")

    def __str__(self) -> str:
        return f"{self.student} / {self.teacher}"


class PairGrid(Settings):
    """Every student with every teacher."""

    students: list[str] = Field(min_length=1, description="in a grid: keys of models")
    teachers: list[str] = Field(min_length=1, description="in a grid: keys of models")


def _from_text(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    student, separator, teacher = value.partition(" / ")
    if not separator:
        raise ValueError(f'write "STUDENT / TEACHER", or {{student: ..., teacher: ...}}, not "{value}"')
    return {"student": student, "teacher": teacher}


Pairs = Annotated[
    Annotated[PairGrid, Tag("<grid>")]
    | Annotated[
        list[Annotated[Pair, BeforeValidator(_from_text, json_schema_input_type=str | Pair)]],
        Field(min_length=1),
        Tag("<list>"),
    ],
    Discriminator(lambda value: "<list>" if isinstance(value, list) else "<grid>"),
]
