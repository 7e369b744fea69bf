"""Partial results, and states from which a training resumes."""

import pytest

from orchestrator.store.partial import append_partial, load_state, progress, read_partial, save_state
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
    save_state(store, OTHER, folder(b"of another stage"), 1)
    assert load_state(store, STAGE, tmp_path / "none") is None
    for content in (b"one", b"two", b"three"):
        save_state(store, STAGE, folder(content), 1)
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
                save_state(store, STAGE, folder, 1)

    return act


def test_an_incomplete_state_is_ignored(store, entries, folder, tmp_path, save_until):
    save_state(store, STAGE, folder(b"whole"), 1)
    save_until(folder(b"half"), store, "create")
    assert entries(store, STAGE) == ["state", "state"]
    assert (load_state(store, STAGE, tmp_path / "kept") / "weights.bin").read_bytes() == b"whole"
    save_state(store, STAGE, folder(b"next"), 1)
    assert (load_state(store, STAGE, tmp_path / "next") / "weights.bin").read_bytes() == b"next"


def test_an_owner_that_was_taken_over_does_not_set_its_successor_back(store, folder, tmp_path):
    save_state(store, STAGE, folder(b"of the first, step 10"), 1)
    save_state(store, STAGE, folder(b"of the second, step 5000"), 2)
    save_state(store, STAGE, folder(b"of the first, step 11"), 1)
    assert store.names(STAGE.address) == ["state-1-1", "state-2-1"]
    assert (load_state(store, STAGE, tmp_path / "kept") / "weights.bin").read_bytes() == b"of the second, step 5000"


@pytest.mark.parametrize("size", [0, 2])
def test_a_state_that_a_power_cut_damaged_is_not_loaded(store, folder, tmp_path, monkeypatch, caplog, size):
    save_state(store, STAGE, folder(b"whole"), 1)
    with monkeypatch.context() as patched:
        patched.setattr(store, "remove_folder", lambda path: None)
        save_state(store, STAGE, folder(b"torn"), 1)
    store.overwrite(f"{STAGE.address}/state-1-2/weights.bin", b"torn"[:size])
    assert (load_state(store, STAGE, tmp_path / "kept") / "weights.bin").read_bytes() == b"whole"
    assert "state-1-2 is incomplete" in caplog.text


@pytest.mark.parametrize("torn", [b"", b'{"id": "a", "compl', b"\0\0\n"])
def test_a_torn_piece_of_partial_results_is_set_aside(store, torn, caplog):
    append_partial(store, STAGE, "whole\n")
    store.create(f"{STAGE.address}/partial/9-torn", torn)
    for _ in range(2):
        assert read_partial(store, STAGE) == "whole\n"
    assert caplog.text.count("is torn") == 1


def test_states_and_pieces_are_progress(store, folder):
    seen = [progress(store, STAGE)]
    append_partial(store, STAGE, "one\n")
    seen.append(progress(store, STAGE))
    for _ in range(2):
        save_state(store, STAGE, folder(b"state"), 1)
        seen.append(progress(store, STAGE))
    assert seen[0] == []
    assert len({tuple(one) for one in seen}) == 4


def test_of_two_complete_states_the_later_is_loaded(store, entries, folder, tmp_path, save_until):
    save_state(store, STAGE, folder(b"one"), 1)
    save_until(folder(b"two"), store.fs, "rm")
    assert entries(store, STAGE) == ["state", "state"]
    assert (load_state(store, STAGE, tmp_path / "kept") / "weights.bin").read_bytes() == b"two"
