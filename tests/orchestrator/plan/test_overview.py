"""What `offmodel plan` prints and refuses."""

import importlib
import json
import sys
from pathlib import Path

import pytest

from evaluators import benchmarks
from orchestrator.plan.build import build_plan
from orchestrator.stages import data
from orchestrator.store.store import Store

DISTIL = "conditions.x={kind: off_model, train: {objective: on_policy_distillation}}"
RL = "recoveries.own={kind: grpo, conditions: [off-model], budgets: [1]}"
PROBLEMS = "rl_problems={kind: math500, source: synthetic, n: 6, max_tokens: 8}"

SEARCH = "recoveries.own.search={benchmark: maths}"
AT_BUDGET = (
    "hypotheses=[{source: ours, claim: c, expected: higher, versus: off-model, "
    "compare: {condition: off-model, benchmark: maths, budget: 4}}]"
)


def test_examples_that_are_skipped_are_counted_and_named(planned, tmp_path):
    answers = ["1", *[""] * 7]
    rows = [{"problem": f"{i}?", "answer": answer, "unique_id": f"row-{i}"} for i, answer in enumerate(answers)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    benchmark = f"benchmarks.maths={{kind: math500, source: {tmp_path / 'rows.jsonl'}, n: all, max_tokens: 8}}"
    status, printed = planned(benchmark)
    assert (status, "skip_unreadable: true" in printed) == (2, True)
    status, printed = planned(benchmark, "benchmarks.maths.skip_unreadable=true")
    (note,) = (line for line in printed.splitlines() if "are skipped" in line)
    assert (status, note.startswith("Note: benchmarks.maths: 7 of 8 examples are skipped: row 'row-")) == (0, True)
    assert (note.count("row-"), note.endswith("; and 2 more.")) == (5, True)


def test_a_budget_that_has_too_few_samples_is_noted_once_they_exist(planned, small, publish):
    plan = build_plan(small())
    assert "is skipped" not in planned()[1]
    publish(Store(plan.study.store), plan.trials[0].points[-1].student.inputs["data"], {}, n=20, truncated=0.7)
    assert planned()[1].count("Note: recoveries.own: budget 8 is skipped, since only 6 samples are complete") == 1


@pytest.mark.parametrize(
    ("overrides", "note"),
    [
        (["train.batch_size=10"], "Trainings: 14, of 1 to 2 steps."),
        (["train={learning_rate: 1, max_steps: 3, num_train_epochs: 2}"], "num_train_epochs has no effect where"),
        ([PROBLEMS, "conditions.x={kind: off_model, train: {objective: grpo}}"], "conditions.x trains on rl_problems"),
        (["pairs=[student / student]"], "pairs: student is its own teacher: off_model trains on"),
        (["models.words=openai/gpt-oss-20b"], "models.words: gpt-oss reasons in channels"),
        ([SEARCH, AT_BUDGET], "hypotheses.0 (c): it is not measured unless the search of recoveries.own visits budget"),
        (["resources.engine.gpus=1"], "resources.train.gpus is 0: trainings run on CPUs"),
        (["train.max_length=8"], "sampling.max_tokens is 8, but prompt and completion together have at most"),
        ([PROBLEMS, RL, "recoveries.own.train.max_length=8"], "rl_problems.max_tokens is 8, but prompt and completion"),
        pytest.param(
            ["benchmarks.gsm={kind: 'lm_eval:gsm8k', n: 2}"], "without those of lm-eval tasks", marks=pytest.mark.slow
        ),
        (["benchmarks.facts={kind: mmlu}"], "facts 200 of 14,042 (default)."),
        (["resources.train.zero=3", "resources.train.workers=2"], "zero has no benefit without GPUs"),
        (["resources.train={zero: 2, gpus: 1}"], "zero has no benefit with a single worker"),
        ([DISTIL, "models.words=a/words"], "logits of student and words: their tokenizers must be equal"),
        (
            ["resources.engine.gpus=1", "pairs=[student / student]"],
            "Needs at least 1 GPU and 1 CPU (an inference engine takes 1 GPU, a training 0 GPUs; they take turns).",
        ),
    ],
)
def test_what_a_user_may_not_expect_is_noted(planned, overrides, note):
    status, output = planned(*overrides)
    assert status == 0
    assert note in output
    assert note == "Trainings: 14, of 1 to 2 steps." or note not in planned()[1]


@pytest.mark.parametrize(
    "overrides",
    [
        [DISTIL],  # Toy models have one tokenizer.
        [DISTIL.replace("off_model", "on_model"), "models.words=a/words"],  # The student is its own teacher.
        [AT_BUDGET],
        ["resources.train={zero: 2, gpus: 1, workers: 2}"],
        ["resources.train={zero: 2, gpus: 1, offload: optimizer}"],
    ],
)
def test_what_works_is_not_noted(planned, overrides):
    status, output = planned(*overrides)
    assert status == 0
    assert "tokenizers" not in output
    assert "no benefit" not in output
    assert "unless the search" not in output


def test_prompts_that_cannot_be_counted_are_refused(planned, monkeypatch):
    def unreachable(*_):
        raise ConnectionError("no network")

    monkeypatch.setattr(data, "read_source", unreachable)
    status, output = planned("prompts={source: some/prompts, n: all}")
    assert status == 2
    assert "small.yaml: prompts.n: give a number, since some/prompts cannot be read to count it" in output


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.checkpoints=[2]", "train.checkpoints: 2 is beyond the 1 steps of conditions.off-model"),
        (
            "benchmarks.arc.kind=lm_eval:arc_chalenge",
            r'benchmarks.arc: lm-eval 0.4.13 has no task "arc_chalenge"; the nearest are arc_challenge',
        ),
        (
            "hypotheses=[{source: ours, claim: x, compare: {condition: on-model, benchmark: maths}, group_by: a, "
            "expected: lower}]",
            'group_by: "a" is not among the parts of maths',
        ),
    ],
)
def test_what_the_rows_do_not_have_is_refused(planned, override, message):
    status, output = planned(override)
    assert status == 2
    assert message in output


