"""Where the values of a study come from, field by field, as its file says: a paper, its code, our choice.

Fields that the file leaves at their defaults are included, so that a default never passes as a paper's value. Fields
that change no result, such as resources, have no provenance.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from orchestrator.study.settings import check_known, flatten

NOT_STATED, COMMAND_LINE = "not stated", "the command line"
DECIDE_NOTHING = {"name", "store", "resources", "tracking", "cost_assumptions", "provenance", "evaluate_teachers"}


@dataclass(frozen=True)
class Stated:
    """A field of the study, its value in YAML, and where that comes from."""

    field: str
    value: str
    source: str


def check(provenance: Mapping[str, str], study: dict[str, Any]) -> None:
    """Raise ValueError for the provenance of a field that a study, as a dict, does not have."""
    if provenance:
        parts = [name.split(".") for name, _ in _deciding(study)]
        known = dict.fromkeys(".".join(each[: i + 1]) for each in parts for i in range(len(each)))
        for name in provenance:
            check_known("provenance", name, known, "the fields of this study that decide its results")


def stated(provenance: Mapping[str, str], study: dict[str, Any]) -> list[Stated]:
    """Every field of a study, given as a dict without None, in its order. Of several entries that cover a field, the
    longest counts."""
    return [
        Stated(name, _shown(value), _source(name, provenance))
        for name, value in _deciding(study)
        if "." in name or value not in ({}, [])  # as of a study without recoveries
    ]


def override(data: dict[str, Any], name: str) -> None:
    """Record in the raw study that a field was overridden: the file's provenance of it no longer holds."""
    said = data.get("provenance")
    if isinstance(said, dict) and name.partition(".")[0] not in DECIDE_NOTHING:
        for other in [other for other in said if _covers(name, str(other))]:
            del said[other]
        said[name] = COMMAND_LINE


def _source(name: str, provenance: Mapping[str, str]) -> str:
    covering = [each for each in provenance if _covers(each, name)]
    return provenance[max(covering, key=len)] if covering else NOT_STATED


def _covers(key: str, name: str) -> bool:
    return name == key or name.startswith(f"{key}.")


def _deciding(study: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The fields that decide results, by dotted name. Each item of a list of mappings is a field."""
    for name, value in flatten({key: part for key, part in study.items() if key not in DECIDE_NOTHING}).items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            yield from ((f"{name}.{i}", each) for i, each in enumerate(value))
        else:
            yield name, value


def _shown(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=1000).removesuffix("...\n").strip()
