"""What a plan says of a study's GPUs, completions, tokens and costs."""

import json

import pytest

from orchestrator.cli import main
from orchestrator.plan.build import build_plan
from orchestrator.plan.gpu_hours import gpu_hours_of, lines
from orchestrator.stages import data
from orchestrator.study.settings import StudyError

HUB = (
    "models={student: {hub: a/student, parameters: 8.0e+9}, words: {hub: a/words, parameters: 2.0e+9}, "
    "terse: {api: terse, base_url: 'http://localhost:8000/v1'}}"
)
ALONE = ("pairs.teachers=[words]", "seeds=[1]", "recoveries={}", "conditions={off-model: {}}")
BY_LEVEL = (  # with braces for str.format
    "hypotheses=[{{source: ours, claim: c, expected: lower, group_by: level, "
    "compare: {{condition: off-model, benchmark: maths}}}}]"
)
SIMPLE = "cost_assumptions={sampling_speed: 1000, answer_share: 1, prompt_tokens: 2, peak_tflops: 1, training_mfu: 1}"


def bill(study):
    return gpu_hours_of(build_plan(study).stages, study)


def test_hours_follow_from_tokens_and_size(small):
    # 5 x 16 + 5 x 1 tokens of the benchmarks, by each of three models; 20 x 8 of the prompts, by the teacher.
    of_8, of_2 = 2 * 85, 85 + 160
    found = bill(small(HUB, SIMPLE, *ALONE)).hours
    assert found["sampling"] == pytest.approx((of_8 * 8 + of_2 * 2) / 1000 / 3600)
    # 20 rows are one step of 32, and a row is 2 + 8 tokens long; LoRA takes 4 FLOP a token and parameter.
    assert found["training"] == pytest.approx(32 * 10 * 4 * 8e9 / 1e12 / 3600)
    assert bill(small(HUB, SIMPLE, *ALONE, "train.tuning=full")).hours["training"] == found["training"] * 6 / 4
    looked_at = bill(small(HUB, SIMPLE, *ALONE, "measures.perplexity=true")).hours["log-probabilities"]
    assert looked_at == pytest.approx(20 * 10 * 2 * 8e9 / 1e12 / 3600)


def test_rollouts_cost_sampling_and_training(small):
    problems = "rl_problems={kind: math500, source: synthetic, n: 9, prompt: '{problem}', max_tokens: 6}"
    recovery = "recoveries={rl: {kind: grpo, conditions: [off-model], budgets: [1, 3], train: {batch_size: 2}}}"
    without = bill(small(HUB, SIMPLE, *ALONE))
    study = small(HUB, SIMPLE, *ALONE, problems, recovery)
    group = study.train.changed({"objective": "grpo"}).objective["num_generations"]
    rollouts = 3 * 2 * group  # of the longest budget: the other is left on its way
    more = bill(study).hours["training"] - without.hours["training"]
    assert more == pytest.approx(rollouts * (2 + 6) * 4 * 8e9 / 1e12 / 3600)
    asked = bill(study).hours["sampling"] - without.hours["sampling"]
    assert asked == pytest.approx((rollouts * 6 + 2 * 85) * 8 / 1000 / 3600)


def test_a_task_of_lm_eval_costs_the_tokens_that_the_study_allows(small):
    def hours(task: str) -> float:
        return bill(small(HUB, SIMPLE, *ALONE, f"benchmarks.gsm={{kind: 'lm_eval:gsm8k', {task}}}")).hours["sampling"]

    more = hours("n: 3, samples: 4, temperature: 1, max_tokens: 9") - hours("n: 3")
    assert more == pytest.approx((2 * 8 + 2) * 3 * 4 * 9 / 1000 / 3600)  # the student before and after its training


def test_an_api_costs_its_tokens(small):
    study = small(HUB, SIMPLE, *ALONE, "pairs.teachers=[terse]", "cost_assumptions.api={terse: {input: 1, output: 10}}")
    read, written = bill(study).tokens["terse"]
    assert (read, written) == (30 * 2, 160 + 85)
    said = "\n".join(lines(bill(study), study))
    assert f"about {(read + 10 * written) / 1e6:.2f} US dollars" in said
    study = study.model_copy(update={"cost_assumptions": study.cost_assumptions.model_copy(update={"api": {}})})
    assert "no price is declared" in "\n".join(lines(bill(study), study))


def test_a_model_of_unknown_size_is_not_estimated_and_toy_models_cost_nothing(small):
    study = small(*ALONE)
    assert list(lines(bill(study), study)) == []
    study = small(*ALONE, "models.words=a/words")
    assert "give models.words parameters, as {hub: ..., parameters: 8.0e+9}" in "\n".join(lines(bill(study), study))


