"""The files of a remote store on this machine, which all its processes share.

`OFFMODEL_CACHE` is the folder. `OFFMODEL_CACHE_GB` limits its size: before something is added, what has not been used
for longest is removed. What was used in the last hour stays, since an engine or a training may still read it.
"""

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from trainers.scratch import scratch_folder

KEPT_SECONDS = 3600.0
DEPTH = 4  # of a cached folder: store, kind, stage, attempt


def cached(path: str, size: int, fetch: Callable[[Path], object]) -> Path:
    """The folder at a path in the cache, which has `DEPTH` parts. If it is not there, `fetch` fills an empty folder
    with `size` bytes."""
    root = Path(os.environ.get("OFFMODEL_CACHE", Path.home() / ".cache" / "offmodel"))
    folder = root / path
    try:
        os.utime(folder)  # It is used now.
    except FileNotFoundError:
        folder.parent.mkdir(parents=True, exist_ok=True)
        make_room(root, size)
        with scratch_folder(root) as scratch:
            download = scratch / "files"  # The scratch folder itself is for this user alone.
            download.mkdir()
            fetch(download)
            with contextlib.suppress(OSError):  # Another process of this machine was first.
                download.rename(folder)
        assert folder.exists()
    return folder


def make_room(root: Path, size: int) -> None:
    """Remove folders until `size` bytes more are within the limit, or all that is left is in use."""
    limit = os.environ.get("OFFMODEL_CACHE_GB")
    if limit is None:
        return
    try:
        most = float(limit) * 1e9
    except ValueError:
        raise ValueError(f"OFFMODEL_CACHE_GB: give a number of gigabytes, not {limit}") from None
    folders = {folder: size_of(folder) for folder in root.glob("/".join("*" * DEPTH)) if folder.is_dir()}
    left, now = sum(folders.values()), time.time()
    for folder in sorted(folders, key=_used):
        if left + size <= most or now - _used(folder) < KEPT_SECONDS:
            return
        shutil.rmtree(folder, ignore_errors=True)  # Another process may remove it, too.
        left -= folders[folder]


def size_of(folder: Path) -> int:
    return sum(_sizes(folder))


def _sizes(folder: Path) -> Iterator[int]:
    for path in folder.rglob("*"):
        try:
            yield path.stat().st_size
        except FileNotFoundError:  # It was removed just now.
            continue


def _used(folder: Path) -> float:
    """When it was last used, as a Unix time."""
    try:
        return folder.stat().st_mtime
    except FileNotFoundError:
        return 0.0
