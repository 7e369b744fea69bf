"""A stage: one piece of work, known by its settings and its inputs.

The identity of a stage is its kind, the version of that kind's code, its settings and the identities of its inputs.
Resources, addresses and retries are not part of it, so the same stage is the same on a laptop and on a cluster.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

HASH_DIGITS = 10


@dataclass(frozen=True, eq=False)
class Stage:
    """One node of a study's graph. `name` is for people, and `runtime` (paths, resources) is for whoever runs it:
    neither is part of its identity."""

    kind: str
    version: int
    name: str
    settings: Mapping[str, Any]
    inputs: Mapping[str, "Stage"] = field(default_factory=dict)
    runtime: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def identity(self) -> dict[str, Any]:
        """All that decides the stage's result."""
        return {
            "kind": self.kind,
            "version": self.version,
            "settings": dict(self.settings),
            "inputs": {role: stage.fingerprint for role, stage in self.inputs.items()},
        }

    @cached_property
    def fingerprint(self) -> str:
        return hashlib.sha256(canonical_json(self.identity).encode()).hexdigest()

    @cached_property
    def address(self) -> str:
        """Where the stage's results lie in the store: readable, and unique by its last part."""
        readable = re.sub(r"[^A-Za-z0-9_.]+", "-", self.name)
        return f"{self.kind}/{readable}-{self.fingerprint[:HASH_DIGITS]}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stage) and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)


def canonical_json(value: Any) -> str:
    """JSON that is the same for the same value, always. Raises ValueError for what has no such form."""
    _refuse_ambiguous(value, "")
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def _refuse_ambiguous(value: Any, where: str) -> None:
    if value is None or isinstance(value, bool | int | str):
        return
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(
                f"{where or 'the value'} is {value}, which has no form in JSON: use a finite number or null"
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
            f"{where or 'the value'} is a {type(value).__name__}, which cannot be written the same way every time: "
            f"use strings, numbers, booleans, null, lists and mappings"
        )


def closure(stages: Iterable[Stage]) -> list[Stage]:
    """These stages and all that they need, each once, inputs before those that need them."""
    ordered: dict[str, Stage] = {}

    def visit(stage: Stage) -> None:
        if stage.fingerprint not in ordered:
            for needed in stage.inputs.values():
                visit(needed)
            ordered[stage.fingerprint] = stage

    for stage in stages:
        visit(stage)
    return list(ordered.values())