def test_sharing_is_only_said_of_several_experiments(planned):
    compare = "compare: {condition: on-model, benchmark: maths}"
    one, other = (f"{{experiment: {n}, source: ours, claim: x, expected: lower, {compare}}}" for n in (1, 2))
    alone = "{source: ours, claim: y, compare: {condition: off-model, benchmark: facts}, expected: lower}"
    assert "Shared stages" not in planned(f"hypotheses=[{one}, {alone}]")[1]
    _, output = planned(f"hypotheses=[{one}, {other}, {alone}]")
    assert "the hypotheses of the 2 experiments need" in output
    assert "Expected lower: y (ours)" in output


@pytest.fixture
def quiz(tmp_path, monkeypatch):
    """Adds a benchmark, named `quiz`, to the package: MMLU with a change to its file."""

    def act(before: str = "", after: str = "") -> None:
        (tmp_path / "added").mkdir()
        text = (Path(benchmarks.__file__).parent / "mmlu.py").read_text()
        (tmp_path / "added" / "quiz.py").write_text(text.replace(before, after))
        monkeypatch.setattr(benchmarks, "__path__", [*benchmarks.__path__, str(tmp_path / "added")])
        importlib.invalidate_caches()

    yield act
    sys.modules.pop("evaluators.benchmarks.quiz", None)


def test_synthetic_rows_of_a_benchmark_without_any_are_refused(planned, quiz):
    quiz()
    for override in (
        "benchmarks.facts={kind: quiz, source: synthetic, n: 5}",
        "rl_problems={kind: quiz, source: synthetic, n: 5, max_tokens: 1}",
    ):
        status, output = planned(override)
        assert status == 2
        assert ": source: there are no synthetic rows of quiz, only of math500, mmlu" in output
    assert planned("benchmarks.facts={kind: quiz, n: 5}")[0] == 0


def test_a_benchmark_without_a_data_set_is_refused_with_its_file(planned, quiz):
    quiz('("cais/mmlu", "all", "test")', "None")
    status, output = planned("benchmarks.facts={kind: quiz, n: 5}")
    assert status == 2
    assert "benchmarks.facts: " in output
    assert "added/quiz.py: this benchmark does not define HUB" in output
