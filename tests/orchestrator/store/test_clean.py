"""What is left beside finished stages is removed, unless a process still works on the stage."""

import pytest

from orchestrator.store.clean import clean
from orchestrator.store.leases import LeaseRequest
from orchestrator.store.partial import append_partial, save_state
from orchestrator.store.stage import Stage


@pytest.fixture
def finished(store, publish, tmp_path):
    """A finished stage beside which a woken owner has left things."""
    stage = Stage("train", 1, "student", {"seed": 1})
    publish(store, stage, {"weights": b"w"})
    folder = tmp_path / "state"
    folder.mkdir()
    (folder / "optimizer").write_bytes(b"half")
    save_state(store, stage, folder, lease=3)
    append_partial(store, stage, "{}\n")
    store.create(f"{stage.address}/other/weights", b"half")
    return stage


def cleaned(store, stage, **options) -> dict[str, bool]:
    found = clean(store, store.records([stage]), **options)
    return {path.removeprefix(f"{stage.address}/").partition("/")[0]: gone for path, gone in found}


def no_sleep(seconds: float) -> None:
    raise AssertionError("nothing is held")


def test_all_but_the_record_and_its_attempt_is_removed(store, finished):
    assert cleaned(store, finished, sleep=no_sleep) == dict.fromkeys(("other", "partial", "state-3-1"), True)
    assert store.names(finished.address) == ["one", "record.json"]
    assert cleaned(store, finished, sleep=no_sleep) == {}


@pytest.mark.parametrize("name", ["lease", "queue-run"])
def test_a_stage_whose_lease_is_held_stays_as_it_is(store, finished, name, intervals):
    lease = LeaseRequest(store, finished.address, wait=intervals.wait, name=name).attempt()
    before = store.names(finished.address)
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds
        intervals.end_and_work()  # a heartbeat

    assert set(cleaned(store, finished, clock=lambda: now[0], sleep=sleep).values()) == {False}
    assert store.names(finished.address) == before
    lease.release()
    assert set(cleaned(store, finished, sleep=no_sleep).values()) == {True}


def test_a_lease_without_heartbeats_is_removed_after_its_length(store, finished):
    store.create(f"{finished.address}/lease-4", b'{"machine": "another"}')
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    assert cleaned(store, finished, clock=lambda: now[0], sleep=sleep)["lease-4"]
    assert now == [60.0]
    assert store.names(finished.address) == ["one", "record.json"]
