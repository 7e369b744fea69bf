"""The remaining time of a run."""

import pytest

from orchestrator.plan.work import Expected
from orchestrator.run.pace import Pace

TRAIN, SAMPLE = ("training", "student"), ("engine", "student")


def expected(**seconds):
    """Stages named `train...` and `sample...`, of unknown speed."""
    return {
        name: Expected(group=TRAIN if name.startswith("train") else SAMPLE, seconds=each, speed=None)
        for name, each in seconds.items()
    }


def test_nothing_is_said_of_work_that_was_never_measured():
    pace = Pace(expected(train1=1.0, train2=2.0, sample1=1.0))
    pace.finish("train1", 100.0)
    assert pace.remaining(100.0, {}) is None
    pace.finish("sample1", 10.0)
    assert pace.remaining(110.0, {}) == pytest.approx(200)


def test_what_ran_at_the_same_time_counts_so():
    pace = Pace(expected(train1=1.0, train2=1.0, train3=1.0, train4=2.0))
    pace.finish("train1", 100.0)
    pace.finish("train2", 100.0)
    assert pace.remaining(100.0, {}) == pytest.approx(150)  # 300 s, two at a time
    assert pace.remaining(400.0, {}) == pytest.approx(600)  # 300 s of starts and waits, as before


def test_a_running_stage_says_how_fast_it_is():
    pace = Pace(expected(train1=1.0, train2=3.0))
    assert pace.remaining(60.0, {"train1": (50.0, 0.001)}) is None
    # A quarter took 50 s; 150 s of it are left, and 600 s of the other one.
    assert pace.remaining(50.0, {"train1": (50.0, 0.25)}) == pytest.approx(750)


def test_a_running_stage_without_news_has_its_expected_time_at_most():
    pace = Pace(expected(train1=1.0, train2=1.0))
    pace.finish("train1", 100.0)
    assert pace.remaining(130.0, {"train2": (30.0, None)}) == pytest.approx(70)
    assert pace.remaining(400.0, {"train2": (300.0, None)}) == pytest.approx(0)


def test_the_speed_of_an_earlier_run_counts_until_there_is_a_measurement():
    one = Expected(group=TRAIN, seconds=2.0, speed=10.0)
    pace = Pace({"a": one, "b": one})
    assert pace.remaining(5.0, {"a": (5.0, None)}) == pytest.approx(15 + 20)
    pace.finish("a", 40.0)
    assert pace.remaining(40.0, {}) == pytest.approx(40)
