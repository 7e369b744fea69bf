"""The cache of a remote store's files, and its limit."""

import os
import time
from pathlib import Path

import pytest

from orchestrator.store.cache import KEPT_SECONDS, cached


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("OFFMODEL_CACHE", str(tmp_path))
    return tmp_path


def add(name: str, used_hours_ago: float = 0.0) -> Path:
    """A folder of 1000 bytes."""
    folder = cached(f"store/train/{name}/one", 1000, lambda into: (into / "file").write_bytes(bytes(1000)))
    used = time.time() - used_hours_ago * 3600
    os.utime(folder, (used, used))
    return folder


def test_what_is_there_is_not_fetched_again_and_counts_as_used(root):
    folder = add("a", used_hours_ago=5)
    assert cached("store/train/a/one", 1000, lambda into: pytest.fail("fetched again")) == folder
    assert time.time() - folder.stat().st_mtime < KEPT_SECONDS
    assert list(root.iterdir()) == [root / "store"]


def test_what_was_not_used_for_longest_makes_room(root, monkeypatch):
    oldest, older, used = add("a", used_hours_ago=3), add("b", used_hours_ago=2), add("c")
    monkeypatch.setenv("OFFMODEL_CACHE_GB", "3e-6")
    new = add("d")
    assert [folder.exists() for folder in (oldest, older, used, new)] == [False, True, True, True]


def test_what_may_be_in_use_stays_although_the_limit_is_reached(root, monkeypatch):
    first, second = add("a", used_hours_ago=0.5), add("b")
    monkeypatch.setenv("OFFMODEL_CACHE_GB", "1e-6")
    new = add("c")
    assert all(folder.exists() for folder in (first, second, new))


def test_without_a_limit_nothing_is_removed(root):
    oldest = add("a", used_hours_ago=1000)
    add("b")
    assert oldest.exists()


def test_a_limit_that_is_no_number_is_refused(root, monkeypatch):
    monkeypatch.setenv("OFFMODEL_CACHE_GB", "much")
    with pytest.raises(ValueError, match="OFFMODEL_CACHE_GB: give a number of gigabytes, not much"):
        add("a")


def test_a_fetch_that_fails_leaves_nothing(root):
    def failing(into: Path) -> None:
        (into / "file").write_bytes(b"half")
        raise OSError("the connection was lost")

    with pytest.raises(OSError, match="the connection was lost"):
        cached("store/train/a/one", 4, failing)
    assert not any(path.is_file() for path in root.rglob("*"))
