"""Symbolic equality, in bounds."""

import threading

import pytest

from evaluators import symbolic
from evaluators.symbolic import same_mathematics


@pytest.mark.parametrize(
    ("gold", "answer", "same"),
    [
        (r"\frac{1}{2}", "0.5", True),
        (r"\frac{1}{2}", r"\frac{2}{4}", True),
        ("(0,1)", "(1,0)", False),
        (r"2\sqrt{2}", r"\sqrt{8}", True),
        ("x+1", "x-1", False),
        ("7", "fox", False),
    ],
)
def test_sameness(gold, answer, same):
    assert same_mathematics(gold, answer) is same


def test_it_works_outside_a_main_thread():
    said = []
    thread = threading.Thread(target=lambda: said.append(same_mathematics(r"\frac{3}{6}", "1/2")))
    thread.start()
    thread.join()
    assert said == [True]


def test_what_does_not_end_is_ended_and_the_next_question_answered(monkeypatch):
    monkeypatch.setattr(symbolic, "SECONDS", 0.5)
    assert same_mathematics("1", r"9^{9^{9^{9}}}" + "!" * 3) is False
    assert same_mathematics("1", "(" * 50_000) is False
    monkeypatch.setattr(symbolic, "SECONDS", 10.0)
    assert same_mathematics(r"\frac{1}{2}", "0.5") is True
