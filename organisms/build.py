"""Pretrains the shipped organisms again: `python -m organisms.build [name ...]`, by default all."""

import sys
import tempfile
from pathlib import Path

from organisms import shipped
from organisms.pretrain import pretrain
from organisms.recipes import RECIPES

THREADS = 2


def build(name: str) -> None:
    """Pretrain an organism and replace the shipped one, with new checksums."""
    with tempfile.TemporaryDirectory() as folder:
        pretrain(RECIPES[name], Path(folder), THREADS, lambda step, loss: _print_loss(name, step, loss))
        shipped.replace(name, Path(folder))


def _print_loss(name: str, step: int, loss: float) -> None:
    if step % 100 == 0:
        print(f"{name}: step {step}, loss {loss:.4f}", flush=True)


if __name__ == "__main__":
    for organism in sys.argv[1:] or RECIPES:
        build(organism)
