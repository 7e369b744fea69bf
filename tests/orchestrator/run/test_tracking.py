"""What is tracked of a trial; MLflow itself is used in test_end_to_end.py."""

import json
from types import SimpleNamespace

from orchestrator.plan.build import build_plan
from orchestrator.run.tracking import _Log, _measured
from orchestrator.stages.train import STEPS
from orchestrator.store.store import Store

GRPO = [
    "rl_problems={kind: math500, source: synthetic, n: 6, max_tokens: 8}",
    "recoveries.own={kind: grpo, conditions: [off-model], budgets: [2, 4]}",
    "train.checkpoints=[1]",
]
WATCHED = "".join(json.dumps({"step": step, "loss": 2.0 - step, "reward": step / 4}) + "\n" for step in range(2))


def curves(store: Store, step) -> list[tuple[str, float, int]]:
    return list(_Log._curve(SimpleNamespace(_store=store), step))


def test_what_was_watched_is_tracked_against_the_steps_of_the_training(small, publish):
    study = small(*GRPO)
    store, trial = Store(study.store), build_plan(study).trials[0]
    at, end, checkpoint, last = trial.steps
    for step in (at, checkpoint):
        publish(store, step.student, {"adapter.bin": b""})  # left on the way, with nothing but the weights
    for step in (end, last):
        publish(store, step.student, {STEPS: WATCHED.encode()})
    assert curves(store, at) == curves(store, checkpoint) == []
    assert curves(store, end) == [
        ("training/loss", 2.0, 0),
        ("training/reward", 0.0, 0),
        ("training/loss", 1.0, 1),
        ("training/reward", 0.25, 1),
    ]
    assert {name for name, *_ in curves(store, last)} == {"recovery 4/loss", "recovery 4/reward"}


def test_scores_of_checkpoints_are_tracked_apart_from_those_of_budgets(small):
    trial = build_plan(small(*GRPO)).trials[0]
    facts = {"accuracy": 0.5, "truncated": 0.0, "unparsed": 0.0, "mean_length": 3.0, "figures": {}, "groups": {}}
    records = {stage: {"facts": facts} for stage in trial.stages()}
    found = [{name: at for name, _, at in _measured(trial, step, records)} for step in trial.steps]
    assert [each.get("maths") for each in found] == [None, 0, 2, 4]
    assert found[0]["training/maths"] == 1
    assert all(name.startswith("training/") for name in found[0])
