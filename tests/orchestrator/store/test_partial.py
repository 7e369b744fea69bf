"""Partial results, and states from which a training resumes."""

import pytest

from orchestrator.store.partial import append_partial, load_state, read_partial, save_state
from orchestrator.store.stage import Stage

STAGE = Stage("train", 1, "student", {"seed": 1})
OTHER = Stage("train", 1, "student", {"seed": 2})


def test_partial_results_are_read_until_the_stage_is_finished(store, publish):
    assert read_partial(store, STAGE) == ""
    append_partial(store, STAGE, "one\n")
    append_partial(store, STAGE, "two\n")
    append_partial(store, OTHER, "of another stage\n")
    assert read_partial(store, STAGE) == "one\ntwo\n"
    publish(store, STAGE, {"weights.bin": b"x"})
    assert read_partial(store, STAGE) == ""
    assert read_partial(store, OTHER) == "of another stage\n"


def test_the_last_state_is_loaded_until_the_stage_is_finished(store, entries, folder, publish, tmp_path):
    assert load_state(store, STAGE, tmp_path / "none") is None
    save_state(store, OTHER, folder(b"of another stage"))
    assert load_state(store, STAGE, tmp_path / "none") is None
    for content in (b"one", b"two", b"three"):
        save_state(store, STAGE, folder(content))
        assert entries(store, STAGE) == ["state"]
    kept = load_state(store, STAGE, tmp_path / "kept")
    assert ((kept / "weights.bin").read_bytes(), (kept / "progress.json").read_bytes()) == (b"three", b"{}")
    publish(store, STAGE, {"weights.bin": b"whole"})
    assert load_state(store, STAGE, tmp_path / "none") is None
    assert (load_state(store, OTHER, tmp_path / "other") / "weights.bin").read_bytes() == b"of another stage"


@pytest.fixture
def save_until(store, monkeypatch):
    """Saves a state of STAGE, interrupted at the first call of a function."""

    def lost(*_, **__):
        raise OSError("the machine is gone")

    def act(folder, of, function: str) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(of, function, lost)
            with pytest.raises(OSError, match="gone"):
                save_state(store, STAGE, folder)

    return act


def test_an_incomplete_state_is_ignored(store, entries, folder, tmp_path, save_until):
    save_state(store, STAGE, folder(b"whole"))
    save_until(folder(b"half"), store, "create")
    assert entries(store, STAGE) == ["state", "state"]
    assert (load_state(store, STAGE, tmp_path / "kept") / "weights.bin").read_bytes() == b"whole"
    save_state(store, STAGE, folder(b"next"))
    assert (load_state(store, STAGE, tmp_path / "next") / "weights.bin").read_bytes() == b"next"


def test_of_two_complete_states_the_later_is_loaded(store, entries, folder, tmp_path, save_until):
    save_state(store, STAGE, folder(b"one"))
    save_until(folder(b"two"), store.fs, "rm")
    assert entries(store, STAGE) == ["state", "state"]
    assert (load_state(store, STAGE, tmp_path / "kept") / "weights.bin").read_bytes() == b"two"
