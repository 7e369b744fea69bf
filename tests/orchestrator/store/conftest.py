"""Stores on a local folder and on a remote file system (fsspec's in-memory one)."""

import tempfile
import uuid

import pytest

from orchestrator.store.stage import Stage
from orchestrator.store.store import Store


@pytest.fixture
def remote(tmp_path, monkeypatch):
    monkeypatch.setenv("OFFMODEL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # An attempt's folder is left to whoever runs the stage.
    return Store(f"memory://{uuid.uuid4().hex}/runs")


@pytest.fixture(params=["local", "remote"])
def store(request, tmp_path):
    return Store(str(tmp_path / "runs")) if request.param == "local" else request.getfixturevalue("remote")


@pytest.fixture
def folder(tmp_path):
    """Makes a folder with two files."""

    def act(content: bytes):
        made = tmp_path / uuid.uuid4().hex
        made.mkdir()
        (made / "weights.bin").write_bytes(content)
        (made / "progress.json").write_bytes(b"{}")
        return made

    return act


@pytest.fixture
def entries():
    """Lists the entries of a stage's folder, without the random part of their names."""

    def act(store: Store, stage: Stage) -> list[str]:
        found = store.fs.ls(f"{store.root}/{stage.address}", detail=False)
        return sorted(path.rsplit("/", 1)[-1].partition("-")[0] for path in found)

    return act
