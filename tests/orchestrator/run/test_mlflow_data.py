"""What is logged of a trial, and under which names."""

import json

import pytest

from orchestrator.plan.build import build_plan
from orchestrator.run.mlflow_data import LONGEST_NAME, _curve, _measures, valid_names
from orchestrator.stages.train import STEPS
from orchestrator.store.store import Store

GRPO = [
    "rl_problems={kind: math500, source: synthetic, n: 6, max_tokens: 8}",
    "recoveries.own={kind: grpo, conditions: [off-model], budgets: [2, 4]}",
    "train.checkpoints=[1]",
]
METRICS = "".join(json.dumps({"step": step, "loss": 2.0 - step, "reward": step / 4}) + "\n" for step in range(2))


def curves(store: Store, point) -> list[tuple[str, float, int]]:
    return list(_curve(point, store))


def test_metrics_of_a_training_are_tracked_against_its_steps(small, publish):
    study = small(*GRPO)
    store, trial = Store(study.store), build_plan(study).trials[0]
    at, end, checkpoint, last = trial.points
    for point in (at, checkpoint):
        publish(store, point.student, {"adapter.bin": b""})  # checkpoints: only the weights
    for point in (end, last):
        publish(store, point.student, {STEPS: METRICS.encode()})
    assert curves(store, at) == curves(store, checkpoint) == []
    assert curves(store, end) == [
        ("training/loss", 2.0, 0),
        ("training/reward", 0.0, 0),
        ("training/loss", 1.0, 1),
        ("training/reward", 0.25, 1),
    ]
    assert {name for name, *_ in curves(store, last)} == {"recovery 4/loss", "recovery 4/reward"}


def test_scores_of_checkpoints_have_other_names_than_those_of_budgets(small):
    trial = build_plan(small(*GRPO)).trials[0]
    facts = {"accuracy": 0.5, "truncated": 0.0, "unparsed": 0.0, "mean_length": 3.0, "figures": {}, "groups": {}}
    records = {stage: {"facts": facts} for stage in trial.stages()}
    found = [{name: at for name, _, at in _measures(trial, point, records)} for point in trial.points]
    assert [each.get("maths") for each in found] == [None, 0, 2, 4]
    assert found[0]["training/maths"] == 1
    assert all(name.startswith("training/") for name in found[0])


def test_all_measures_are_tracked_by_benchmark(small):
    measures = "measures={perplexity: true, kl: [maths], style: [maths]}"
    trial = build_plan(small("recoveries={}", measures)).trials[0]
    score = {"accuracy": 0.5, "truncated": 0.1, "unparsed": 0.2, "mean_length": 3.0, "figures": {"loose": 0.6}}
    facts = {"evaluate": {**score, "groups": {"level": {"1": 0.7}}}, "style": {"share": 0.25}}
    nats = {True: {"nll": {"all": 1.0}}, False: {"nll": {"all": 3.0}}}  # under the student, and under the base student
    records = {s: {"facts": facts.get(s.kind, nats["student" in s.inputs])} for s in trial.stages()}
    records |= {stage: {"facts": {**facts["evaluate"], "accuracy": 0.9}} for stage in trial.untrained_scores.values()}
    found = {name: value for name, value, _ in _measures(trial, trial.points[0], records)}
    assert {name: value for name, value in found.items() if not name.startswith("facts")} == {
        "maths": 0.5,
        "maths change": pytest.approx(-0.4),
        "maths truncated": 0.1,
        "maths unparsed": 0.2,
        "maths mean length": 3.0,
        "maths loose": 0.6,
        "maths level 1": 0.7,
        "maths kl all": 2.0,
        "maths style": 0.25,
        "training data nll all": 3.0,
    }


@pytest.mark.slow
def test_names_of_parameters_and_metrics_are_as_mlflow_takes_them():
    from mlflow.utils.validation import _validate_metric_name, _validate_param_name

    names = [
        "own samples (512)",
        "maths/level 1",
        "ä: b",
        "a//b",
        "../a",
        ".",
        "",
        "/a",
        "a/",
        "x" * 300,
        "it's",
        'a"b',
    ]
    valid = valid_names(names)
    for name in valid.values():
        _validate_metric_name(name)
        _validate_param_name(name)
        assert len(name) <= LONGEST_NAME
    assert valid["own samples (512)"] == "own samples _512_"
    assert valid["maths/level 1"] == "maths/level 1"
    assert len(set(valid.values())) == len(names)


def test_names_that_mlflow_would_not_tell_apart_stay_different():
    valid = valid_names(["a(b", "a)b", "a_b", "x" * 300, "x" * 301])
    assert valid["a_b"] == "a_b"
    assert len(set(valid.values())) == 5
    assert valid["a(b"] == valid_names(["a)b", "a(b"])["a(b"], "the name depends on the order"
