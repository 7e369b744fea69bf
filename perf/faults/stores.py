"""Histories of faults on one store that several processes share, and a check of what they leave.

    python -m perf.faults.stores [histories] [first seed]

A history is decided by its seed: the kind of store, how many processes, and which faults happen to which of them at
which call of the store. Killed processes are started again, stopped ones go on after a while.
"""

import json
import logging
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from orchestrator.store.clean import clean
from orchestrator.store.context import digest
from orchestrator.store.stage import Stage
from orchestrator.store.store import LEASES, RECORD, Store
from perf.faults import graph

LEASE_SECONDS = 2.0
CALLS = 450  # a process makes about as many calls of the store
LONGEST = 300.0  # seconds of a history, which takes about 7 on a quiet machine
COSTLY = ("kill before", "kill after", "stop", "slow", "partition")  # after which a stage may run again
KINDS = (*COSTLY, "disk error", "disk full", "lost answer")


@dataclass(kw_only=True)
class History:
    """What happened with a seed: the faults by process, and the violations of the invariants."""

    seed: int
    store: str
    faults: list[dict[int, str]]
    executions: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    violations: list[str] = field(default_factory=list)


def plan(seed: int) -> History:
    rng = random.Random(f"history {seed}")
    processes = rng.choice([1, 2, 2, 3])
    faults = [
        {rng.randrange(CALLS): rng.choice(KINDS) for _ in range(rng.choice([1, 1, 2, 3]))} for _ in range(processes)
    ]
    return History(seed=seed, store=rng.choice(["local", "local", "s3"]), faults=faults)


def run(history: History, uri: str, folder: Path) -> None:
    """Let the history happen, and note its violations."""
    store, executed, began = Store(uri), folder / "executed", time.monotonic()
    log = folder / "log"
    first_seen: dict[str, bytes] = {}
    left = [_start(uri, executed, faults, log) for faults in history.faults]
    woken: dict[int, float] = {}
    while left:
        _note_records(store, first_seen)
        for process in list(left):
            status = process.poll()
            if status is None:
                _wake(process, woken)
                continue
            left.remove(process)
            if status == -signal.SIGKILL:
                left.append(_start(uri, executed, {}, log))
            elif status != 0:
                history.violations.append(f"a process ended with {status}: {log.read_text()[-1500:]}")
        if time.monotonic() - began > LONGEST:
            for process in left:
                process.kill()
                process.wait()
            history.violations.append(f"not finished after {LONGEST:g} s: {log.read_text()[-1500:]}")
            break
        time.sleep(0.05)
    history.seconds = time.monotonic() - began
    _note_records(store, first_seen)
    lines = executed.read_text().splitlines() if executed.exists() else []
    history.executions = Counter(line.removeprefix("begin ") for line in lines if line.startswith("begin "))
    history.violations += violations(history, store, first_seen)


def _start(uri: str, executed: Path, faults: dict[int, str], log: Path) -> subprocess.Popen:
    arguments = [uri, str(executed), str(LEASE_SECONDS), json.dumps(faults)]
    with open(log, "ab") as file:
        return subprocess.Popen([sys.executable, "-m", "perf.faults.worker", *arguments], stdout=file, stderr=file)


def _wake(process: subprocess.Popen, woken: dict[int, float]) -> None:
    """Let a stopped process go on after two leases, when it has been taken over."""
    try:
        if psutil.Process(process.pid).status() != psutil.STATUS_STOPPED:
            woken.pop(process.pid, None)
        elif time.monotonic() - woken.setdefault(process.pid, time.monotonic()) > 2 * LEASE_SECONDS:
            os.kill(process.pid, signal.SIGCONT)
    except (psutil.NoSuchProcess, ProcessLookupError):
        return


def _note_records(store: Store, first_seen: dict[str, bytes]) -> None:
    for stage in graph.stages():
        content = store.read(f"{stage.address}/{RECORD}")
        if content is not None:
            first_seen.setdefault(stage.address, content)


