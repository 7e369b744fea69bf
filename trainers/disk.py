"""Disks that are full: one message that says so, in place of whatever the library that writes makes of it."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class DiskFull(ValueError):
    """There is no space left where something was to be written."""


@contextmanager
def explain_disk_full(folder: Path) -> Iterator[None]:
    """Raise DiskFull in place of any error that a full disk brings about."""
    try:
        yield
    except Exception as error:
        # safetensors has an error of its own kind, in which only the text is left of the system's.
        full = getattr(error, "errno", None) == errno.ENOSPC or os.strerror(errno.ENOSPC) in str(error)
        if not full:
            raise
        raise DiskFull(f"no space left on the disk of {folder}: free some, or put the store elsewhere") from error
