"""One error message for a full disk, in place of the different ones of the libraries that write."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class DiskFull(ValueError):
    """A file could not be written because the disk is full."""


@contextmanager
def explain_disk_full(folder: Path) -> Iterator[None]:
    """Raise DiskFull in place of any error that a full disk causes."""
    try:
        yield
    except Exception as error:
        # safetensors raises an error class of its own, which has only the text of the system's error.
        full = getattr(error, "errno", None) == errno.ENOSPC or os.strerror(errno.ENOSPC) in str(error)
        if not full:
            raise
        raise DiskFull(f"no space left on the disk of {folder}: free some, or put the store elsewhere") from error
