"""The shipped organisms: whole, verified, and known by their checksums."""

import shutil

import pytest

from organisms import shipped
from organisms.recipes import RECIPES


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The shipped organisms in a folder that may be spoilt."""
    shutil.copytree(shipped.FOLDER, tmp_path / "weights")
    monkeypatch.setattr(shipped, "FOLDER", tmp_path / "weights")
    shipped.verify.cache_clear()
    yield tmp_path / "weights"
    shipped.verify.cache_clear()


def test_every_recipe_is_shipped_and_whole():
    assert shipped.names() == sorted(RECIPES)
    for name in RECIPES:
        shipped.verify(name)
        assert "model.safetensors" in shipped.checksums(name)


def test_an_organism_that_is_not_shipped_is_named_with_those_that_are():
    with pytest.raises(ValueError, match=f'no organism "stepz"; there are {", ".join(sorted(RECIPES))}'):
        shipped.checksums("stepz")


def test_unpacking_gives_the_verified_files(folder, tmp_path):
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