def test_a_plan_does_not_read_the_hub(small, monkeypatch, capsys, tmp_path):
    def read(*_):
        raise AssertionError("the hub was asked")

    monkeypatch.setattr(data, "read_source", read)
    overrides = [
        f"store={tmp_path / 'runs'}",
        HUB,
        "prompts={source: tatsu-lab/alpaca, n: 20}",
        "benchmarks.maths.source=null",
    ]
    small(*overrides)  # writes the file
    monkeypatch.setattr("sys.argv", ["offmodel", "plan", str(tmp_path / "small.yaml"), *overrides])
    with pytest.raises(SystemExit) as ended:
        main()
    said = " ".join(capsys.readouterr().out.split())
    assert ended.value.code == 0
    assert "GPU hours (sampling" in said
    assert "API terse: 0.00 million input tokens" in said
    assert "training takes 6 FLOP per token" not in said
    study = small(*overrides)
    assert "training takes 6 FLOP per token and parameter (4 with LoRA)" in "\n".join(lines(bill(study), study, True))


def test_prices_of_unknown_models_are_refused(small):
    with pytest.raises(StudyError, match=r'cost_assumptions\.api: "student"'):
        small("cost_assumptions.api={student: {input: 1, output: 1}}")


def planned(*words: str, capsys, monkeypatch) -> tuple[int, str]:
    """The exit status of `offmodel plan`, and all that it prints."""
    monkeypatch.setattr("sys.argv", ["offmodel", "plan", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    printed = capsys.readouterr()
    return ended.value.code, " ".join((printed.out + printed.err).split())


def test_a_plan_says_how_many_gpus_and_examples_a_run_needs(small, capsys, monkeypatch, tmp_path):
    resources = "resources={engine: {gpus: 1, replicas: 2}, train: {workers: 4, gpus: 0.5}}"
    facts = "benchmarks.facts={kind: mmlu, n: all}"
    train = "train={learning_rate: 1, tuning: full, lora_r: 8}"
    overrides = (f"store={tmp_path / 'runs'}", HUB, resources, facts, train)
    small()  # writes the file
    code, said = planned(str(tmp_path / "small.yaml"), *overrides, capsys=capsys, monkeypatch=monkeypatch)
    assert code == 0, said
    # Two open models with engines of one GPU, and a training of four workers.
    parts = "an inference engine takes 1 GPU, a training 2 GPUs; they take turns"
    assert f"Needs at least 2 GPUs and 4 CPUs ({parts})." in said
    assert "Examples: maths 5, facts 14,042 of 14,042." in said
    assert "Note: train.lora_r has no effect on full weights." in said


@pytest.mark.parametrize(
    ("rows", "overrides", "message"),
    [
        ([{"text": "x"}], [], 'prompts.column: {path}, row 1: the column "instruction" is missing; it has text'),
        (
            [{"instruction": "x"}] * 20,
            ["prompts.input_column=input"],
            'prompts.input_column: {path}, row 1: the column "input" is missing; it has instruction',
        ),
        ([{"instruction": "x"}], [], "prompts.n: 20 prompts are asked for, but {path} has 1"),
        ([{"instruction": "x"}] * 20, ["recoveries.own.budgets=[5000]"], "recoveries.own.budgets: 5000 samples"),
        (
            [{"instruction": "x"}] * 20,
            ["benchmarks.maths.source={path}"],
            "benchmarks.maths: {path}, row 1: the column",
        ),
        (
            [{"instruction": "x", "problem": "x", "answer": "1", "level": 1}] * 20,
            ["benchmarks.maths={{kind: math500, source: {path}}}", BY_LEVEL],
            "benchmarks.maths: n: 200 rows are asked for, but {path} has 20: lower n, or give all rows",
        ),
        (
            [{"instruction": "x", "problem": "x", "answer": "1"}] * 20,
            ["benchmarks.maths.source={path}", "benchmarks.maths.prompt='{{problem}} {{subjct}}'"],
            "benchmarks.maths: math500: its prompt names {{subjct}}, which the rows do not have",
        ),
    ],
)
def test_a_plan_reads_local_files(small, capsys, monkeypatch, tmp_path, rows, overrides, message):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    small()  # writes the study
    words = [f"store={tmp_path / 'runs'}", f"prompts.source={path}", *(one.format(path=path) for one in overrides)]
    code, said = planned(str(tmp_path / "small.yaml"), *words, capsys=capsys, monkeypatch=monkeypatch)
    assert code == 2
    assert f"small.yaml: {message.format(path=path)}" in said
