"""Answers in LaTeX against gold answers."""

import pytest

from evaluators.grading.maths import MAX_CHARACTERS, Gold, check, compare, grade, split


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("4", "4"),
        ("4", "4.0"),
        ("4", "$4$."),
        ("4", "\\(4\\)"),
        ("1/2", "0.5"),
        ("1000", "1,000"),
        ("58,500", "58500"),
        ("10,\\!080", "10080"),
        ("11,\\! 111,\\! 100", "11{,}111{,}100"),
        ("\\$32,\\!348", "32348"),
        ("\\$18.90", "18.9"),
        ("\\frac{1}{2}", "0.5"),
        ("\\frac{1}{2}", "\\dfrac{1}{2}"),
        ("\\frac{1}{2}", "1/2"),
        ("\\frac{3}{4}", "\\frac34"),
        ("1\\frac{4}{5}", "\\frac{9}{5}"),
        ("2\\sqrt{2}", "\\sqrt{8}"),
        ("x+1", "1 + x"),
        ("x=5", "5"),
        ("5", "x = 5"),
        ("\\left( 3, \\frac{\\pi}{2} \\right)", "(3, \\frac{\\pi}{2})"),
        ("(3, 2)", "(x, y) = (3, 2)"),
        ("\\text{Evelyn}", "\\text{Evelyn}"),
        ("\\text{Evelyn}", "Evelyn"),
        ("\\text{(C)}", "C"),
        ("1, 2", "2, 1"),
        ("1,2", "2,1"),
        ("1, 2", "1 \\text{ and } 2"),
        ("1, 2", "x = 1 or x = 2"),
        ("\\{1, 2\\}", "2, 1"),
        ("1, 2", "x \\in \\{1, 2\\}"),
        ("1 \\pm \\sqrt{19}", "1+\\sqrt{19}, 1-\\sqrt{19}"),
        ("\\{1\\pm\\sqrt{5},-2\\}", "-2, 1 \\pm \\sqrt{5}"),
        ("x \\in [-2,7]", "[-2,7]"),
        ("t(0,4]", "(0, 4]"),
        ("k \\geqslant 2", "[2, \\infty)"),
        ("(0,9) \\cup (9,36)", "(9,36) \\cup (0,9)"),
        ("\\begin{pmatrix} 1/5 \\\\ -2 \\end{pmatrix}", "\\begin{pmatrix} 0.2 \\\\[4pt] -2 \\end{pmatrix}"),
        ("90^\\circ", "90"),
        ("864 \\mbox{ inches}^2", "864 square inches"),
        ("5.4 \\text{ cents}", "5.4"),
        ("52_8", "52_{8}"),
        ("52_8", "52"),
        ("f(x) = ax + b, where $b$ is any number", "f(x)=b+ax"),
        ("17.5%", "17.5\\%"),
        ("17.5%", "17.5 percent"),
        ("\\{1\\pm\\sqrt{5},-2\\}", "$-2, 1 \\pm \\sqrt{5}$"),
        ("(0, 4]", "$(0,4]$ \\text{ units}"),
    ],
)
@pytest.mark.parametrize("short_cut", [True, False])
def test_equivalent_answers(gold, answer, short_cut):
    assert compare(Gold(gold), answer, short_cut).value


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("4", "5"),
        ("4", "-4"),
        ("4", "4, 4"),
        ("4", "3 or 4"),
        ("1/2", "0.51"),
        ("\\frac{1}{2}", "\\frac{1}{3}"),
        ("\\frac{1}{2}", "2"),
        ("x+1", "x-1"),
        ("(1, 2)", "(2, 1)"),
        ("(2, 1)", "[2, 1]"),
        ("(1, 2)", "1, 2"),
        ("1, 2", "(1, 2)"),
        ("(3, 4]", "(4, 3]"),
        ("(3, 4]", "[3, 4)"),
        ("(0,9) \\cup (9,36)", "(0,36)"),
        ("52_8", "52_9"),
        ("4", ""),
        ("4", "four"),
        ("1/0", "0"),
        ("1, 2", "1"),
        ("1,2", "12"),
        ("1 \\pm \\sqrt{19}", "1 + \\sqrt{19}"),
        ("\\text{(C)}", "\\text{(B)}"),
        ("4", "1e999999999"),
    ],
)
@pytest.mark.parametrize("short_cut", [True, False])
def test_different_answers(gold, answer, short_cut):
    assert not compare(Gold(gold), answer, short_cut).value


