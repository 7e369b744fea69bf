"""How far two answers agree."""

import pytest

from evaluators.analysis.overlap import overlap


@pytest.mark.parametrize(
    ("answer", "other", "f1", "identical"),
    [
        ("the fox is red .", "the fox is red .", 1.0, True),
        ("the fox is red .", "the  fox is red .", 1.0, True),  # white space does not count
        ("the fox is red", "the owl is red", 1 / 3, False),  # one of three bigrams
        ("a b a b a b", "a b", 2 / 6, False),  # a repetition counts as often as the other has it
        ("a b c", "c b a", 0.0, False),
        ("fox", "fox", 1.0, True),
        ("fox", "owl", 0.0, False),
        ("", "the fox", 0.0, False),
    ],
)
def test_the_overlap_of_two_answers(answer, other, f1, identical):
    found = overlap("a", answer, other, 2)
    assert (found.f1, found.identical) == (pytest.approx(f1), identical)
    assert overlap("a", other, answer, 2) == found
