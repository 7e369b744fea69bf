"""Study files: read, with overrides, into a validated study; every error a line that says what to change."""

import os
from collections.abc import Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from evaluators.suggest import did_you_mean
from orchestrator.study import provenance
from orchestrator.study.schema import Pair, PairGrid, Study
from orchestrator.study.settings import StudyError

PAIR_FORMS = ("PairGrid", "list[Pair]")


def without_secrets(uri: str) -> str:
    """A URI as it may be shown: without the user and the password that databases and buckets take in theirs."""
    scheme, separator, rest = uri.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}" if separator else uri


def load_study(path: str | Path, overrides: Sequence[str] = ()) -> Study:
    """Read a study file and apply `key.subkey=value` overrides (values in YAML). Raises StudyError."""
    try:
        text = Path(path).read_text()
    except OSError as error:
        raise StudyError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise StudyError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(data, dict):
        raise StudyError(f"{path}: a study is a mapping of keys to values; see experiments/ for examples")
    for override in overrides:
        _override(data, override)
    try:
        return _with_absolute_paths(Study.model_validate(data))
    except ValidationError as error:
        # Pairs have two forms, and pydantic speaks of both: keep what is said of the form that was meant.
        meant = "PairGrid" if isinstance(data.get("pairs"), dict) else "list[Pair]"
        said = [e for e in error.errors() if e["loc"][:1] != ("pairs",) or meant in e["loc"]]
        raise StudyError("\n".join(f"{path}: {_explain(e)}" for e in said or error.errors())) from error


def _with_absolute_paths(study: Study) -> Study:
    """The same study wherever it is read: a stage does not run in the folder in which the user stands."""

    def absolute(place: str | None, is_path: bool = True) -> str | None:
        return os.path.abspath(place) if place and is_path and "://" not in place else place

    def is_file(source: str | None) -> bool:
        return bool(source) and str(source).endswith(".jsonl")

    def of_condition(options: dict[str, Any]) -> dict[str, Any]:
        prompts = options.get("prompts")
        if not isinstance(prompts, dict) or not is_file(prompts.get("source")):
            return options
        return {**options, "prompts": {**prompts, "source": absolute(prompts["source"])}}

    prompts, problems = study.prompts, study.rl_problems
    return study.model_copy(
        update={
            "store": absolute(study.store),
            "models": {
                alias: model.model_copy(update={"path": absolute(os.path.expanduser(model.path))})
                if model.path
                else model
                for alias, model in study.models.items()
            },
            "prompts": prompts.model_copy(update={"source": absolute(prompts.source, is_file(prompts.source))}),
            "rl_problems": problems
            and problems.model_copy(update={"source": absolute(problems.source, is_file(problems.source))}),
            "conditions": {name: of_condition(options) for name, options in study.conditions.items()},
            "benchmarks": {
                name: benchmark.model_copy(update={"source": absolute(benchmark.source, is_file(benchmark.source))})
                for name, benchmark in study.benchmarks.items()
            },
        }
    )


def _override(data: dict[str, Any], override: str) -> None:
    keys, separator, value = override.partition("=")
    if not separator:
        raise StudyError(f'"{override}" is not an override: write key.subkey=value')
    *parents, last = keys.split(".")
    study = data
    for key in parents:
        if data.get(key) is None:
            data[key] = {}
        data = data[key]
        if not isinstance(data, dict):
            raise StudyError(f'override "{override}": {key} is not a mapping; replace it whole')
    try:
        data[last] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise StudyError(f'override "{override}": {value} is not YAML ({str(error).splitlines()[0]})') from error
    provenance.override(study, keys)


def _explain(error: Any) -> str:
    """One line on one of pydantic's findings: where, what, and what to do."""
    where = ".".join(str(part) for part in error["loc"] if part not in PAIR_FORMS)
    if error["type"] == "extra_forbidden":
        return f"{where}: unknown key; {did_you_mean(str(error['loc'][-1]), _keys_at(error['loc'][:-1]))}"
    if error["type"] == "missing":
        return f"{where}: missing; it has no default"
    message = error["msg"].removeprefix("Value error, ")
    return f"{where}: {message}" if where else message


def _keys_at(place: tuple) -> list[str]:
    """The keys that the study file may have at a place."""
    kind: Any = Study
    for part in place:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            kind = kind.model_fields[part].annotation
        elif part not in PAIR_FORMS:  # an alias, or a place in a list: on to what the container holds
            kind = get_args(kind)[-1]
        else:
            kind = PairGrid if part == "PairGrid" else list[Pair]
        if get_origin(kind) in (Annotated, Union, UnionType) and kind != PairGrid | list[Pair]:
            kind = get_args(kind)[0]
    return list(kind.model_fields)
