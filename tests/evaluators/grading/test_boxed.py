"""Answers in boxes."""

import time

import pytest

from evaluators.grading.boxed import last_boxed, last_boxes


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("so \\boxed{4}.", "4"),
        ("\\boxed{ 4 }", "4"),
        ("\\boxed {4}", "4"),
        ("\\boxed{\\frac{1}{2}}", "\\frac{1}{2}"),
        ("\\boxed{\\sqrt{\\frac{a_{1}}{2}}} is it", "\\sqrt{\\frac{a_{1}}{2}}"),
        ("first \\boxed{1}, no, \\boxed{2}", "2"),
        ("\\boxed{x \\in \\{1, 2\\}}", "x \\in \\{1, 2\\}"),
        ("\\boxed{\\left\\{ 1 \\right.}", "\\left\\{ 1 \\right."),
        ("\\boxed{a \\\\{b}}", "a \\\\{b}"),
        ("a brace { too many \\boxed{4}", "4"),
        ("\\boxed{\\boxed{4} + 1}", "4"),
        ("\\boxed{}", ""),
        ("no answer {4}", None),
        ("boxed{4}", None),
        ("\\boxed{4", None),
        ("\\boxed{\\frac{1}{2}", None),
        ("\\boxed{1} or \\boxed{2", None),
        ("", None),
    ],
)
def test_the_last_box_is_read_with_balanced_braces(text, content):
    assert last_boxed(text) == content


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("\\boxed{1}", "1"),
        ("\\boxed{1}, \\boxed{2} and $\\boxed{3}$", "1, 2, 3"),
        ("\\boxed{1} \\text{ or } \\boxed{2}", "1, 2"),
        ("\\boxed{1}, no, \\boxed{2}", "2"),
        ("\\boxed{1}" + " " * 50 + "\\boxed{2}", "2"),
        ("\\boxed{\\boxed{1}, \\boxed{2}}", "1, 2"),
        ("\\boxed{1}, \\boxed{2", None),
        ("1", None),
    ],
)
def test_adjacent_boxes_are_one_list(text, content):
    assert last_boxes(text) == content


@pytest.mark.parametrize(
    "text", ["\\boxed{" * 50_000, "\\boxed{" * 30_000 + "}" * 30_000, "\\boxed{" + "\\{" * 100_000]
)
def test_the_time_is_linear_for_long_texts(text):
    began = time.process_time()
    last_boxed(text)
    last_boxes(text)
    assert time.process_time() - began < 2
