"""A study that SIGKILL interrupts several times: the driver and all processes of Ray die, and the study starts again.

It must finish, execute no finished stage again, and have the scores of an uninterrupted run.

    python -m perf.kills [kills] [key=value ...]     # 5 kills of experiments/demo.yaml, with overrides
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

STUDY = "experiments/demo.yaml"
OFFMODEL = str(Path(sys.executable).with_name("offmodel"))


def start(overrides: list[str], log: Path) -> subprocess.Popen:
    """Start `offmodel run` in the background."""
    with open(log, "ab") as file:
        return subprocess.Popen([OFFMODEL, "run", STUDY, *overrides], stdout=file, stderr=subprocess.STDOUT)


def kill_all(driver: subprocess.Popen) -> int:
    """Send SIGKILL to a driver and all its descendants; returns their number."""
    process = psutil.Process(driver.pid)
    family = [process, *process.children(recursive=True)]
    for member in family:
        try:
            os.kill(member.pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    psutil.wait_procs(family, timeout=30)
    driver.wait()
    return len(family)


def records(store: Path) -> dict[str, str]:
    """Every record in a store, by its path."""
    return {str(path.relative_to(store)): path.read_text() for path in store.glob("*/*/record.json")}


def scores(store: Path) -> list[dict]:
    """The rows of the store's one report."""
    (results,) = store.glob("reports/*/results.json")
    return json.loads(results.read_text())["measurements"]["score"]


def finish(overrides: list[str], log: Path) -> None:
    """Run the study to its end."""
    status = start(overrides, log).wait()
    if status:
        raise SystemExit(f"offmodel run ended with status {status}:\n{log.read_text()[-4000:]}")


def kill_repeatedly(kills: int, overrides: list[str], store: Path, log: Path, stages: int) -> None:
    """Start the study and kill it `kills` times, each time with more of its stages done."""
    for number in range(kills):
        driver = start(overrides, log)
        while len(records(store)) < (number + 0.5) / kills * stages and driver.poll() is None:
            time.sleep(0.1)
        assert driver.poll() is None, f"the study ended before kill {number + 1}:\n{log.read_text()[-4000:]}"
        before = records(store)
        killed = kill_all(driver)
        print(f"killed {killed} processes with {len(before)} of {stages} stages done", flush=True)
        assert killed > 3, "Ray had no processes"
        check_unchanged(before, store)


def check_unchanged(before: dict[str, str], store: Path) -> None:
    """No finished stage was executed again: its record would differ."""
    after = records(store)
    assert all(after[path] == record for path, record in before.items()), "a finished stage was executed again"


def main(kills: int, overrides: list[str]) -> None:
    """Run the study without and with interruptions, and compare."""
    with tempfile.TemporaryDirectory() as folder:
        log, calm, killed = (Path(folder, name) for name in ("log.txt", "calm", "killed"))
        finish([f"store={calm}", *overrides], log)
        stages = len(records(calm))
        print(f"uninterrupted: {stages} stages", flush=True)
        overrides = [f"store={killed}", *overrides]
        kill_repeatedly(kills, overrides, killed, log, stages)
        before = records(killed)
        finish(overrides, log)
        check_unchanged(before, killed)
        assert records(calm).keys() == records(killed).keys(), "the two runs did not execute the same stages"
        assert scores(calm) == scores(killed), "the two runs have different scores"
    print("the same stages, each executed once, and the same scores")


if __name__ == "__main__":
    given = sys.argv[1:]
    main(int(given.pop(0)) if given and given[0].isdigit() else 5, given)
