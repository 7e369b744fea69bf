"""The shipped organisms and their checksums."""

import shutil

import pytest

from organisms import shipped
from organisms.recipes import RECIPES


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A copy of the shipped organisms that a test may change."""
    shutil.copytree(shipped.FOLDER, tmp_path / "weights")
    monkeypatch.setattr(shipped, "FOLDER", tmp_path / "weights")
    shipped.verify.cache_clear()
    yield tmp_path / "weights"
    shipped.verify.cache_clear()


def test_every_recipe_is_shipped_with_correct_checksums():
    assert {path.name for path in shipped.FOLDER.iterdir() if path.is_dir()} == RECIPES.keys()
    for name in RECIPES:
        shipped.verify(name)
        assert "model.safetensors" in shipped.checksums(name)


def test_unpacking_copies_the_files(folder, tmp_path):
    (tmp_path / "out").mkdir()
    shipped.unpack("steps", tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(shipped.checksums("steps"))
    assert (tmp_path / "out" / "config.json").read_bytes() == (folder / "steps" / "config.json").read_bytes()


def test_changed_or_missing_files_are_not_unpacked(folder, tmp_path):
    (tmp_path / "out").mkdir()
    (folder / "steps" / "config.json").write_text("{}")
    (folder / "words" / "tokenizer.json").unlink()
    with pytest.raises(ValueError, match=r"checksum of .*steps/config\.json"):
        shipped.unpack("steps", tmp_path / "out")
    with pytest.raises(ValueError, match=r"words/tokenizer\.json is missing"):
        shipped.unpack("words", tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())
