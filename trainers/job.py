"""What is trained, from where, on what."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trainers.settings import TrainSettings
from trainers.tokens import Example


@dataclass(frozen=True)
class TrainJob:
    """`base` is the original model's checkpoint (a folder or a hub id), `start` what to go on from in its place: an
    adapter on it where `settings.lora` is set, else another checkpoint. `teacher` is the checkpoint of another model,
    for the objective that has one. The trained student is saved into `out`.
    """

    base: str
    examples: Sequence[Example]
    settings: TrainSettings
    out: Path
    start: Path | None = None
    teacher: str | None = None

    @property
    def checkpoint(self) -> str:
        """The whole weights that are loaded first."""
        return self.base if self.settings.lora or self.start is None else str(self.start)
