"""Histories of faults in whole studies: a process of a real run is killed or stopped, and the study runs again.

    python -m perf.faults.studies [histories] [first seed] [key=value ...]   # of experiments/demo.yaml, with overrides

A seed decides which process it is (the driver, a trial, a training, an engine, a process of Ray, or all of them), the
signal, and how many stages are done by then. Then the study must finish with the table of an undisturbed run, no record
changed, one MLflow run for each trial, and no process or temporary folder left.
"""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from orchestrator.store.store import Store
from perf.processes import command_of, send

STUDY = "experiments/demo.yaml"
MARK = "OFFMODEL_HISTORY"  # an environment variable that all processes of a history inherit
VICTIMS = {
    "driver": "orchestrator.cli run",
    "trial": "ray::ImplicitFunc",
    "training": "ray::_perform_as_task",
    "engine": "ray::ServeReplica",
    "Serve's controller": "ray::ServeController",
    "event log": "ray::EventLog",
    "raylet": "raylet/raylet",
    "GCS": "gcs/gcs_server",
    "all": "",
}
SIGNALS = ("SIGKILL", "SIGKILL", "SIGTERM", "SIGSTOP")
STOPPED = 5.0  # seconds
PATIENCE, LINGERING = 600.0, 30.0  # seconds for a run to end, and for its processes to end after it


@dataclass(kw_only=True)
class History:
    """What happened with a seed, and the violations of the invariants."""

    seed: int
    victim: str
    signal: str
    status: int | None = None  # of the disturbed run; None if it had to be killed
    violations: list[str] = field(default_factory=list)


def start(overrides: list[str], log: Path, mark: str = "") -> subprocess.Popen:
    """Start `offmodel run` in the background."""
    command = [sys.executable, "-m", "orchestrator.cli", "run", STUDY, *overrides]
    with open(log, "ab") as file:
        return subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env={**os.environ, MARK: mark})


def processes_of(mark: str) -> list[psutil.Process]:
    """The living processes of a history."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def kill_all(driver: subprocess.Popen) -> int:
    """Send SIGKILL to a driver and all its descendants; returns their number."""
    process = psutil.Process(driver.pid)
    family = [process, *process.children(recursive=True)]
    send(family, signal.SIGKILL)
    psutil.wait_procs(family, timeout=30)
    driver.wait()
    return len(family)


def records(store: Path) -> dict[str, str]:
    """Every record in a store, by its path."""
    return {str(path.relative_to(store)): path.read_text() for path in store.glob("*/*/record.json")}


def scores(store: Path) -> dict[str, list[dict]]:
    """The rows of the store's reports, by the name of the study."""
    results = {path.parent.name: json.loads(path.read_text()) for path in store.glob("reports/*/results.json")}
    return {name: each["measurements"]["score"] for name, each in results.items()}


def finish(overrides: list[str], log: Path, mark: str = "") -> None:
    """Run the study to its end."""
    status = start(overrides, log, mark).wait()
    if status:
        raise SystemExit(f"offmodel run ended with status {status}:\n{log.read_text()[-4000:]}")


def disturb(history: History, overrides: list[str], store: Path, log: Path, done: int) -> dict[str, str]:
    """Run the study and send the signal when `done` stages are; returns the records of then."""
    mark = f"{history.seed}-{uuid.uuid4().hex}"
    driver = start(overrides, log, mark)
    while len(records(store)) < done and driver.poll() is None:
        time.sleep(0.1)
    victims = [p for p in processes_of(mark) if VICTIMS[history.victim] in " ".join(command_of(p))]
    before = records(store)
    if history.victim != "all":
        victims = victims[:1]
    send(victims, signal.Signals[history.signal])
    if history.signal == "SIGSTOP":
        time.sleep(STOPPED)
        send(victims, signal.SIGCONT)
    try:
        history.status = driver.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        kill_all(driver)
    if not victims:
        history.violations.append(f"there was no {history.victim} when {done} stages were done")
    history.violations += _left_running(mark)
    return before


def _left_running(mark: str) -> list[str]:
    """What runs on after its driver; it is killed."""
    until = time.monotonic() + LINGERING
    while (left := processes_of(mark)) and time.monotonic() < until:
        time.sleep(0.5)
    found = [f"{' '.join(command_of(process))[:60]!r} runs on after its driver" for process in left]
    send(left, signal.SIGKILL)
    return found


def violations(store: Path, calm: Path, before: dict[str, str]) -> Iterator[str]:
    """What is wrong with a store after its study has finished."""
    after = records(store)
    yield from (f"the record {path} has changed" for path, record in before.items() if after.get(path) != record)
    if after.keys() != records(calm).keys():
        yield "other stages were executed than in an undisturbed run"
    elif scores(store) != scores(calm):
        yield "the table differs from that of an undisturbed run"
    yield from damaged_files(store, after)
    runs = mlflow_runs(store)
    if set(runs.values()) != {1} or runs.keys() != mlflow_runs(calm).keys():
        yield f"MLflow has other runs than one for each trial: {dict(runs)}"


def damaged_files(store: Path, found: dict[str, str]) -> Iterator[str]:
    """A line for each file that is not as its record says, of records by path."""
    for path, text in found.items():
        damaged = Store(str(store)).damaged_files(str(Path(path).parent), json.loads(text))
        yield from (f"{file} is missing or damaged" for file in damaged)


def mlflow_runs(store: Path) -> Counter[str]:
    """How many runs MLflow has, by name and status."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{store}/mlflow.db")
    found = client.search_runs([client.get_experiment_by_name("offmodel").experiment_id])
    return Counter(f"{run.info.run_name} {run.info.status}" for run in found)


def main(number: int, first: int, overrides: list[str]) -> None:
    """Run the study without and with faults, and compare."""
    bad = 0
    with tempfile.TemporaryDirectory() as scratch:
        calm, log = Path(scratch, "calm"), Path(scratch, "log.txt")
        finish([f"store={calm}", *overrides], log)
        stages = len(records(calm))
        print(f"undisturbed: {stages} stages", flush=True)
        for seed in range(first, first + number):
            rng = random.Random(f"study {seed}")
            history = History(seed=seed, victim=rng.choice(list(VICTIMS)), signal=rng.choice(SIGNALS))
            store, log = Path(scratch, str(seed)), Path(scratch, f"{seed}.txt")
            given = [f"store={store}", *overrides]
            before = disturb(history, given, store, log, rng.randrange(1, stages - 1))
            finish(given, log)
            history.violations += violations(store, calm, before)
            bad += bool(history.violations)
            ended = "had to be killed" if history.status is None else f"ended with {history.status}"
            done = f"{len(before)} of {stages} stages were done"
            print(f"seed {seed}: {history.signal} to {history.victim} when {done}: the run {ended}", flush=True)
            for violation in history.violations:
                print(f"  {violation}", flush=True)
    print(f"{number} histories from seed {first}: {bad} with violations")
    raise SystemExit(bool(bad))


if __name__ == "__main__":
    numbers = [int(one) for one in sys.argv[1:3] if one.isdigit()]
    histories, first_seed = numbers + [5, 0][len(numbers) :]
    main(histories, first_seed, sys.argv[1 + len(numbers) :])
