"""Whole studies through the command line, with real Ray, Ray Train, vLLM and MLflow, on the organisms."""

import http.server
import json
import re
import shutil
import subprocess
import sys
import threading
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
import yaml

from orchestrator.plan.build import build_plan
from orchestrator.plan.trial import Plan
from orchestrator.study.load import load_study
from organisms import shipped

pytestmark = pytest.mark.slow

STUDY = Path(__file__).parents[2] / "experiments" / "demo.yaml"
OFFMODEL = str(Path(sys.executable).with_name("offmodel"))
HASH = "[0-9a-f]" * 10
SMALL = [
    "pairs.teachers=[number-words]",
    "prompts.n=320",
    "train.num_train_epochs=8",  # enough to change the student's completions
    "recoveries.on-model samples.budgets=[64]",
    "seeds=[7]",
    "benchmarks.maths.n=25",
    "benchmarks.harder maths.n=10",
    "benchmarks.facts.n=20",
    "benchmarks.facts.answer_by=logprob",
    "benchmarks.instructions={kind: ifeval, source: synthetic, n: 20, max_tokens: 24, samples: 4, temperature: 1.0}",
    "measures={perplexity: true, kl: [maths]}",
    # This objective samples from the student during training.
    "conditions.on-policy={kind: off_model, train: "
    "{objective: on_policy_distillation, max_steps: 6, checkpoints: [2]}}",
]


