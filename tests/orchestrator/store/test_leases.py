"""Leases: one process for each stage, whatever happens to the owner."""

import json
import os
import signal
import subprocess
import sys
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from orchestrator.store import files
from orchestrator.store.leases import Lease, LeaseLost, LeaseRequest, check_held
from orchestrator.store.store import Store

LONG = 1000.0  # seconds; no test runs longer than this lease
LEASE = 60.0
FOREIGN = {"machine": "elsewhere", "host": "elsewhere", "pid": 1, "process_started": 0.0, "beat": 0}

OWNER = """
import sys
from orchestrator.store.leases import LeaseRequest
from orchestrator.store.store import Store
lease = LeaseRequest(Store(sys.argv[1]), "train/stage", seconds=1000.0).attempt()
print("held" if lease else "refused", flush=True)
sys.stdin.read()
"""

RACER = """
import json, sys
from orchestrator.store.leases import LeaseRequest
from orchestrator.store.store import Store
store = Store(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
leases = {i: LeaseRequest(store, f"train/stage{i}", seconds=1000.0).attempt() for i in range(int(sys.argv[2]))}
print(json.dumps([i for i, lease in leases.items() if lease]), flush=True)
sys.stdin.readline()
"""


def start(script: str, *arguments: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "runs"))


def lease_path(store: Store, number: int = 1) -> str:
    return f"train/stage/lease-{number}"


def write_lease(store: Store, **changed) -> None:
    store.create(lease_path(store), json.dumps({**FOREIGN, **changed}).encode())


def test_a_second_request_waits_for_the_release(store):
    lease = LeaseRequest(store, "train/stage").attempt()
    second = LeaseRequest(store, "train/stage")
    assert isinstance(lease, Lease)
    assert second.attempt() is None
    assert second.attempt() is None
    lease.release()
    assert isinstance(second.attempt(), Lease)
    assert LeaseRequest(store, "train/stage").attempt() is None


def test_leases_hold_in_a_remote_store():
    store = Store(f"memory://{uuid.uuid4().hex}")
    lease = LeaseRequest(store, "train/stage").attempt()
    assert lease is not None
    assert LeaseRequest(store, "train/stage").attempt() is None
    lease.release()
    assert LeaseRequest(store, "train/stage").attempt() is not None


def test_leases_of_other_stages_are_free(store):
    assert LeaseRequest(store, "train/stage").attempt() is not None
    assert LeaseRequest(store, "train/other").attempt() is not None


@pytest.mark.parametrize("reaped", [True, False])
def test_the_lease_of_a_killed_process_is_taken_over_at_once(store, reaped):
    owner = start(OWNER, store.root)
    assert owner.stdout.readline() == "held\n"
    request = LeaseRequest(store, "train/stage", LONG)
    assert request.attempt() is None
    owner.send_signal(signal.SIGKILL)
    if reaped:
        owner.wait()
    else:  # It has no parent to collect it until we do: dead, but with a process id.
        os.waitid(os.P_PID, owner.pid, os.WEXITED | os.WNOWAIT)
    lease = request.attempt()
    owner.wait()
    owner.stdin.close()
    owner.stdout.close()
    assert lease is not None
    assert lease.number == 2


def test_a_process_id_that_was_given_out_again_is_not_its_owner(store):
    assert LeaseRequest(store, "train/stage", LONG).attempt() is not None
    owner = json.loads(store.read(lease_path(store)))
    assert owner["pid"] == os.getpid()
    store.overwrite(lease_path(store), json.dumps({**owner, "process_started": owner["process_started"] - 1}).encode())
    assert LeaseRequest(store, "train/stage", LONG).attempt() is not None


@pytest.fixture
def now():
    """A clock that the test sets: now[0]."""
    return [0.0]


def test_a_lease_of_another_machine_without_heartbeats_is_taken_over_after_its_length_and_not_before(store, now):
    write_lease(store)
    request = LeaseRequest(store, "train/stage", LEASE, lambda: now[0])
    for now[0] in (0.0, 0.5 * LEASE, 0.99 * LEASE):
        assert request.attempt() is None
    now[0] = LEASE
    lease = request.attempt()
    assert lease is not None
    assert lease.number == 2


