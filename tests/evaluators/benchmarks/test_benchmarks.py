"""What each benchmark declares, and its verdicts on right and wrong answers."""

import json
import re
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from evaluators import benchmarks
from evaluators.benchmarks import BENCHMARKS
from evaluators.evaluate import chats_of
from evaluators.rows import check_columns
from orchestrator.plan.build import build_plan

MATH = {"problem": "Half of {1}?", "answer": "\\frac{1}{2}", "level": "3"}
CHOICES = {"question": "Which?", "choices": ["east", "west", "north", "south"], "answer": 2}


PARTS = {"VERSION", "HUB", "ROWS", "COLUMNS", "PROMPT", "MAX_TOKENS", "OPTIONS", "VOTES", "LIBRARIES", "TRAIN"}
FUNCTIONS = {"fields", "check", "grade", "group", "further_scores"}
NEW = """
from collections.abc import Iterable

from evaluators.grading.verdict import Verdict

VERSION, HUB, ROWS, COLUMNS = 1, ("nobody/echo", None, "test"), 10, {"text": str}
PROMPT, MAX_TOKENS, OPTIONS = "{text}", 8, ("yes", "no")


def check(row): pass
def grade(row, text): return Verdict(score=float(text == row["text"]), parsed=bool(text))
def further_scores(verdicts): return {"best": max(verdict.score for verdict in verdicts)}
"""


@pytest.mark.parametrize("kind", BENCHMARKS)
def test_every_benchmark_has_all_parts(kind):
    module = BENCHMARKS.module(kind)
    assert {name for name in PARTS | FUNCTIONS if hasattr(module, name)} == PARTS | FUNCTIONS
    assert all(f"`{name}`" in benchmarks.__doc__ for name in PARTS)
    assert all(f"`{name}(" in benchmarks.__doc__ for name in FUNCTIONS)


def test_a_new_file_is_a_benchmark(tmp_path, monkeypatch, small):
    (tmp_path / "echo.py").write_text(NEW)
    monkeypatch.setattr(benchmarks, "__path__", [*benchmarks.__path__, str(tmp_path)])
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"text": text}) + "\n" for text in ("yes", "no", "yes", "no", "yes")))
    study = small(
        f"benchmarks.maths={{kind: echo, source: {rows}, n: 5, answer_by: logprob}}", "conditions={off-model: }"
    )
    plan = build_plan(study)
    stage = plan.trials[0].untrained_scores["maths"]
    assert stage.inputs["generations"].settings.sampling_params.options == ("yes", "no")
    ((message,),) = chats_of("echo", [{"text": "yes"}], None)
    assert message["content"] == "yes"
    sys.modules.pop("evaluators.benchmarks.echo")


def test_the_documentations_benchmark_grades(tmp_path, monkeypatch):
    text = (Path(__file__).parents[3] / "docs" / "evaluation.md").read_text()
    (tmp_path / "aime24.py").write_text(re.search(r'```python\n("""AIME.*?)```', text, re.DOTALL)[1])
    monkeypatch.setattr(benchmarks, "__path__", [*benchmarks.__path__, str(tmp_path)])
    row = {"problem": "How many eggs?", "answer": "073"}
    try:
        module = BENCHMARKS.module("aime24")
        check_columns([row], module.COLUMNS, "rows")
        module.check(row)
        ((message,),) = chats_of("aime24", [row], None)
        assert message["content"].startswith("How many eggs?\n\nPlease reason")
        texts = ("\\boxed{073}", "\\boxed{73}", "\\boxed{12}", "73")
        assert [verdict("aime24", row, text) for text in texts] == [(1, 1), (1, 1), (0, 1), (0, 0)]
        with pytest.raises(ValueError, match="How many eggs"):
            module.check({**row, "answer": ""})
    finally:
        sys.modules.pop("evaluators.benchmarks.aime24", None)


def verdict(kind: str, row: dict, text: str) -> tuple[bool, bool]:
    given = BENCHMARKS.module(kind).grade(row, text)
    return given.correct, given.parsed


def olympiad(*answers: str, multiple: bool = False) -> dict:
    return {"question": "?", "final_answer": list(answers), "is_multiple_answer": multiple}


@pytest.mark.parametrize(
    ("text", "given"),
    [
        ("It is \\boxed{\\frac{1}{2}}.", (True, True)),
        ("It is \\boxed{0.5}.", (True, True)),
        ("It is \\boxed{2}.", (False, True)),
        ("\\boxed{\\frac12} no: \\boxed{3}", (False, True)),
        ("It is \\frac{1}{2}.", (False, False)),
        ("", (False, False)),
    ],
)
def test_math500(text, given):
    assert verdict("math500", MATH, text) == given
    assert BENCHMARKS.module("math500").group(MATH) == {"level": 3}
    assert BENCHMARKS.module("math500").group({"problem": "?", "answer": "1", "level": None}) == {}
    assert BENCHMARKS.module("math500").group({**MATH, "subject": "Algebra"}) == {"level": 3, "subject": "Algebra"}


