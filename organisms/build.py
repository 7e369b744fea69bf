"""Makes organisms to be shipped: `python -m organisms.build [name ...]`, all of them by default."""

import sys
import tempfile
from pathlib import Path

from organisms import shipped
from organisms.pretrain import pretrain
from organisms.recipes import RECIPES

THREADS = 2


def build(name: str) -> None:
    """Train an organism, and put it, sealed, in the place of the shipped one."""
    with tempfile.TemporaryDirectory() as folder:
        pretrain(RECIPES[name], Path(folder), THREADS, lambda step, loss: _tell(name, step, loss))
        shipped.replace(name, Path(folder))


def _tell(name: str, step: int, loss: float) -> None:
    if step % 100 == 0:
        print(f"{name}: step {step}, loss {loss:.4f}", flush=True)


if __name__ == "__main__":
    for organism in sys.argv[1:] or RECIPES:
        build(organism)
