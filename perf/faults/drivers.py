"""Histories of two drivers: two studies that share trials run on one new store at once, and one driver is killed.

    python -m perf.faults.drivers [histories] [first seed]

A seed decides which driver is killed, with all its processes, and how many stages are done by then; in a fifth of the
histories none is killed. The killed one is started again. Both must end with status 0 and the tables of undisturbed
runs, every stage must have a record with its files, and MLflow one run for each trial of each study.
"""

import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrator.plan.build import build_plan
from orchestrator.plan.trial import Plan
from orchestrator.study.load import load_study
from perf.faults import studies

SMALL = [
    "pairs.teachers=[number-words]",
    "prompts.n=40",
    "train.num_train_epochs=1",
    "conditions={off-model: , on-model: }",
    "recoveries={}",
    "benchmarks={maths: {kind: math500, source: synthetic, n: 10, max_tokens: 24}}",
    "hypotheses=[]",
]
STUDIES = {"first": ["seeds=[7, 8]", *SMALL], "second": ["seeds=[8, 9]", *SMALL]}
STAGES = 28  # of both studies together


@dataclass(kw_only=True)
class History:
    """Which driver is killed, and when as many stages are done."""

    seed: int
    killed: str | None
    done: int


def plan(seed: int) -> History:
    rng = random.Random(f"drivers {seed}")
    return History(seed=seed, killed=rng.choice([*STUDIES, *STUDIES, None]), done=rng.randrange(STAGES))


def overrides(name: str, store: Path) -> list[str]:
    return [f"name={name}", f"store={store}", *STUDIES[name]]


def run(history: History, folder: Path) -> Iterator[str]:
    """Let the history happen on a new store, `folder`/store, and yield what is wrong then."""
    store, logs = folder / "store", {name: folder / f"{name}.txt" for name in STUDIES}
    drivers = {name: studies.start(overrides(name, store), log) for name, log in logs.items()}
    if history.killed is not None:
        victim = drivers[history.killed]
        while len(studies.records(store)) < history.done and victim.poll() is None:
            time.sleep(0.1)
        if victim.poll() is None:
            studies.kill_all(victim)
            drivers[history.killed] = studies.start(overrides(history.killed, store), logs[history.killed])
    for name, driver in drivers.items():
        if driver.wait() != 0:
            yield f"the driver of {name!r} ended with {driver.returncode}: {logs[name].read_text()[-3000:]}"
    yield from violations(store)


def violations(store: Path) -> Iterator[str]:
    """What is wrong with a store after both studies have run."""
    plans: list[Plan] = []
    for name in STUDIES:
        plans.append(build_plan(load_study(studies.STUDY, overrides(name, store))))
        results = store / "reports" / name / "results.json"
        if not results.exists() or json.loads(results.read_text())["unfinished"]:
            yield f"the report of {name!r} is not complete"
    records = studies.records(store)
    expected = {f"{stage.address}/record.json" for each in plans for stage in each.stages}
    assert len(expected) == STAGES, len(expected)
    if records.keys() != expected:
        yield f"other stages have records than the plans say: {records.keys() ^ expected}"
    yield from studies.damaged_files(store, records)
    names = [name for each in plans for name in (each.study.name, *(trial.key for trial in each.trials))]
    runs = studies.mlflow_runs(store)
    if runs != Counter(f"{name} FINISHED" for name in names):
        yield f"MLflow has other runs than one for each trial: {dict(runs)}"


def main(number: int, first: int) -> None:
    """Run both studies one after the other, then histories, and print what is wrong."""
    bad = 0
    with tempfile.TemporaryDirectory() as scratch:
        calm = Path(scratch, "calm")
        for name in STUDIES:
            studies.finish(overrides(name, calm), Path(scratch, "log.txt"))
        for seed in range(first, first + number):
            history, folder = plan(seed), Path(scratch, str(seed))
            folder.mkdir()
            began = time.monotonic()
            found = list(run(history, folder))
            if studies.scores(folder / "store") != studies.scores(calm):
                found.append("the tables differ from those of undisturbed runs")
            bad += bool(found)
            what = f"{history.killed!r} killed after {history.done} stages" if history.killed else "none killed"
            print(f"seed {seed}: {what}, {time.monotonic() - began:.0f} s", *found, sep="\n  ", flush=True)
    print(f"{number} histories of two drivers from seed {first}: {bad} with violations")
    raise SystemExit(bool(bad))


if __name__ == "__main__":
    given = [int(one) for one in sys.argv[1:]]
    main(*(given + [20, 0][len(given) :]))