@pytest.mark.parametrize(
    ("text", "given"),
    [
        ("C", (True, True)),
        (" C\n", (True, True)),
        ("A", (False, True)),
        ("D", (False, True)),
        ("E", (False, False)),
        ("c", (False, False)),
        ("CD", (False, False)),
        ("", (False, False)),
    ],
)
def test_mmlu(text, given):
    assert verdict("mmlu", CHOICES, text) == given


def test_mmlu_asks_with_every_option_in_order():
    ((message,),) = chats_of("mmlu", [CHOICES], None)
    assert message["role"] == "user"
    assert message["content"].startswith("Which?\nA. east\nB. west\nC. north\nD. south\n")


def test_mmlu_refuses_rows_without_four_options():
    with pytest.raises(ValueError):  # noqa: PT011
        chats_of("mmlu", [{**CHOICES, "choices": ["east", "west"]}], None)


@pytest.mark.parametrize(
    ("row", "text", "given"),
    [
        (olympiad("$\\frac{1}{3}$"), "\\boxed{1/3}", (True, True)),
        (olympiad("2"), "\\boxed{3}", (False, True)),
        (olympiad("2"), "2", (False, False)),
        (olympiad("(1, 2)"), "\\boxed{(1,2)}", (True, True)),
        (olympiad("$1$", "$-2$", multiple=True), "\\boxed{-2, 1}", (True, True)),
        (olympiad("$1$", "$-2$", multiple=True), "\\boxed{1}", (False, True)),
        (olympiad("$1$", "$-2$", multiple=True), "\\boxed{1, -2, 3}", (False, True)),
        (olympiad("$1$", "$-2$", multiple=True), "\\boxed{1, 1}", (False, True)),
        (olympiad("$1$", "$1$", multiple=True), "\\boxed{1, 1}", (True, True)),
        (olympiad("1,3,5", multiple=True), "\\boxed{1, 3}", (False, True)),
        pytest.param(olympiad("1,3,5", multiple=True), "\\boxed{135}", (False, True)),
        pytest.param(olympiad("1,3,5", multiple=True), "\\boxed{5, 1, 3}", (True, True)),
        pytest.param(olympiad("$(1,1), (3,2)$", multiple=True), "\\boxed{(3,2), (1,1)}", (True, True)),
    ],
)
def test_olympiadbench(row, text, given):
    assert verdict("olympiadbench", row, text) == given


def test_olympiadbench_reads_units_and_tolerances():
    row = {**olympiad("4.2"), "unit": "%", "error": "1e-1", "subfield": "Algebra"}
    assert [verdict("olympiadbench", row, f"\\boxed{{{given}}}")[0] for given in ("4.3\\%", "4.1", "4.4")] == [1, 1, 0]
    assert verdict("olympiadbench", {**olympiad("45"), "unit": "minute", "error": None}, "\\boxed{45 minutes}")[0]
    assert BENCHMARKS.module("olympiadbench").group(row) == {"subfield": "Algebra"}
    assert BENCHMARKS.module("olympiadbench").group(olympiad("2")) == {}


EGGS = {"question": "How much for the eggs?", "answer": "16 - 4 = 12, and 12 x 100 = 1,200\n#### 1,200", "level": 2}


@pytest.mark.parametrize(
    ("text", "given"),
    [
        ("1200", (True, True)),
        ("12 times 100 is 1,200.", (True, True)),
        ("She makes $1,200 every day at the farmers' market.", (True, True)),
        ("**Answer:** €1,200.00", (True, True)),
        ("so it is \\boxed{\\$1{,}200}.", (True, True)),
        ("#### 1\\,200\\,\\text{dollars}", (True, True)),
        ("It is 1200, I think ...", (True, True)),
        ("1,200 - 100", (False, True)),
        ("-1,200", (False, True)),
        ("−$1,200", (False, True)),
        ("$-1,200", (False, True)),
        ("12-1200", (True, True)),
        ("1,2,00 and 1,200", (True, True)),
        ("1,20", (False, True)),
        ("1,200.5", (False, True)),
        ("11,200", (False, True)),
        ("twelve hundred", (False, False)),
        ("$., ...", (False, False)),
        ("", (False, False)),
    ],
)
def test_gsm8k(text, given):
    assert verdict("gsm8k", EGGS, text) == given


def test_gsm8k_has_levels_where_its_rows_have():
    module = BENCHMARKS.module("gsm8k")
    assert module.group(EGGS) == {"level": 2}
    assert module.group({**EGGS, "level": None}) == module.group({"question": "?", "answer": "#### 1"}) == {}
    module.check({"question": "?", "answer": "#### -3"})


