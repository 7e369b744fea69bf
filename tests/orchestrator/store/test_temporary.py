"""Temporary folders beside a stage's results."""

import pytest

from orchestrator.store.partial import load_state
from orchestrator.store.stage import Stage
from orchestrator.store.temporary import delete_temporary, fetch_temporary, publish_temporary, temporary_path

STAGE = Stage("train", 1, "student", {"seed": 1})


def test_a_temporary_folder_is_fetched_until_it_is_deleted(store, entries, folder, tmp_path):
    one, other = (publish_temporary(store, folder(content), temporary_path(STAGE)) for content in (b"one", b"other"))
    assert one != other
    assert one.startswith(f"{STAGE.address}/temporary-")
    for place, content in ((one, b"one"), (other, b"other")):
        fetched = fetch_temporary(store, place, tmp_path / place)
        assert (fetched / "weights.bin").read_bytes() == content
        assert fetched.name == place.rsplit("/", 1)[-1], "engines know weights by the name of their folder"
    delete_temporary(store, one)
    assert entries(store, STAGE) == ["temporary"]
    with pytest.raises(FileNotFoundError):
        (fetch_temporary(store, one, tmp_path / "gone") / "weights.bin").read_bytes()
    assert (fetch_temporary(store, other, tmp_path / "still") / "weights.bin").read_bytes() == b"other"
    assert load_state(store, STAGE, tmp_path / "none") is None


def test_publishing_deletes_temporary_folders_of_lost_attempts(store, entries, folder, publish):
    publish_temporary(store, folder(b"weights"), temporary_path(STAGE))
    publish(store, STAGE, {"weights.bin": b"whole"})
    assert entries(store, STAGE) == ["one", "record.json"]
