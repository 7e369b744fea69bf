"""The resumable state of a training on disk: safetensors and one JSON file, for any number of processes.

weights.safetensors, exp_avg.safetensors, exp_avg_sq.safetensors    the trained weights and AdamW's moments, float32
average.safetensors                                                 the moving average of the weights, if there is one
progress.json                                                       written last: completed steps and their losses
"""

import json
from pathlib import Path
from typing import Any

from trainers.disk import explain_disk_full

MOMENTS = ("exp_avg", "exp_avg_sq")
PROGRESS = "progress.json"


def save_part(folder: Path, part: str, tensors: dict[str, Any]) -> None:
    from safetensors.torch import save_file

    with explain_disk_full(folder):
        save_file(tensors, folder / f"{part}.safetensors")


def load_part(folder: Path, part: str) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(folder / f"{part}.safetensors")


def save_progress(folder: Path, progress: dict[str, Any]) -> None:
    with explain_disk_full(folder):
        (folder / PROGRESS).write_text(json.dumps(progress))


def load_progress(folder: Path) -> dict[str, Any]:
    return json.loads((folder / PROGRESS).read_text())
