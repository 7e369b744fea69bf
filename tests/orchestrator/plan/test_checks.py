"""What cannot run is refused by `offmodel plan`, as far as it shows without the network."""

import json
import shutil

import pytest

from organisms import shipped
from tests.gguf_file import write_gguf

PROBLEMS = "rl_problems={kind: math500, source: synthetic, n: 6, max_tokens: 8}"
RL = "recoveries.own={kind: grpo, conditions: [off-model], budgets: [1]}"


@pytest.fixture
def write(tmp_path):
    """Writes rows into a JSONL file, and returns its path."""

    def act(*rows: dict) -> str:
        path = tmp_path / "rows.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(path)

    return act


@pytest.fixture
def refused(planned):
    """The message with which `offmodel plan` refuses the small study with these overrides."""

    def act(*overrides: str) -> str:
        status, output = planned(*overrides)
        assert status == 2, output
        return " ".join(output.split())

    return act


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["max_model_len=8"],
            "sampling.max_tokens is 8, which leaves no room for a prompt in max_model_len (8 tokens)",
        ),
        (["max_model_len=16"], "benchmarks.maths.max_tokens is 16, which leaves no room"),
        ([PROBLEMS, RL, "rl_problems.max_tokens=300", "max_model_len=300"], "rl_problems.max_tokens is 300, which"),
        (
            ["benchmarks.maths.max_tokens=null", "max_model_len=4000"],
            "benchmarks.maths.max_tokens (the default of math500) is 4,096, which leaves no room",
        ),
        (
            ["sampling.max_tokens=2048"],
            "sampling.max_tokens is 2,048, which leaves no room for a prompt in the context",
        ),
        (
            ["conditions.off-model.sampling={max_tokens: 300}", "max_model_len=300"],
            "max_tokens of sample/words-answers-",
        ),
    ],
)
def test_completions_without_room_in_the_context(refused, overrides, message):
    output = refused(*overrides)
    assert message in output
    assert ": lower max_tokens" in output


def test_a_teacher_behind_an_api_has_a_context_of_its_own(planned, monkeypatch):
    monkeypatch.setenv("OFFMODEL_API_KEY", "x")
    study = ["models.words={api: x}", "models.terse={api: y}", "max_model_len=200", "sampling.max_tokens=500"]
    off_model = ["conditions={off-model: }", "recoveries={}"]
    assert planned(*study, *off_model)[0] == 0
    status, output = planned(*study)  # The student samples as well.
    assert status == 2
    assert "sampling.max_tokens is 500" in output


def test_local_prompts_of_a_condition(refused, planned, write):
    path = write({"instruction": "x"}, {"instruction": "y"})
    changed = f"conditions.off-model.prompts={{source: {path}, n: 2}}"
    assert 'the column "question" is missing' in refused(
        changed, "recoveries={}", "conditions.off-model.prompts.column=question"
    )
    assert "prompts.n: 3 prompts are asked for, but" in refused(
        changed, "recoveries={}", "conditions.off-model.prompts.n=3"
    )
    assert planned(changed, "recoveries={}")[0] == 0


def test_problems_that_are_examples_of_a_local_benchmark(refused, write):
    path = write({"problem": "1 + 1", "answer": "2"})
    examples = [f"benchmarks.maths.source={path}", "benchmarks.maths.n=1"]
    message = refused(PROBLEMS, f"rl_problems.source={path}", "rl_problems.n=1", *examples)
    assert "rl_problems: 1 of them are also examples of benchmarks.maths" in message
    assert "rl_problems: n: 2 rows are asked for, but" in refused(
        PROBLEMS, f"rl_problems.source={path}", "rl_problems.n=2"
    )


def test_local_data_sets(refused, planned, write):
    path = write({"q": "a fruit?", "a": "fig"}, {"q": "a tree?" + " oak" * 300, "a": "fir"})
    declared = f"data.rows={{source: {path}, prompt: q, answer: a}}"
    prompts = ["prompts={source: rows}", "recoveries={}", "conditions={off-model: , on-model: }"]
    assert planned(declared, *prompts)[0] == 0
    assert "data.rows: " in (message := refused(declared, *prompts, "data.rows.answer=reply"))
    assert 'the column "reply" is missing' in message
    assert "prompts, row " in (message := refused(declared, *prompts, "max_model_len=300"))
    assert "raise max_model_len, or leave the row out" in message


def test_completions_of_problems_have_room(refused):
    verified = [PROBLEMS, "conditions={right: {kind: verified}}", "recoveries={}"]
    message = refused(*verified, "rl_problems.max_tokens=300", "max_model_len=300", "sampling.max_tokens=300")
    assert "rl_problems.max_tokens is 300, which leaves no room" in message
    assert "sampling" not in message


def test_a_gguf_file_that_cannot_be_used(refused, planned, tmp_path):
    student = f"models.student={write_gguf(tmp_path / 'toy.gguf')}"
    assert planned(student)[0] == 0
    assert "max_model_len: 4096 is more than the 2048 tokens of models.student" in refused(
        student, "max_model_len=4096"
    )
    assert "models.student: " in (message := refused(f"models.student={write_gguf(tmp_path / 'x.gguf', pre='new')}"))
    assert "its pre-tokenizer new is not known" in message


