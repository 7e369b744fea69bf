"""A stage: a node of a study's graph, identified by its settings and its inputs.

The identity of a stage is its kind, the version of that kind's code, its settings and the identities of its inputs.
Resources, paths and retries are not part of it, so a stage has the same identity on a laptop and on a cluster. Nor is a
setting that was added later (ADDED) and has its default, so that stages stored before it keep their addresses.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cached_property
from typing import Any

from evaluators.identity import ADDED

HASH_DIGITS = 10
NAME_LENGTH = 150  # file systems take 255 bytes; the hash and a temporary name follow


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """How a stage is run. Nothing here changes its result. Kinds of stages add fields in subclasses.

    A stage with `cpus` runs as a Ray task of its own, on `cpus` CPUs and `gpus` GPUs. A stage without runs in the
    process of its trial. `retries` counts retries after a lost worker or engine. `engine` names the engine
    of the stage's model, and `uses_engine` says whether the stage asks it. `published_by` is the stage that publishes
    this one during its own run.
    """

    cpus: float | None = None
    gpus: float = 0
    retries: int = 0
    engine: str | None = None
    uses_engine: bool = False
    published_by: "Stage | None" = None

    @property
    def processes(self) -> int:
        """The number of processes, which may be on several nodes."""
        return 1

    @property
    def total(self) -> tuple[float, float]:
        """The CPUs and GPUs of the task and of all processes that it starts."""
        return self.cpus or 0.0, self.gpus


@dataclass(frozen=True, eq=False)
class Stage:
    """One node of a study's graph. `settings` is a frozen dataclass of the stage's kind and decides the result.

    `name` makes the address readable, and `runtime` says how to run the stage. Neither is part of the identity.
    """

    kind: str
    version: int
    name: str
    settings: Any
    inputs: Mapping[str, "Stage"] = field(default_factory=dict)
    runtime: Any = Runtime()  # of the kind's own class

    @cached_property
    def identity(self) -> dict[str, Any]:
        """All that decides the stage's result, as plain JSON values."""
        return {
            "kind": self.kind,
            "version": self.version,
            "settings": _plain(self.settings),
            "inputs": {role: stage.fingerprint for role, stage in self.inputs.items()},
        }

    @cached_property
    def fingerprint(self) -> str:
        return hashlib.sha256(canonical_json(self.identity).encode()).hexdigest()

    @cached_property
    def address(self) -> str:
        """The stage's folder in the store: a readable name, and a hash that makes it unique."""
        readable = re.sub(r"[^A-Za-z0-9_.]+", "-", self.name)
        return f"{self.kind}/{readable[:NAME_LENGTH]}-{self.fingerprint[:HASH_DIGITS]}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stage) and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)


def _plain(value: Any) -> Any:
    """Dataclasses as dicts, at any depth; other values unchanged."""
    if is_dataclass(value):
        held = [(each, getattr(value, each.name)) for each in fields(value)]
        return {each.name: _plain(one) for each, one in held if each.metadata != ADDED or one != each.default}
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def canonical_json(value: Any) -> str:
    """The same JSON text for equal values. Raises ValueError for a value without such a form."""
    _refuse_ambiguous(value, "")
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def _refuse_ambiguous(value: Any, where: str) -> None:
    if value is None or isinstance(value, bool | int | str):
        return
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(
                f"{where or 'the value'} is {value}, which JSON cannot represent: use a finite number or null"
            )
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            _refuse_ambiguous(item, f"{where}[{i}]")
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise ValueError(f"{where or 'the mapping'} has the key {key!r}, which is not a string")
            _refuse_ambiguous(item, f"{where}.{key}" if where else key)
    else:
        raise ValueError(
            f"{where or 'the value'} is a {type(value).__name__}, which has no canonical JSON form: "
            f"use strings, numbers, booleans, null, lists and mappings"
        )


def closure(stages: Iterable[Stage]) -> list[Stage]:
    """These stages with all direct and indirect inputs, each once; inputs come before the stages that use them."""
    ordered: dict[str, Stage] = {}

    def visit(stage: Stage) -> None:
        if stage.fingerprint not in ordered:
            for needed in stage.inputs.values():
                visit(needed)
            ordered[stage.fingerprint] = stage

    for stage in stages:
        visit(stage)
    return list(ordered.values())