def test_equal_numbers_of_gsm8k_are_one_answer_in_a_vote():
    answers = [BENCHMARKS.module("gsm8k").grade(EGGS, text).answer for text in ("1,200", "$1200.00", "1200.", "-0.0")]
    assert answers == ["1200", "1200", "1200", "0"]
    assert BENCHMARKS.module("gsm8k").grade(EGGS, "9" * 40 + ".50").answer == "9" * 40 + ".5"


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("She makes 9 * 2 = $18 every day.", True),
        ("#### 18", True),
        ("The answer is 18 dollars", True),
        ("It is \\boxed{18}.", True),
        ("18 of 20", True),
        ("-18", True),
        ("no number", True),
        ("the total is 1,018", True),
        # The departures that the module names.
        ("It is 18.00", False),
        ("It is 18 ...", False),
        ("They are 3,18", False),
        ("36-18", False),
        ("\\boxed{0{,}018}", False),
    ],
)
def test_gsm8k_grades_like_lm_evals_flexible_extract(text, same):
    found = find_spec("lm_eval").origin
    task = yaml.safe_load((Path(found).parent / "tasks" / "gsm8k" / "gsm8k.yaml").read_text())
    (extract,) = [one["filter"][0] for one in task["filter_list"] if one["name"] == "flexible-extract"]
    numbers = re.findall(extract["regex_pattern"], text)
    number = next(group for group in numbers[extract["group_select"]] if group) if numbers else "[invalid]"
    for pattern in task["metric_list"][0]["regexes_to_ignore"]:
        number = re.sub(pattern, "", number)
    assert (verdict("gsm8k", {**EGGS, "answer": "#### 18"}, text)[0] == (number == "18")) is same


@pytest.mark.parametrize(
    ("kind", "row", "name"),
    [
        ("math500", {**MATH, "answer": "\\frac{1}{", "unique_id": "test/1.json"}, "test/1.json"),
        ("math500", {**MATH, "answer": ""}, "Half of"),
        ("olympiadbench", {**olympiad("\\sqrt{"), "id": 1606}, "1606"),
        ("olympiadbench", {**olympiad("2"), "id": 1606, "error": "small"}, "1606.*'small'"),
        ("olympiadbench", {**olympiad("2"), "id": 1606, "error": [1]}, r"1606.*\[1\] is not a number"),
        ("math500", {**MATH, "level": "Level 3"}, "its level 'Level 3' is not a whole number"),
        ("gsm8k", {**EGGS, "level": "easy"}, "How much for the eggs.* its level 'easy' is not a whole number"),
        ("gsm8k", {**EGGS, "answer": "It is 1,200"}, 'How much .* does not end in a number after "####"'),
        ("gsm8k", {**EGGS, "answer": "12\n#### none"}, "does not end in a number after"),
    ],
)
def test_a_gold_answer_that_cannot_be_read_is_named(kind, row, name):
    with pytest.raises(ValueError, match=name):
        BENCHMARKS.module(kind).check(row)


@pytest.mark.parametrize(
    ("kind", "row", "said"),
    [
        ("math500", {**MATH, "answer": 10}, '"answer" holds 10: give text, not'),
        ("math500", {**MATH, "answer": None}, '"answer" holds None: give text, not'),
        ("math500", {**MATH, "problem": 7}, '"problem" holds 7: give text, not'),
        ("olympiadbench", {**olympiad("2"), "final_answer": "18"}, "\"final_answer\" holds '18': give a list, as"),
        ("olympiadbench", olympiad(18), r'"final_answer" holds \[18\]: give text, not'),
        ("mmlu", {**CHOICES, "answer": "C"}, "\"answer\" holds 'C': give a whole number"),
        (
            "ifeval",
            {"prompt": "?", "instruction_id_list": [], "kwargs": None},
            '"kwargs" holds None: give a list, as',
        ),
    ],
)
def test_a_value_of_another_type_is_named_with_its_row_and_column(kind, row, said):
    with pytest.raises(ValueError, match=f"rows.jsonl, row 1: the column {said}"):
        check_columns([row], BENCHMARKS.module(kind).COLUMNS, "rows.jsonl")


def test_gold_answers_that_can_be_read_pass():
    BENCHMARKS.module("math500").check(MATH)
    BENCHMARKS.module("math500").check({**MATH, "answer": "\\text{Evelyn}"})
    BENCHMARKS.module("olympiadbench").check(olympiad("$1$", "$-2$", multiple=True))


def test_braces_of_a_problem_are_not_taken_for_columns():
    ((message,),) = chats_of("math500", [MATH], None)
    assert message["content"].startswith("Half of {1}?\n")
    assert message["content"].endswith("within \\boxed{}.")
