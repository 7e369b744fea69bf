"""One training: model, data and settings."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trainers.rows import Example
from trainers.settings import TrainSettings


@dataclass(frozen=True)
class TrainJob:
    """`base` is the checkpoint of the base student (a folder or a hub id). Training begins from it, or from `start`: an
    adapter on it where `settings.lora` is set, else another checkpoint. `teacher` is the checkpoint of another model,
    for objectives that compare with one. The trained student is saved into `out`.
    """

    base: str
    examples: Sequence[Example]
    settings: TrainSettings
    out: Path
    start: Path | None = None
    teacher: str | None = None

    @property
    def checkpoint(self) -> str:
        """The full weights that are loaded first."""
        return self.base if self.settings.lora or self.start is None else str(self.start)