@pytest.mark.parametrize(
    ("gold", "answer", "expected"),
    [
        (Gold("2500,7500", several=True), "7500, 2500", True),
        (Gold("100,200", several=True), "100200", False),
        (Gold("100,200", several=True), "200; 100", True),
        (Gold("-2,-2", several=True), "-2", False),
        (Gold("45", unit="minute"), "45 \\text{ minutes}", True),
        (Gold("\\frac{41}{12}", unit="km"), "\\frac{41}{12} km", True),
        (Gold("\\frac{600}{7}", unit="km/h"), "\\frac{600}{7} \\mathrm{~km/h}", True),
        (Gold("12", unit="$cm^2$"), "12 \\text{ cm}^2", True),
        (Gold("90, 90", several=True, unit="^{\\circ}"), "90^\\circ, 90^{\\circ}", True),
        (Gold("4.2\\%", tolerance=0.1), "4.25", True),
        (Gold("4.2\\%", tolerance=0.1), "4.1\\%", True),
        (Gold("4.2\\%", tolerance=0.1), "0.042", True),
        (Gold("4.2\\%", tolerance=0.1), "4.4", False),
    ],
)
def test_lists_units_and_tolerances(gold, answer, expected):
    assert compare(gold, answer).value is expected


def test_a_list_may_have_one_box_for_each_answer():
    assert grade(Gold("1, 2"), "So \\boxed{2} and \\boxed{1}.").correct
    assert not grade(Gold("2"), "So \\boxed{2} and \\boxed{1}.").correct


def test_the_verdict_has_the_extracted_answer():
    assert grade(Gold("1"), "\\boxed{ $2$. }").answer == "2"
    assert grade(Gold("1"), "2").answer is None


@pytest.mark.parametrize(
    ("answer", "note"),
    [
        ("1+" * MAX_CHARACTERS + "1", "an answer of 20001 characters is not compared"),
        ("(" * 200 + "1" + ")" * 200, "an answer with 200 levels of brackets is not compared"),
    ],
)
def test_answers_beyond_the_limits_are_noted(answer, note):
    verdict = grade(Gold("1"), f"\\boxed{{{answer}}}")
    assert (verdict.correct, verdict.parsed, verdict.note) == (False, True, note)


@pytest.mark.parametrize(
    "noise",
    [
        *(" ", "~", "$", "\\", ",", "and ", "\\pm ", "\\text{", "where ", "1,234", "%", "\0", "\\!"),
        pytest.param("x=", marks=pytest.mark.slow),
    ],
)
def test_strange_answers_are_wrong(noise):
    content = (noise * 9_000)[:9_000].replace("{", "")
    verdict = grade(Gold("\\frac{1}{3}"), f"\\boxed{{{content}}}")
    assert verdict.parsed
    assert not verdict.correct


@pytest.mark.parametrize("gold", ["\\frac{1}{", "", " ", "1, \\sqrt{"])
def test_an_unparsable_gold_answer_is_an_error(gold):
    with pytest.raises(ValueError, match="row 7: its gold answer"):
        check(Gold(gold), "row 7")


@pytest.mark.parametrize("gold", ["\\text{Evelyn}", "1, 2", "t(0,4]", "62.5%", "m_{\\max }=n"])
def test_a_parsable_gold_answer_is_no_error(gold):
    check(Gold(gold), "row 7")


def test_commas_in_brackets_do_not_split():
    assert split("(1,2), [3,4]; \\{5,6\\}, \\begin{cases} 7, 8 \\end{cases}, 9") == [
        "(1,2)",
        "[3,4]",
        "\\{5,6\\}",
        "\\begin{cases} 7, 8 \\end{cases}",
        "9",
    ]
