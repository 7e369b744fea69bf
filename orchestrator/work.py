"""What a stage is given to work with: its inputs, an empty folder for its results, and the fleet."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from orchestrator.stage import Stage
from orchestrator.store import Store


@dataclass(frozen=True)
class Weights:
    """What an engine is to answer with, by addresses in the store: a checkpoint, and an adapter on it."""

    base: str
    adapter: str | None


@dataclass(frozen=True)
class Work:
    """One execution of a stage. `fleet(engine, weights, what, requests, *how)` asks the engines of the run."""

    stage: Stage
    store: Store
    out: Path
    fleet: Callable[..., Iterator[list[tuple[int, Any]]]]

    def ask(self, what: str, requests: list, *how: Any) -> Iterator[list[tuple[int, Any]]]:
        """Have the stage's model do `what` ("answer" or "likelihood", see Engine) with requests. Results come in the
        order in which they are finished, in chunks, each with its request's place."""
        return self.fleet(self.stage.runtime["engine"], self.weights, what, requests, *how)

    def keep(self, lines: str) -> None:
        """Keep lines for a later attempt, should this one be cut short."""
        self.store.keep(self.stage, lines.encode())

    def kept(self) -> str:
        """All lines that earlier attempts have kept."""
        return b"".join(self.store.kept(self.stage)).decode()

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
        """The weights to ask: those of the input `student` where there is one, else of `base`."""
        base, student = self.stage.inputs["base"], self.stage.inputs.get("student")
        if student is None:
            return Weights(base.address, None)
        if "adapter" in self.records["student"]["facts"]["weights"]:
            return Weights(base.address, student.address)
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