def offmodel(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([OFFMODEL, *arguments], capture_output=True, text=True, check=False)


def plan_of(*overrides: str) -> Plan:
    return build_plan(load_study(STUDY, [*SMALL, *overrides]))


def count(plan: Plan) -> Counter[str]:
    """The number of distinct stages by kind."""
    return Counter(stage.kind for stage in plan.stages)


def records(store: Path) -> dict[str, str]:
    """Every record in a store, by its path."""
    return {str(path.relative_to(store)): path.read_text() for path in store.glob("*/*/record.json")}


def results(store: Path) -> dict:
    """The store's one report."""
    (path,) = store.glob("reports/*/results.json")
    return json.loads(path.read_text())


def place_of(measurement: dict) -> tuple:
    """The condition, recovery budget and training step."""
    return tuple(measurement["point"][key] for key in ("condition", "budget", "step"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Path, str]:
    """A store with the finished small study, and what the run printed."""
    store = tmp_path_factory.mktemp("study") / "runs"
    run = offmodel("run", str(STUDY), f"store={store}", *SMALL)
    assert run.returncode == 0, run.stdout + run.stderr
    return store, run.stdout


def test_every_distinct_stage_of_the_plan_runs_once(finished):
    store, printed = finished
    plan, planned = plan_of(), count(plan_of())
    executed, distinct = re.search(r"Executed: (.*) \(of (.*) distinct\)", " ".join(printed.split())).groups()
    assert executed == ", ".join(f"{number} {kind}" for kind, number in planned.items())
    assert distinct == ", ".join(map(str, planned.values()))
    assert {path.removesuffix("/record.json") for path in records(store)} == {stage.address for stage in plan.stages}
    assert planned.total() < plan.count_without_sharing().total(), "trials share stages"


def test_the_report_pairs_every_evaluation_with_the_base_student(finished):
    scores = results(finished[0])["measurements"]["score"]
    rows = {(*place_of(one), one["benchmark"]): one for one in scores}
    assert rows.keys() == {
        (trial.condition, point.budget, point.step, benchmark)
        for trial in plan_of().trials
        for point in trial.points
        for benchmark in point.scores
    }
    assert rows["on-model", 0, None, "maths"]["change"]["value"] >= -0.1
    assert all(r["change"]["low"] <= r["change"]["value"] <= r["change"]["high"] for r in rows.values())
    page = next(finished[0].glob("reports/*/report.html")).read_text()
    assert "student / number-words" in page
    assert not re.search(r"""(src|href|action)\s*=\s*["']?\s*(https?:)?//|url\(\s*["']?https?:|@import""", page)


def test_completions_with_an_adapter_differ_from_those_of_the_base_student(finished):
    def completions(pattern: str) -> set[str]:
        paths = list(finished[0].glob(f"sample/{pattern}/*/*.jsonl"))
        assert paths
        return {json.loads(line)["completions"][0]["text"] for path in paths for line in path.open()}

    assert not completions(f"steps-on-words-answers-s7-math500-{HASH}") <= completions(f"steps-math500-{HASH}")


def test_perplexity_kl_and_figures_of_a_benchmark_are_in_the_report(finished):
    found = results(finished[0])["measurements"]
    nll = {one["point"]["condition"]: one["value"] for one in found["perplexity"]}
    assert nll["on-model"]["high"] < nll["off-model"]["low"], "self-generated data have a lower NLL"
    kl = {place_of(one): one["value"] for one in found["kl"]}
    assert kl.keys() == {
        (t.condition, p.budget, p.step) for t in plan_of().trials for p in t.points if p.measured["kl"]
    }
    assert kl["on-model", 0, None]["high"] < kl["off-model", 0, None]["low"]
    row = next(row for row in found["score"] if row["benchmark"] == "instructions")
    assert row["diagnostics"]["samples"] == 4
    assert {"pass@1", "pass@4", "prompt_loose"} <= row["diagnostics"].keys()


def test_an_on_policy_student_samples_with_its_newest_weights(finished):
    (path,) = finished[0].glob(f"train/steps-on-words-by-on_policy_distillation-s7-{HASH}/*/steps.jsonl")
    steps = [json.loads(line) for line in path.open()]
    assert [step["step"] for step in steps] == list(range(6))
    assert all(step["staleness"] == 0 and step["mean_length"] > 1 for step in steps)
    assert steps[0]["kl_to_base"] > 0
    assert steps[-1]["kl_to_base"] > 0
    left = {path.name for path in finished[0].glob("train/*/*") if path.is_dir()}
    assert all(re.fullmatch("[0-9a-f]{8}", name) for name in left), "temporary weights or training states are left"


def test_regrading_samples_nothing_and_changes_nothing(finished):
    store, _ = finished
    before = records(store)
    regraded = offmodel("regrade", str(STUDY), f"store={store}", *SMALL)
    assert regraded.returncode == 0, regraded.stdout + regraded.stderr
    examples = sum(len(path.read_text().splitlines()) for path in store.glob("evaluate/*/*/grades.jsonl"))
    assert f"{examples} examples graded again" in regraded.stdout
    assert " 0 grades differ from the stored ones; 0 evaluations have no stored grades" in regraded.stdout
    assert records(store) == before


def test_a_second_run_executes_nothing_and_prints_the_same_table(finished):
    store, printed = finished
    before = records(store)
    again = offmodel("run", str(STUDY), f"store={store}", *SMALL)
    assert again.returncode == 0
    assert "Executed" not in again.stdout
    assert records(store) == before
    table = [line for line in printed.splitlines() if line.startswith("student / ")]
    assert table
    assert [line for line in again.stdout.splitlines() if line.startswith("student / ")] == table


def test_mlflow_has_one_run_for_the_study_and_one_for_each_trial(finished):
    from mlflow import MlflowClient

    plan = plan_of()
    client = MlflowClient(f"sqlite:///{finished[0]}/mlflow.db")
    experiment = client.get_experiment_by_name("offmodel")
    runs = client.search_runs([experiment.experiment_id])
    (parent,) = (run for run in runs if "mlflow.parentRunId" not in run.data.tags)  # Two runs of the study share one.
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    assert sorted(run.data.params["condition"] for run in children) == sorted(trial.condition for trial in plan.trials)
    (trial,) = (trial for trial in plan.trials if trial.condition == "off-model")
    (child,) = (run for run in children if run.data.params["condition"] == "off-model")
    history = client.get_metric_history(child.info.run_id, "maths")
    assert [metric.step for metric in history] == [point.budget for point in trial.points]
    train, prompts = plan.study.train, plan.study.prompts
    steps = train.num_train_epochs * prompts.n // train.batch_size
    assert len(client.get_metric_history(child.info.run_id, "training/loss")) == steps
    datasets = {i.dataset.name: i.dataset.digest for i in parent.inputs.dataset_inputs}
    assert datasets.keys() == {"training prompts", *plan.study.benchmarks}
    assert len(set(datasets.values())) == len(datasets), "two data sets have the same digest"
    assert "report.html" in {artifact.path for artifact in client.list_artifacts(parent.info.run_id)}


def test_a_run_whose_tracking_server_fails_shows_its_report_and_exits_with_3(finished, tmp_path):
    (tmp_path / "health").write_text("OK")
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.HTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        uri = f"tracking.uri=http://127.0.0.1:{server.server_port}"
        impatient = (
            "from orchestrator import cli; from orchestrator.run import tracking; tracking.PATIENCE = 1; cli.main()"
        )
        command = [sys.executable, "-c", impatient, "run", str(STUDY), f"store={finished[0]}", *SMALL, uri]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        server.shutdown()
    assert run.returncode == 3, run.stdout + run.stderr
    trials = len(plan_of().trials)
    assert run.stdout.index("Report: ") < run.stdout.index(f"{trials} trials are not in MLflow yet (")
    assert "run the same command again" in run.stdout
    assert "Traceback" not in run.stdout + run.stderr


def test_plan_and_explain_of_a_changed_study(finished):
    change = [f"store={finished[0]}", "train.learning_rate=5.0e-4"]
    changed, before = plan_of(*change), {stage.address for stage in plan_of().stages}
    done = Counter(stage.kind for stage in changed.stages if stage.address in before)
    distinct, without_sharing = count(changed), changed.count_without_sharing()
    assert done["sample"] > 0
    assert done["train"] == 0
    printed = offmodel("plan", str(STUDY), *SMALL, *change).stdout
    for kind in ("train", "sample"):
        numbers = without_sharing[kind], distinct[kind], done[kind], distinct[kind] - done[kind]
        (line,) = (line for line in printed.splitlines() if line.startswith(kind))
        assert line.split()[1:5] == [str(number) for number in numbers]
    explained = offmodel("explain", str(STUDY), *SMALL, *change, "--stage", "train/steps-on-words").stdout
    assert re.search(r"settings\.train\.learning_rate: 0\.0005 here, 0\.001 there", explained)


def test_one_failing_trial_does_not_stop_the_others_and_a_search_trains_no_more_than_needed(tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(shipped.FOLDER / "words", broken)
    (broken / "chat_template.jinja").write_text("{{ raise_exception('no such role') }}")
    study = yaml.safe_load(STUDY.read_text()) | {"store": str(tmp_path / "runs")}
    study["recoveries"]["on-model samples"]["search"] = {
        "benchmark": "maths",
        "recovered": 0.01,
    }  # met before any recovery
    study["models"]["broken"] = str(broken)
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    small = [override for override in SMALL if not override.startswith(("pairs", "conditions"))]
    pairs = "pairs=[{student: student, teacher: broken}, {student: student, teacher: answer-only}]"
    engines = "resources.engine.cpus=0.5"  # one for the organisms, one for the broken model
    run = offmodel("run", str(tmp_path / "study.yaml"), *small, pairs, engines, "benchmarks.harder maths.n=10")
    assert run.returncode == 1, run.stdout + run.stderr
    assert "no such role" in run.stdout
    failures = [line for line in run.stdout.splitlines() if line.startswith("student.broken.")]
    assert any(" failed: sample/local-" in line for line in failures)
    assert any(" not run: needs sample/local-" in line for line in failures), "trials that wait for the same stage"
    assert {line.split()[0].split(".")[2] for line in failures} == study["conditions"].keys()
    found = results(tmp_path / "runs")
    points = [one["point"] for one in found["measurements"]["score"]]
    assert {one["condition"] for one in points if one["teacher"] == "answer-only"} == study["conditions"].keys()
    # Its student is trained on its own samples, as in the other pair.
    assert {one["condition"] for one in points if one["teacher"] == "broken"} == {"on-model"}
    assert {one["trial"].split(".")[1] for one in found["missing"]} == {"broken"}
    assert all("no such role" in one["reason"] for one in found["missing"])
    assert "-then-" not in " ".join(records(tmp_path / "runs")), "a recovery was trained although none was needed"
