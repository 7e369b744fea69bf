"""Final answers in braces, and whether they equal the gold answer."""

import subprocess
import sys

import pytest

from evaluators.boxed import equivalent, last_boxed


@pytest.mark.parametrize(
    ("text", "held"),
    [
        ("so \\boxed{4}.", "4"),
        ("\\boxed{ 4 }", "4"),
        ("\\boxed{\\frac{1}{2}}", "\\frac{1}{2}"),
        ("\\boxed{\\sqrt{\\frac{a_{1}}{2}}} is it", "\\sqrt{\\frac{a_{1}}{2}}"),
        ("first \\boxed{1}, no, \\boxed{2}", "2"),
        ("\\boxed{x \\in \\{1, 2\\}}", "x \\in \\{1, 2\\}"),
        ("\\boxed{}", ""),
        ("no answer {4}", None),
        ("boxed{4}", None),
        ("\\boxed{4", None),
        ("\\boxed{\\frac{1}{2}", None),
        ("\\boxed{1} or \\boxed{2", None),
        ("", None),
    ],
)
def test_the_last_box_is_read_with_its_braces_balanced(text, held):
    assert last_boxed(text) == held


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("4", "4"),
        ("4", "4.0"),
        ("1/2", "0.5"),
        ("1000", "1,000"),
        ("\\frac{1}{2}", "0.5"),
        ("\\frac{1}{2}", "\\dfrac{1}{2}"),
        ("\\frac{1}{2}", "1/2"),
        ("\\frac{3}{4}", "\\frac34"),
        ("2\\sqrt{2}", "\\sqrt{8}"),
        ("x+1", "1 + x"),
        ("\\left( 3, \\frac{\\pi}{2} \\right)", "(3, \\frac{\\pi}{2})"),
        ("\\text{Evelyn}", "\\text{Evelyn}"),
        ("1, 2", "2, 1"),
    ],
)
def test_equal_answers(gold, answer):
    assert equivalent(gold, answer)


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("4", "5"),
        ("4", "-4"),
        ("1/2", "0.51"),
        ("\\frac{1}{2}", "\\frac{1}{3}"),
        ("\\frac{1}{2}", "2"),
        ("x+1", "x-1"),
        ("(1, 2)", "(2, 1)"),
        ("4", ""),
        ("4", "four"),
        ("1/0", "0"),
        ("1, 2", "1"),
        pytest.param("1,2", "12"),
    ],
)
def test_other_answers(gold, answer):
    assert not equivalent(gold, answer)


def test_a_list_without_blanks_has_no_order():
    assert equivalent("1,2", "2,1")


def test_a_huge_exponent_takes_no_time():
    # In a process of its own, because no signal interrupts the arithmetic.
    program = "from evaluators.boxed import equivalent; print(equivalent('4', '1e999999999'))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=5, check=True)
    assert done.stdout == "False\n"
