"""Temporary folders with the name of their process, so that those of killed processes are removed.

A process removes them before it makes its first folder in the same place. Those of other machines and containers, whose
processes it cannot see, stay.
"""

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from trainers.process_identity import process_started, this_machine


def new_scratch_folder(parent: Path | None = None) -> Path:
    """A new folder, below that of temporary files or below `parent`, which its maker removes."""
    parent = parent or Path(tempfile.gettempdir())
    parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(parent)
    owner = f"{_prefix()}{os.getpid()}-{process_started(os.getpid())}-"
    return Path(tempfile.mkdtemp(prefix=owner, dir=parent))


@contextmanager
def scratch_folder(parent: Path | None = None) -> Iterator[Path]:
    """A new folder, as of `new_scratch_folder`, which is removed at the end."""
    folder = new_scratch_folder(parent)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # A later process removes what is in use now.


@cache
def remove_abandoned(parent: Path) -> None:
    """Remove the scratch folders of this machine's processes that have ended; once in a process, as it looks at all."""
    for folder in parent.glob(f"{_prefix()}*"):
        owner = re.fullmatch(r"(\d+)-([\d.]+)-\w+", folder.name.removeprefix(_prefix()))
        if owner is not None and str(process_started(int(owner[1]))) != owner[2]:
            shutil.rmtree(folder, ignore_errors=True)


def _prefix() -> str:
    return f"offmodel-{hashlib.sha256(this_machine().encode()).hexdigest()[:8]}-"
