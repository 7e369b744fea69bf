"""The demo, killed with SIGKILL at five moments, driver and all its Ray processes, and started again each time.

It must finish, run no finished stage again, and end with the table of an undisturbed run.

    python -m benchmarks.kills [key=value ...]     # overrides of the study, to make it smaller
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

SHARES = (0.02, 0.2, 0.45, 0.7, 0.95)  # of the stages done, at which the kills come
OFFMODEL = str(Path(sys.executable).with_name("offmodel"))


def start(study: str, overrides: list[str], log: Path) -> subprocess.Popen:
    """`offmodel run` in the background."""
    with open(log, "ab") as file:
        return subprocess.Popen([OFFMODEL, "run", study, *overrides], stdout=file, stderr=subprocess.STDOUT)


def kill_all(driver: subprocess.Popen) -> int:
    """SIGKILL a driver and everything that it started; the number of processes killed."""
    driver_process = psutil.Process(driver.pid)
    family = [driver_process, *driver_process.children(recursive=True)]
    for process in family:
        try:
            os.kill(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    psutil.wait_procs(family, timeout=30)
    driver.wait()
    return len(family)


def records(store: Path) -> dict[str, str]:
    """Every record in a store, by its path."""
    return {str(path.relative_to(store)): path.read_text() for path in store.glob("*/*/record.json")}


def table(store: Path) -> list[dict]:
    """The scores in a store's one report."""
    (results,) = store.glob("reports/*/results.json")
    return json.loads(results.read_text())["rows"]


def run_until_done(study: str, overrides: list[str], log: Path) -> None:
    status = start(study, overrides, log).wait()
    if status:
        raise SystemExit(f"offmodel run ended with {status}; see {log}")


def run_with_kills(study: str, overrides: list[str], store: Path, log: Path, total: int) -> None:
    """Run a study to its end, killing it at each of the shares."""
    for share in SHARES:
        driver = start(study, overrides, log)
        while len(records(store)) < share * total and driver.poll() is None:
            time.sleep(0.1)
        before = records(store)
        killed = kill_all(driver)
        print(f"killed {killed} processes with {len(before)} of {total} stages done", flush=True)
        for path, record in records(store).items():
            assert before.get(path, record) == record, f"{path} was written twice"
    before = records(store)
    run_until_done(study, overrides, log)
    after = records(store)
    assert all(after[path] == record for path, record in before.items()), "a finished stage ran again"


def main(overrides: list[str]) -> None:
    study = "experiments/demo.yaml"
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log.txt")
        calm, killed = Path(folder, "calm"), Path(folder, "killed")
        run_until_done(study, [f"store={calm}", *overrides], log)
        total = len(records(calm))
        print(f"undisturbed: {total} stages", flush=True)
        run_with_kills(study, [f"store={killed}", *overrides], killed, log, total)
        assert records(calm).keys() == records(killed).keys(), "the two runs did not do the same stages"
        assert table(calm) == table(killed), "the two tables differ"
    print("the same stages, none of them twice, and the same table")


if __name__ == "__main__":
    main(sys.argv[1:])
