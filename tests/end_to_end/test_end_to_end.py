"""The whole path once, with real Ray, Ray Train, vLLM and MLflow on the organisms, through the command line."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from organisms import shipped
from perf.kills import OFFMODEL, kill_all, records, start, table

STUDY = Path(__file__).parents[2] / "experiments" / "demo.yaml"
HASH = "[0-9a-f]" * 10
SMALL = [
    "pairs.teachers=[number-words]",
    "prompts.n=320",
    "train.num_train_epochs=8",  # enough for the student to answer otherwise
    "recoveries.own samples.budgets=[64]",
    "seeds=[7]",
    "benchmarks.maths.n=25",
    "benchmarks.harder maths.n=10",
    "benchmarks.facts.n=20",
    "benchmarks.facts.answer_by=logprob",
    "benchmarks.instructions={kind: ifeval, source: synthetic, n: 20, max_tokens: 24, samples: 4, temperature: 1.0}",
    "measures={perplexity: true, kl: [maths]}",
    # From here on the student samples, and is served, while it is trained.
    "conditions.on-policy={kind: off_model, train: "
    "{objective: on_policy_distillation, max_steps: 6, checkpoints: [2]}}",
]


def offmodel(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([OFFMODEL, *arguments], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Path, str]:
    """A store with the small study done, and what the run printed."""
    store = tmp_path_factory.mktemp("study") / "runs"
    run = offmodel("run", str(STUDY), f"store={store}", *SMALL)
    assert run.returncode == 0, run.stdout + run.stderr
    return store, run.stdout


def test_every_distinct_stage_runs_once_and_as_planned(finished):
    store, printed = finished
    told = " ".join(printed.split())
    assert "Executed: 2 model, 37 sample, 30 evaluate, 12 likelihood, 5 train (of 2, 37, 30, 12, 5 distinct)" in told
    kinds = [path.split("/")[0] for path in records(store)]
    assert {kind: kinds.count(kind) for kind in kinds} == {
        "model": 2,
        "sample": 37,
        "evaluate": 30,
        "logprobs": 12,
        "train": 5,
    }


def test_the_report_pairs_every_condition_with_the_original_student(finished):
    rows = {(r["condition"], r["budget"], r["at"], r["benchmark"]): r for r in table(finished[0])}
    assert len(rows) == 2 * 4 + 4 + 2 + 2 * 4
    assert rows["on-model", 0, None, "maths"]["change"]["value"] >= -0.1
    assert all(r["change"]["low"] <= r["change"]["value"] <= r["change"]["high"] for r in rows.values())
    page = next(finished[0].glob("reports/*/report.html")).read_text()
    assert "student / number-words" in page
    assert not re.search(r"""(src|href|action)\s*=\s*["']?\s*(https?:)?//|url\(\s*["']?https?:|@import""", page)


def test_answers_of_an_adapter_differ_from_those_of_the_base(finished):
    def answers(pattern: str) -> set[str]:
        paths = list(finished[0].glob(f"sample/{pattern}/*/answers.jsonl"))
        assert paths
        return {json.loads(line)["answers"][0]["text"] for path in paths for line in path.open()}

    assert not answers(f"steps-on-words-answers-s7-math500-{HASH}") <= answers(f"steps-math500-{HASH}")


def test_what_a_student_learnt_is_measured_beside_its_scores(finished):
    (path,) = finished[0].glob("reports/*/results.json")
    results = json.loads(path.read_text())
    nll = {one["condition"]: one["nll"]["all"] for one in results["surprises"]}
    assert nll["on-model"]["high"] < nll["off-model"]["low"], "its own answers are less of a surprise to a model"
    kl = {(one["condition"], one["budget"], one["at"]): one["kl"]["all"] for one in results["divergences"]}
    after_training = {("off-model", 0, None), ("off-model", 64, None), ("on-model", 0, None), ("prefill", 0, None)}
    assert kl.keys() == after_training | {("on-policy", 0, 2), ("on-policy", 0, None)}
    assert kl["on-model", 0, None]["high"] < kl["off-model", 0, None]["low"]
    asked = next(row for row in results["rows"] if row["benchmark"] == "instructions")
    assert asked["diagnostics"]["samples"] == 4
    assert {"pass@1", "pass@4", "prompt_loose"} <= asked["diagnostics"]["figures"].keys()


def test_a_student_learns_from_its_own_answers_as_its_weights_change(finished):
    (path,) = finished[0].glob(f"train/steps-on-words-by-on_policy_distillation-s7-{HASH}/*/steps.jsonl")
    watched = [json.loads(line) for line in path.open()]
    assert [step["step"] for step in watched] == list(range(6))
    assert all(step["staleness"] == 0 and step["mean_length"] > 1 for step in watched)
    assert watched[0]["kl_to_base"] > 0
    assert watched[-1]["kl_to_base"] > 0
    assert not list(finished[0].glob("train/*/lent-*"))
    assert not list(finished[0].glob("train/*/state-*"))


def test_stored_answers_are_graded_again_without_being_sampled(finished):
    store, _ = finished
    before = records(store)
    regraded = offmodel("regrade", str(STUDY), f"store={store}", *SMALL)
    assert regraded.returncode == 0, regraded.stdout + regraded.stderr
    assert "560 examples graded again" in regraded.stdout
    assert " 0 grades differ from the stored ones; 0 evaluations have none" in regraded.stdout
    assert records(store) == before


def test_a_second_run_finds_everything_done(finished):
    store, printed = finished
    before = records(store)
    again = offmodel("run", str(STUDY), f"store={store}", *SMALL)
    assert again.returncode == 0
    assert "Executed" not in again.stdout
    assert records(store) == before
    cells = [line for line in printed.splitlines() if line.startswith("student / ")]
    assert cells
    assert [line for line in again.stdout.splitlines() if line.startswith("student / ")] == cells


def test_mlflow_has_a_run_for_the_study_and_one_for_each_trial(finished):
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{finished[0]}/mlflow.db")
    experiment = client.get_experiment_by_name("offmodel")
    runs = client.search_runs([experiment.experiment_id])
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    assert len(parents) == 1, "the second run of the same study is the same run"
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parents[0].info.run_id}
    assert {run.data.params["condition"] for run in children} == {
        "off-model",
        "on-model",
        "prefill",
        "on-policy",
    }
    walked = next(run for run in children if run.data.params["condition"] == "off-model")
    assert [m.step for m in client.get_metric_history(walked.info.run_id, "maths")] == [0, 64]
    assert len(client.get_metric_history(walked.info.run_id, "training/loss")) == 80
    assert {i.dataset.name for i in parents[0].inputs.dataset_inputs} >= {"training prompts", "maths", "facts"}
    assert len({i.dataset.digest for i in parents[0].inputs.dataset_inputs}) == 5, (
        "each data set has a digest of its own"
    )
    assert "report.html" in {artifact.path for artifact in client.list_artifacts(parents[0].info.run_id)}