def test_target_modules_that_a_local_student_does_not_have(refused):
    assert '"q_prj" is not among the layers of models.student' in refused("train.target_modules=[q_prj]")


def test_a_model_folder_that_cannot_be_loaded(refused, planned, tmp_path):
    folder = tmp_path / "checkpoint"
    shutil.copytree(shipped.FOLDER / "steps", folder)
    student = f"models.student={folder}"
    assert planned(student)[0] == 0
    assert "max_model_len: 4096 is more than the 2048 tokens of models.student" in refused(
        student, "max_model_len=4096"
    )
    assert "no model's chat template has a switch" in refused(student, "sampling.thinking=on")
    (folder / "model.safetensors").unlink()
    assert f"models.student: {folder} has no weights in safetensors" in refused(student)


def test_a_prompt_longer_than_the_context(refused):
    message = refused("max_model_len=40", f"benchmarks.facts.prompt='{{question}} {'fox ' * 40}'")
    assert "facts, row 1: " in message
    assert "raise max_model_len, or leave the row out" in message


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("kind: 'lm_eval:gsm9k'", 'has no task "gsm9k"; the nearest are gsm8k'),
        ("kind: 'lm_eval:humaneval'", "lm_eval:humaneval runs code that the model writes, which is not supported"),
        ("kind: 'lm_eval:mbpp_instruct'", "lm_eval:mbpp_instruct runs code that the model writes"),
        ("kind: 'lm_eval:wikitext'", "measures perplexity"),
        ("kind: 'lm_eval:code2text_go'", "needs beam search"),
        ("kind: 'lm_eval:aime24', shots: 3", "lm_eval:aime24 does not support few-shot examples: remove shots"),
        ("kind: 'lm_eval:aime24'", "generates up to 32,768 tokens, which leaves no room for a prompt in max_model_len"),
        ("kind: 'lm_eval:gsm8k', max_tokens: 500", "lm_eval:gsm8k generates up to 500 tokens, which leaves no room"),
        ("kind: 'lm_eval:mmlu_anatomy', max_tokens: 9", "compares log-probabilities and generates no completions"),
        ("kind: 'lm_eval:mmlu', source: ROWS, n: 1", "lm_eval:mmlu is a group, whose data sets rows cannot replace"),
        ("kind: 'lm_eval:gsm8k', source: ROWS, n: 1", "its 5 few-shot examples from another split"),
        ("kind: 'lm_eval:gsm8k', source: ROWS, shots: 0", "n: 200 rows are asked for, but"),
    ],
)
def test_tasks_of_lm_eval_that_cannot_be_run(refused, write, task, message):
    path = write({"question": "x", "answer": "#### 1"})
    output = refused(f"benchmarks.task={{{task.replace('ROWS', path)}}}", "max_model_len=500")
    assert "benchmarks.task: " in output
    assert message in output


@pytest.mark.slow
def test_tasks_of_lm_eval_that_can_be_run(planned, write):
    path = write({"question": "x", "answer": "#### 1"})
    assert planned("benchmarks.task={kind: 'lm_eval:gsm8k', n: 3}", "max_model_len=500")[0] == 0
    assert planned("benchmarks.task={kind: 'lm_eval:aime24', n: 3, max_tokens: 64}", "max_model_len=500")[0] == 0
    assert planned(f"benchmarks.task={{kind: 'lm_eval:gsm8k', source: {path}, n: 1, shots: 0}}")[0] == 0


NOT_YET, LATER = "Not checked yet, but before the run starts: ", "Not checked before a stage needs it: "


def lines_of(output: str, prefix: str) -> list[str]:
    return [line.removeprefix(prefix) for line in output.splitlines() if line.startswith(prefix)]


def test_what_needs_the_network_is_listed(planned):
    status, output = planned(
        "models.words=org/words",
        "models.terse={api: x, key_env: NO_SUCH_KEY}",
        "prompts={source: org/prompts, n: 20}",
        "benchmarks.real={kind: olympiadbench, n: 3, max_tokens: 64}",
        "tracking.uri=http://mlflow:5000",
        "conditions={off-model: }",
    )
    assert status == 0
    assert lines_of(output, NOT_YET) == [
        "rows and columns of Hothan/OlympiadBench, org/prompts; whether the hub has org/words; API keys of terse; "
        "MLflow at http://mlflow:5000."
    ]
    assert lines_of(output, LATER) == ["answers of terse; whether all prompts fit the context of org/words."]


def test_data_sets_of_the_hub_are_listed(planned):
    _, output = planned(
        "data.rows={source: org/rows, prompt: q, answer: a, n: 20}",
        "prompts={source: rows}",
        "conditions={distilled: {kind: off_model, train: {objective: on_policy_distillation}}}",
        "recoveries={}",
    )
    assert lines_of(output, NOT_YET) == ["rows and columns of org/rows."]


def test_a_study_that_is_checked_whole_lists_nothing(planned):
    status, output = planned()
    assert status == 0
    assert "Not checked" not in output


@pytest.mark.slow
def test_the_data_of_tasks_of_lm_eval_are_listed(planned):
    _, output = planned("benchmarks.task={kind: 'lm_eval:gsm8k', n: 3}")
    assert lines_of(output, LATER) == ["data of lm_eval:gsm8k."]
