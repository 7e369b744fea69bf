"""What each benchmark says of right and wrong answers."""

import pytest

from evaluators.benchmarks import BENCHMARKS
from evaluators.evaluate import chats_of

MATH = {"problem": "Half of {1}?", "answer": "\\frac{1}{2}", "level": "3"}
CHOICES = {"question": "Which?", "choices": ["east", "west", "north", "south"], "answer": 2}


def verdict(kind: str, row: dict, text: str) -> tuple[bool, bool]:
    given = BENCHMARKS[kind].grade(row, text)
    return given.correct, given.found


def olympiad(*answers: str, multiple: bool = False) -> dict:
    return {"question": "?", "final_answer": list(answers), "is_multiple_answer": multiple}


def instruct(*checks: tuple[str, dict]) -> dict:
    every = {"keyword", "frequency", "relation", "num_words", "keywords", "end_phrase", "num_placeholders"}
    # As on the hub: each entry has every keyword, null where it does not apply.
    kwargs = [dict.fromkeys(every) | given for _, given in checks]
    return {"key": 1, "prompt": "do", "instruction_id_list": [kind for kind, _ in checks], "kwargs": kwargs}


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
    assert BENCHMARKS["math500"].group(MATH) == {"level": 3}


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


@pytest.mark.parametrize(
    ("check", "right", "wrong"),
    [
        (("keywords:frequency", {"keyword": "fox", "frequency": 2, "relation": "at least"}), "Fox and fox", "a fox"),
        (("keywords:frequency", {"keyword": "fox", "frequency": 2, "relation": "less than"}), "a fox", "fox, fox"),
        (("length_constraints:number_words", {"num_words": 3, "relation": "at least"}), "one, two three", "one two"),
        (("length_constraints:number_words", {"num_words": 3, "relation": "less than"}), "one two", "one two three"),
        (("keywords:existence", {"keywords": ["red", "fox"]}), "The Red FOX", "the fox"),
        (("startend:end_checker", {"end_phrase": "The end."}), 'So it is. the END." ', "The end. Or is it?"),
        (("detectable_content:number_placeholders", {"num_placeholders": 2}), "[name] at [place]", "[name] (place)"),
    ],
)
def test_ifeval_checks(check, right, wrong):
    row = instruct(check)
    assert BENCHMARKS["ifeval"].fields(row)["prompt"] == "do"
    assert verdict("ifeval", row, right) == (True, True)
    assert verdict("ifeval", row, wrong) == (False, True)


def test_ifeval_wants_every_instruction_followed():
    row = instruct(("keywords:existence", {"keywords": ["fox"]}), ("startend:end_checker", {"end_phrase": "owl"}))
    assert verdict("ifeval", row, "fox owl") == (True, True)
    assert verdict("ifeval", row, "fox") == (False, True)
    assert verdict("ifeval", row, "owl") == (False, True)


def test_ifeval_takes_no_empty_answer():
    row = instruct(("length_constraints:number_words", {"num_words": 3, "relation": "less than"}))
    assert verdict("ifeval", row, " \n") == (False, False)


def test_ifeval_refuses_what_it_cannot_check():
    with pytest.raises(ValueError, match="made:up"):
        chats_of("ifeval", [instruct(("made:up", {}))], None)


def test_braces_of_a_problem_are_not_taken_for_columns():
    ((message,),) = chats_of("math500", [MATH], None)
    assert message["content"].startswith("Half of {1}?\n")
    assert message["content"].endswith("within \\boxed{}.")