def test_plan_and_explain_of_a_changed_study(finished):
    changed = [f"store={finished[0]}", *SMALL, "train.learning_rate=5.0e-4"]
    plan = offmodel("plan", str(STUDY), *changed).stdout
    assert [line.split()[1:5] for line in plan.splitlines() if line.startswith("train")] == [["6", "5", "0", "5"]]
    assert [line.split()[1:5] for line in plan.splitlines() if line.startswith("sample")] == [["64", "37", "10", "27"]]
    told = offmodel("explain", str(STUDY), *changed, "--stage", "train/steps-on-words").stdout
    assert "settings.learning_rate: 0.0005 here, 0.001 there" in told


def test_a_killed_run_goes_on_where_it_stopped_and_ends_the_same(finished, tmp_path):
    store, log = tmp_path / "runs", tmp_path / "log"
    overrides = [f"store={store}", *SMALL, "conditions={off-model: }"]
    driver = start(str(STUDY), overrides, log)
    while not list(store.glob("train/*/record.json")):
        assert driver.poll() is None, log.read_text()
    assert kill_all(driver) > 3, "Ray's processes were to die with the driver"
    before = records(store)
    again = offmodel("run", str(STUDY), *overrides)
    assert again.returncode == 0, again.stdout + again.stderr
    after = records(store)
    assert {path: after[path] for path in before} == before
    assert after.keys() < records(finished[0]).keys()
    undisturbed = [row for row in table(finished[0]) if row["condition"] == "off-model"]
    # It is corrected for as many cells as a study has.
    assert [{**row, "q": 0} for row in table(store)] == [{**row, "q": 0} for row in undisturbed]


def test_a_failing_trial_is_told_the_others_finish_and_a_search_trains_no_more_than_it_must(tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(shipped.FOLDER / "words", broken)
    (broken / "chat_template.jinja").write_text("{{ raise_exception('no such role') }}")
    study = yaml.safe_load(STUDY.read_text()) | {"store": str(tmp_path / "runs")}
    study["recoveries"]["own samples"]["search"] = {"benchmark": "maths", "recovered": 0.01}  # met before any recovery
    study["models"]["broken"] = str(broken)
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    small = [override for override in SMALL if not override.startswith(("pairs", "conditions"))]
    pairs = "pairs=[{student: student, teacher: broken}, {student: student, teacher: answer-only}]"
    engines = "resources.engine.cpus=0.5"  # one for the organisms, one for the broken model
    run = offmodel("run", str(tmp_path / "study.yaml"), *small, pairs, engines, "benchmarks.harder maths.n=10")
    assert run.returncode == 1, run.stdout + run.stderr
    assert "no such role" in run.stdout
    told = [line for line in run.stdout.splitlines() if line.startswith("student.broken.")]
    assert any(" failed: sample/local-" in line for line in told)
    assert any(" not run: needs sample/local-" in line for line in told), "the trials that wait for the same stage"
    assert len({line.split()[0] for line in told}) == 3
    assert {row["teacher"] for row in table(tmp_path / "runs")} == {"answer-only"}
    assert "-then-" not in " ".join(records(tmp_path / "runs")), "a recovery ran although none was needed"