def test_the_length_of_a_lease_counts_from_the_last_heartbeat(store, now):
    write_lease(store)
    request = LeaseRequest(store, "train/stage", LEASE, lambda: now[0])
    assert request.attempt() is None
    now[0] = 0.7 * LEASE
    store.overwrite(lease_path(store), json.dumps({**FOREIGN, "beat": 1}).encode())
    for now[0] in (0.7 * LEASE, 1.2 * LEASE, 1.69 * LEASE):
        assert request.attempt() is None
    now[0] = 1.71 * LEASE
    assert request.attempt() is not None


def test_an_owner_with_heartbeats_keeps_its_lease(store, now, intervals):
    lease = LeaseRequest(store, "train/stage", LEASE, wait=intervals.wait).attempt()
    request = LeaseRequest(store, "train/stage", LEASE, lambda: now[0])
    for number in range(20):
        now[0] = number * LEASE / 6
        assert request.attempt() is None
        intervals.end_and_work()
    assert json.loads(store.read(lease_path(store)))["beat"] == 20
    lease.release()
    assert request.attempt() is not None


def test_a_store_that_is_gone_for_a_while_costs_no_lease(store, tmp_path, intervals, monkeypatch):
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        """The store comes back while the third try waits."""
        waits.append(seconds)
        if len(waits) == 3:
            (tmp_path / "runs").unlink()
            (tmp_path / "away").rename(tmp_path / "runs")

    monkeypatch.setattr(files, "sleep", sleep)
    lease = LeaseRequest(store, "train/stage", LEASE, wait=intervals.wait).attempt()
    (tmp_path / "runs").rename(tmp_path / "away")
    (tmp_path / "runs").write_text("a file in the place of the store")
    intervals.end_and_work()
    assert len(waits) == 3
    assert json.loads(store.read(lease_path(store)))["beat"] == 1
    lease.release()


def test_heartbeats_continue_after_a_failed_write(store, intervals, monkeypatch):
    lease = LeaseRequest(store, "train/stage", LEASE, wait=intervals.wait).attempt()
    with monkeypatch.context() as patched:
        patched.setattr(store, "overwrite", lambda *_: (_ for _ in ()).throw(OSError("refused")))
        intervals.end_and_work()
    intervals.end_and_work()
    assert json.loads(store.read(lease_path(store)))["beat"] == 2
    lease.release()


def test_an_owner_notices_that_it_was_taken_over_and_writes_nothing_more(store, intervals):
    first = LeaseRequest(store, "train/stage", LEASE, wait=intervals.wait).attempt()
    lost = threading.Event()
    first.on_loss = lost.set
    check_held(store, "train/stage", first.id)
    request = LeaseRequest(store, "train/stage", LEASE, ended=store.read(lease_path(store)))
    second = request.attempt()
    assert second.number == 2
    with pytest.raises(LeaseLost, match="train/stage: another process has taken over"):
        check_held(store, "train/stage", first.id)
    check_held(store, "train/stage", second.id)
    second.release()
    # Nor does it hold the lease once its successor has released it.
    with pytest.raises(LeaseLost):
        check_held(store, "train/stage", first.id)
    intervals.end()
    assert lost.wait(60)
    assert store.names("train/stage") == []


def test_an_owner_that_was_taken_over_does_not_take_another_lease_with_its_number_for_its_own(store):
    """Its successor has failed and left nothing, and a third owner begins at 1 again."""
    first = LeaseRequest(store, "train/stage", LONG).attempt()
    LeaseRequest(store, "train/stage", LONG, ended=store.read(lease_path(store))).attempt().release()
    third = LeaseRequest(store, "train/stage", LONG).attempt()
    assert third.number == first.number
    with pytest.raises(LeaseLost):
        check_held(store, "train/stage", first.id)
    first.release()
    check_held(store, "train/stage", third.id)


def test_a_lease_is_numbered_after_the_states_of_earlier_ones(store):
    store.create("train/stage/state-4-2/complete", b"{}")
    assert LeaseRequest(store, "train/stage").attempt().number == 5


@pytest.mark.parametrize("content", [b"", b'{"machine": "els', b"[]", b"\0\0\0"])
def test_a_torn_lease_is_taken_over_after_its_length(store, now, content):
    store.create(lease_path(store), content)
    request = LeaseRequest(store, "train/stage", LEASE, lambda: now[0])
    assert request.attempt() is None
    now[0] = LEASE
    assert request.attempt().number == 2


