"""One score for several completions."""

from itertools import combinations
from statistics import fmean

import pytest

from evaluators.grading.aggregate import check_aggregation, majority, pass_at, score
from evaluators.grading.verdict import Verdict


def verdicts(*answers: str | None, right: str = "4") -> list[Verdict]:
    return [Verdict(score=float(answer == right), parsed=answer is not None, answer=answer) for answer in answers]


@pytest.mark.parametrize(("k", "n", "correct"), [(1, 5, 2), (2, 5, 2), (3, 6, 1), (4, 4, 0), (4, 4, 4), (5, 6, 2)])
def test_pass_at_k_is_the_share_of_draws_with_a_correct_completion(k, n, correct):
    draws = list(combinations([True] * correct + [False] * (n - correct), k))
    assert pass_at(k, n, correct) == pytest.approx(fmean(any(draw) for draw in draws))


def test_the_mean_is_the_share_of_correct_completions():
    assert score(verdicts("4", "5", None, "4"), "mean") == 0.5


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        (("4", "5", "4"), 1),
        (("5", "4", "5"), 0),
        (("5", "4"), 0),  # a tie: the first answer
        (("4", "5"), 1),
        (("4 ", " 4", "5", "5", "4"), 1),  # the same without whitespace
        ((None, None, None, "4"), 1),  # unparsed completions do not vote
        ((None, None), 0),
    ],
)
def test_the_most_frequent_answer_counts(answers, expected):
    given = [Verdict(score=float((a or "").strip() == "4"), parsed=a is not None, answer=a) for a in answers]
    assert majority(given) == expected
    assert score(given, "majority") == expected


def test_pass_at_k_of_verdicts():
    assert score(verdicts("4", "5", "5", "5"), "pass@2") == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("aggregation", "message"), [("best", "mean, majority"), ("pass@0", "mean, majority"), ("pass@5", "raise samples")]
)
def test_unknown_and_impossible_aggregations(aggregation, message):
    with pytest.raises(ValueError, match=message):
        check_aggregation(aggregation, 4)


def test_known_aggregations():
    for aggregation in ("mean", "majority", "pass@1", "pass@4"):
        check_aggregation(aggregation, 4)
        check_aggregation(f"{aggregation} by chance", 4)
        assert score(verdicts("4", "5", "4", "4"), f"{aggregation} by chance") == score(
            verdicts("4", "5", "4", "4"), aggregation
        )
