"""Claims: one worker for each stage, whatever happens to its owner."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from orchestrator.store.leases import Lease, LeaseRequest
from orchestrator.store.store import Store

LONG = 1000.0  # a lease that no test outlives
LEASE = 0.5
FOREIGN = {"machine": "elsewhere", "host": "elsewhere", "pid": 1, "process_started": 0.0, "beat": 0}

OWNER = """
import sys, time
from orchestrator.store.leases import LeaseRequest
from orchestrator.store.store import Store
claim = LeaseRequest(Store(sys.argv[1]), "train/stage", lease=1000.0).attempt()
print("claimed" if claim else "refused", flush=True)
time.sleep(600)
"""

RACER = """
import json, sys
from orchestrator.store.leases import LeaseRequest
from orchestrator.store.store import Store
store = Store(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
claims = {i: LeaseRequest(store, f"train/stage{i}", lease=1000.0).attempt() for i in range(int(sys.argv[2]))}
print(json.dumps([i for i, claim in claims.items() if claim]), flush=True)
sys.stdin.readline()
"""


def start(script: str, *arguments: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "runs"))


def claim_path(store: Store, number: int = 1) -> str:
    return f"{store.root}/train/stage/claim-{number}"


def write_claim(store: Store, **changed) -> None:
    store.create(claim_path(store), json.dumps({**FOREIGN, **changed}).encode())


def test_a_second_contender_waits_for_the_release(store):
    claim = LeaseRequest(store, "train/stage").attempt()
    second = LeaseRequest(store, "train/stage")
    assert isinstance(claim, Lease)
    assert second.attempt() is None
    assert second.attempt() is None
    claim.release()
    assert isinstance(second.attempt(), Lease)
    assert LeaseRequest(store, "train/stage").attempt() is None


def test_claims_hold_in_a_remote_store():
    store = Store(f"memory://{uuid.uuid4().hex}")
    claim = LeaseRequest(store, "train/stage").attempt()
    assert claim is not None
    assert LeaseRequest(store, "train/stage").attempt() is None
    claim.release()
    assert LeaseRequest(store, "train/stage").attempt() is not None


def test_claims_of_other_stages_are_free(store):
    assert LeaseRequest(store, "train/stage").attempt() is not None
    assert LeaseRequest(store, "train/other").attempt() is not None


@pytest.mark.parametrize("reaped", [True, False])
def test_the_claim_of_a_killed_process_is_taken_over_at_once(store, reaped):
    owner = start(OWNER, store.root)
    assert owner.stdout.readline() == "claimed\n"
    contender = LeaseRequest(store, "train/stage", LONG)
    assert contender.attempt() is None
    owner.send_signal(signal.SIGKILL)
    if reaped:
        owner.wait()
    else:  # It has no parent to collect it until we do: dead, but with a process id.
        os.waitid(os.P_PID, owner.pid, os.WEXITED | os.WNOWAIT)
    claim = contender.attempt()
    owner.wait()
    owner.stdin.close()
    owner.stdout.close()
    assert claim is not None
    assert claim.number == 2


def test_a_process_id_that_was_given_out_again_is_not_its_owner(store):
    assert LeaseRequest(store, "train/stage", LONG).attempt() is not None
    owner = json.loads(store.read(claim_path(store)))
    assert owner["pid"] == os.getpid()
    store.overwrite(claim_path(store), json.dumps({**owner, "process_started": owner["process_started"] - 60}).encode())
    assert LeaseRequest(store, "train/stage", LONG).attempt() is not None


def test_a_silent_claim_of_another_machine_expires_after_the_lease_and_not_before(store):
    write_claim(store)
    contender, began = LeaseRequest(store, "train/stage", LEASE), time.monotonic()
    while (claim := contender.attempt()) is None:
        assert time.monotonic() - began < 20, "never taken over"
        time.sleep(0.02)
    assert time.monotonic() - began >= LEASE
    assert claim.number == 2


def test_the_lease_is_counted_from_the_last_sign_of_life(store):
    write_claim(store)
    contender = LeaseRequest(store, "train/stage", LEASE)
    assert contender.attempt() is None
    time.sleep(LEASE * 0.7)
    store.overwrite(claim_path(store), json.dumps({**FOREIGN, "beat": 1}).encode())
    seen = time.monotonic()
    assert contender.attempt() is None
    while (claim := contender.attempt()) is None:
        time.sleep(0.02)
    assert time.monotonic() - seen >= LEASE
    assert claim.number == 2


def test_an_owner_that_beats_is_not_taken_over(store):
    lease = 1.2  # long enough that a busy machine does not delay six beats
    claim = LeaseRequest(store, "train/stage", lease).attempt()
    contender, until = LeaseRequest(store, "train/stage", lease), time.monotonic() + 2 * lease
    while time.monotonic() < until:
        assert contender.attempt() is None
        time.sleep(0.05)
    assert json.loads(store.read(claim_path(store)))["beat"] > 1
    claim.release()
    assert contender.attempt() is not None


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_owner_beats_on_after_a_write_that_failed(store, tmp_path):
    claim = LeaseRequest(store, "train/stage", lease=0.3).attempt()
    (tmp_path / "runs").rename(tmp_path / "away")
    time.sleep(0.3)
    (tmp_path / "away").rename(tmp_path / "runs")
    before = json.loads(store.read(claim_path(store)))["beat"]
    time.sleep(0.3)
    after = json.loads(store.read(claim_path(store)))["beat"]
    claim.release()
    assert after > before


def test_a_released_claim_does_not_come_back(store):
    claim = LeaseRequest(store, "train/stage", lease=0.06).attempt()
    time.sleep(0.03)
    claim.release()
    time.sleep(0.1)
    assert store.read(claim_path(store)) is None


def test_an_owner_that_was_taken_over_does_not_release_its_successor(store):
    first = LeaseRequest(store, "train/stage", LONG).attempt()
    owner = json.loads(store.read(claim_path(store)))
    store.overwrite(claim_path(store), json.dumps({**owner, "process_started": 0.0}).encode())
    second = LeaseRequest(store, "train/stage", LONG).attempt()
    assert second.number == 2
    first.release()
    assert LeaseRequest(store, "train/stage", LONG).attempt() is None
    second.release()
    assert LeaseRequest(store, "train/stage", LONG).attempt() is not None


def test_an_owner_may_find_its_claim_gone_when_it_releases(store):
    claim = LeaseRequest(store, "train/stage", LONG).attempt()
    store.fs.rm_file(claim_path(store))
    claim.release()
    assert LeaseRequest(store, "train/stage", LONG).attempt() is not None


def test_a_file_that_is_still_being_written_is_no_claim(store):
    # A claim is written beside itself and then moved, so whoever lists the folder may see it on its way.
    store.create(f"{store.root}/train/stage/.{uuid.uuid4().hex}", b"")
    assert LeaseRequest(store, "train/stage").attempt() is not None


def test_of_many_threads_one_takes_over_a_dead_claim(store):
    owner = LeaseRequest(store, "train/owner", LONG).attempt()
    alive = json.loads(store.read(f"{store.root}/train/owner/claim-1"))
    owner.release()
    dead = json.dumps({**alive, "process_started": 0.0}).encode()
    for i in range(8):
        store.create(f"{store.root}/train/stage{i}/claim-1", dead)
        start_together = threading.Barrier(12)

        def contend(_, address=f"train/stage{i}", start_together=start_together):
            contender = LeaseRequest(store, address, LONG)
            start_together.wait()
            return contender.attempt()

        with ThreadPoolExecutor(12) as pool:
            won = [claim for claim in pool.map(contend, range(12)) if claim is not None]
        assert [claim.number for claim in won] == [2]
        won[0].release()


def test_of_two_processes_one_gets_each_claim(store):
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