def test_a_step_of_the_clock_does_not_end_a_lease(store, monkeypatch):
    assert LeaseRequest(store, "train/stage", LONG).attempt() is not None
    created = psutil.Process.create_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda self: created(self) + 5)
    assert LeaseRequest(store, "train/stage", LONG).attempt() is None


def test_what_one_request_saw_end_another_one_takes_at_once(store, now):
    write_lease(store)
    seen = LeaseRequest(store, "train/stage", LEASE, lambda: now[0])
    assert seen.held()
    assert LeaseRequest(store, "train/stage", LEASE, ended=seen.ended).attempt() is None
    now[0] = LEASE
    assert not seen.held()
    assert LeaseRequest(store, "train/stage", LEASE, ended=seen.ended).attempt().number == 2


def test_a_place_in_a_queue_is_not_the_lease(store):
    queued = LeaseRequest(store, "train/stage", name="queue-one").attempt()
    assert LeaseRequest(store, "train/stage", name="queue-one").attempt() is None
    assert LeaseRequest(store, "train/stage", name="queue-two").attempt() is not None
    assert LeaseRequest(store, "train/stage").attempt() is not None
    queued.release()


def test_a_heartbeat_does_not_restore_a_released_lease(store):
    begun, released, ended = threading.Event(), threading.Event(), threading.Event()

    def wait(event: threading.Event, seconds: float) -> bool:
        """The heartbeat begins before the release, and comes to its write after it."""
        if begun.is_set():
            ended.set()
            return True
        begun.set()
        assert released.wait(60)
        return False

    lease = LeaseRequest(store, "train/stage", LEASE, wait=wait).attempt()
    lease.release()
    released.set()
    assert ended.wait(60)
    assert store.read(lease_path(store)) is None


def test_an_owner_that_was_taken_over_does_not_release_its_successor(store):
    first = LeaseRequest(store, "train/stage", LONG).attempt()
    owner = json.loads(store.read(lease_path(store)))
    store.overwrite(lease_path(store), json.dumps({**owner, "process_started": 0}).encode())
    second = LeaseRequest(store, "train/stage", LONG).attempt()
    assert second.number == 2
    first.release()
    assert LeaseRequest(store, "train/stage", LONG).attempt() is None
    second.release()
    assert LeaseRequest(store, "train/stage", LONG).attempt() is not None


def test_an_owner_may_find_its_lease_gone_when_it_releases(store):
    lease = LeaseRequest(store, "train/stage", LONG).attempt()
    store.remove(lease_path(store))
    lease.release()
    assert LeaseRequest(store, "train/stage", LONG).attempt() is not None


def test_a_file_that_is_still_being_written_is_no_lease(store):
    # A lease is written beside itself and then moved, so whoever lists the folder may see it on its way.
    store.create(f"train/stage/.{uuid.uuid4().hex}", b"")
    assert LeaseRequest(store, "train/stage").attempt() is not None


def test_of_many_threads_one_takes_over_a_dead_lease(store):
    owner = LeaseRequest(store, "train/owner", LONG).attempt()
    alive = json.loads(store.read("train/owner/lease-1"))
    owner.release()
    dead = json.dumps({**alive, "process_started": 0}).encode()
    for i in range(8):
        store.create(f"train/stage{i}/lease-1", dead)
        start_together = threading.Barrier(12)

        def contend(_, address=f"train/stage{i}", start_together=start_together):
            request = LeaseRequest(store, address, LONG)
            start_together.wait()
            return request.attempt()

        with ThreadPoolExecutor(12) as pool:
            won = [lease for lease in pool.map(contend, range(12)) if lease is not None]
        assert [lease.number for lease in won] == [2]
        won[0].release()


def test_of_two_processes_one_gets_each_lease(store):
    racers = [start(RACER, store.root, "60") for _ in range(2)]
    for racer in racers:
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        racer.stdin.write("go\n")
        racer.stdin.flush()
    won = [json.loads(racer.stdout.readline() or "null") for racer in racers]
    for racer in racers:
        racer.communicate("done\n", timeout=30)
    assert all(racer.returncode == 0 for racer in racers)
    assert sorted(won[0] + won[1]) == list(range(60))
