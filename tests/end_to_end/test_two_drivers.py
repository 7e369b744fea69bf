"""Two drivers run one study on one new store at the same time. Both end with its results, also where one is killed."""

import json
import random
import time
from collections import Counter

import pytest

from orchestrator.plan.build import build_plan
from orchestrator.study.load import load_study
from perf.faults import studies

pytestmark = pytest.mark.slow

STUDY = [
    "pairs.teachers=[number-words]",
    "prompts.n=40",
    "train.num_train_epochs=1",
    "conditions={off-model: , on-model: }",
    "recoveries={}",
    "seeds=[7, 8]",
    "benchmarks={maths: {kind: math500, source: synthetic, n: 10, max_tokens: 24}}",
    "hypotheses=[]",
]


def test_two_drivers_of_one_study_finish_it_once(tmp_path):
    """One of them is killed at a random stage; in a fifth of the runs none is."""
    store, logs = tmp_path / "runs", [tmp_path / "0.txt", tmp_path / "1.txt"]
    overrides = [f"store={store}", *STUDY]
    plan = build_plan(load_study(studies.STUDY, overrides))
    until, kill = random.SystemRandom().randrange(len(plan.stages)), random.SystemRandom().random() < 0.8
    print(f"{until} of {len(plan.stages)} stages before the kill" if kill else "none is killed")
    drivers = [studies.start(overrides, log) for log in logs]
    if kill:
        while len(studies.records(store)) < until:
            assert drivers[0].poll() is None, logs[0].read_text()
            time.sleep(0.1)
        studies.kill_all(drivers.pop(0))
    tables = []
    for driver, log in zip(reversed(drivers), reversed(logs), strict=False):
        assert driver.wait() == 0, log.read_text()
        tables.append([line for line in log.read_text().splitlines() if line.startswith("student / ")])
        (results,) = store.glob("reports/*/results.json")
        assert json.loads(results.read_text())["unfinished"] == []
    assert all(table == tables[0] != [] for table in tables)
    assert {path.removesuffix("/record.json") for path in studies.records(store)} == {s.address for s in plan.stages}
    names = [plan.study.name, *(trial.key for trial in plan.trials)]
    assert studies.mlflow_runs(store) == Counter(f"{name} FINISHED" for name in names)