def violations(history: History, store: Store, first_seen: dict[str, bytes]) -> Iterator[str]:
    """What is wrong with a store after a history."""
    costly = sum(fault in COSTLY for faults in history.faults for fault in faults.values())
    records: dict[Stage, dict[str, Any]] = {}
    for stage in graph.stages():
        record = store.record(stage)
        if record is None:
            yield f"{stage.address} is not finished"
            continue
        records[stage] = record
        if store.read(f"{stage.address}/{RECORD}") != first_seen[stage.address]:
            yield f"the record of {stage.address} has changed"
        yield from (f"{file} is missing or damaged" for file in store.damaged_files(stage.address, record))
        left = [name for name in store.names(stage.address) if name not in (RECORD, record["attempt"])]
        if [name for name in left if not may_stay(name, history)]:
            yield f"{stage.address}: {left} are left"
        if history.executions[stage.address] > 1 + costly:
            yield f"{stage.address} was executed {history.executions[stage.address]} times"
        for role, used in record["used"].items():
            if used != digest(records[stage.inputs[role]]):
                yield f"{stage.address} was computed from another {role} than the store has"
    yield from (
        f"offmodel clean did not remove {path}" for path, done in clean(store, records, LEASE_SECONDS) if not done
    )
    for stage, record in records.items():
        if {*store.names(stage.address)} != {RECORD, record["attempt"]}:
            yield f"{stage.address}: offmodel clean left {store.names(stage.address)}"


def may_stay(name: str, history: History) -> bool:
    """Whether the faults explain what is left beside a finished stage until `offmodel clean`."""
    faults = {fault for each in history.faults for fault in each.values()}
    if name.startswith((*LEASES, "partial", "state-")):
        return not faults.isdisjoint(COSTLY)
    # A process that is stopped in an upload, and woken after another one has finished the stage, leaves its files.
    return "stop" in faults and history.store == "s3"


def outcome(store: Store) -> dict[str, dict[str, str]]:
    """The hashes of the files of every stage, which no fault may change."""
    records = store.records(graph.stages())
    return {
        stage.address: {name: file["sha256"] for name, file in record["files"].items()}
        for stage, record in records.items()
    }


@contextmanager
def s3() -> Iterator[str]:
    """A bucket of an S3 server in this process, for this process and its children."""
    import boto3
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # It logs every request.
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    os.environ |= {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
    }
    boto3.client("s3").create_bucket(Bucket="faults")
    try:
        yield "s3://faults"
    finally:
        server.stop()


def histories(seeds: range) -> Iterator[History]:
    """Histories one after the other, each compared with one without faults."""
    with tempfile.TemporaryDirectory() as scratch, s3() as bucket:
        os.environ["OFFMODEL_CACHE"] = f"{scratch}/cache"
        calm = History(seed=-1, store="local", faults=[{}])
        Path(scratch, "calm").mkdir()
        run(calm, f"{scratch}/calm/store", Path(scratch, "calm"))
        assert not calm.violations, calm.violations
        expected = outcome(Store(f"{scratch}/calm/store"))
        for seed in seeds:
            history, folder = plan(seed), Path(scratch, str(seed))
            folder.mkdir()
            uri = f"{folder}/store" if history.store == "local" else f"{bucket}/{seed}"
            run(history, uri, folder)
            if outcome(Store(uri)) != expected:
                history.violations.append("its files differ from those of an undisturbed run")
            yield history


def main(number: int, first: int) -> None:
    """Run histories, print each violation, and a summary by kind of fault."""
    faults: Counter[str] = Counter()
    bad, again = 0, 0
    for done, history in enumerate(histories(range(first, first + number)), 1):
        faults.update(fault for each in history.faults for fault in each.values())
        again += sum(n - 1 for n in history.executions.values() if n > 1)
        bad += bool(history.violations)
        for violation in history.violations:
            print(f"seed {history.seed} ({history.store}, {history.faults}): {violation}", flush=True)
        if done % 10 == 0:
            print(f"{done} histories, {bad} with violations, {again} executions again", flush=True)
    shares = ", ".join(f"{kind} {n}" for kind, n in sorted(faults.items()))
    print(f"{number} histories from seed {first}: {bad} with violations; faults: {shares}; {again} executions again")
    raise SystemExit(bool(bad))


if __name__ == "__main__":
    given = [int(one) for one in sys.argv[1:]]
    main(*(given + [200, 0][len(given) :]))
