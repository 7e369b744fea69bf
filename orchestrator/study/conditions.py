"""The conditions of a study, as its file declares them."""

from typing import Any

from pydantic import ConfigDict, Field, field_validator, model_validator

from orchestrator.study.settings import Settings, absolute_file


def plugin_name(kind: str) -> str:
    """The name of a plug-in's module: a kind may be written with hyphens."""
    return kind.replace("-", "_")


class WithOptions(Settings):
    """A part of the study whose other keys are options of its kind, as the file has them.

    `orchestrator.conditions.options` and `orchestrator.recoveries.options` validate them.
    """

    model_config = ConfigDict(extra="allow")
    kind: str

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})

    @field_validator("kind")
    @classmethod
    def _is_a_module(cls, kind: str) -> str:
        return plugin_name(kind)


class Condition(WithOptions):
    """What all conditions have in common; the other keys are options of its kind (`options`)."""

    model_config = ConfigDict(json_schema_extra={"required": []})  # the name stands in for the kind

    kind: str = Field(description="what is done (see `offmodel conditions`); the condition's name by default")
    pairs: list[str] | None = Field(
        None, min_length=1, description='the pairs that it is for, as "student / teacher"; all by default'
    )
    benchmarks: list[str] | None = Field(
        None, min_length=1, description="the benchmarks that its student is evaluated on; all by default"
    )

    @model_validator(mode="before")
    @classmethod
    def _files_are_absolute(cls, data: Any) -> Any:
        prompts = data.get("prompts") if isinstance(data, dict) else None
        if isinstance(prompts, dict) and isinstance(prompts.get("source"), str):
            return {**data, "prompts": {**prompts, "source": absolute_file(prompts["source"])}}
        return data


def with_kinds(value: Any) -> Any:
    """A study's conditions, each with its kind: where none is given, its name."""
    if not isinstance(value, dict):
        return value
    return {
        name: {"kind": str(name), **(given or {})} if isinstance(given, dict | None) else given
        for name, given in value.items()
    }
