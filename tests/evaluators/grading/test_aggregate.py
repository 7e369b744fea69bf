"""One score for several answers."""

from itertools import combinations
from statistics import fmean

import pytest

from evaluators.grading.aggregate import check_aggregation, majority, pass_at, score
from evaluators.grading.verdict import Verdict


def verdicts(*answers: str | None, right: str = "4") -> list[Verdict]:
    return [Verdict(score=float(answer == right), parsed=answer is not None, answer=answer) for answer in answers]


@pytest.mark.parametrize(("k", "n", "correct"), [(1, 5, 2), (2, 5, 2), (3, 6, 1), (4, 4, 0), (4, 4, 4), (5, 6, 2)])
def test_pass_at_k_is_the_share_of_all_draws_that_hold_a_right_answer(k, n, correct):
    draws = list(combinations([True] * correct + [False] * (n - correct), k))
    assert pass_at(k, n, correct) == pytest.approx(fmean(any(draw) for draw in draws))


def test_the_mean_is_the_share_of_right_answers():
    assert score(verdicts("4", "5", None, "4"), "mean") == 0.5


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        (("4", "5", "4"), 1),
        (("5", "4", "5"), 0),
        (("5", "4"), 0),  # as often: the earlier one
        (("4", "5"), 1),
        (("4 ", " 4", "5", "5", "4"), 1),  # the same but for blanks
        ((None, None, None, "4"), 1),  # what has no answer does not vote
        ((None, None), 0),
    ],
)
def test_the_majority_decides(answers, expected):
    read = [None if a is None else a for a in answers]
    given = [Verdict(score=float((a or "").strip() == "4"), parsed=a is not None, answer=a) for a in read]
    assert majority(given) == expected
    assert score(given, "majority") == expected


def test_pass_at_k_of_verdicts():
    assert score(verdicts("4", "5", "5", "5"), "pass@2") == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("way", "said"), [("best", "mean, majority"), ("pass@0", "mean, majority"), ("pass@5", "raise samples")]
)
def test_ways_that_cannot_be(way, said):
    with pytest.raises(ValueError, match=said):
        check_aggregation(way, 4)


def test_ways_that_can_be():
    for way in ("mean", "majority", "pass@1", "pass@4"):
        check_aggregation(way, 4)
