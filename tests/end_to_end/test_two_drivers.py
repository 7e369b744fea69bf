"""Two drivers with studies that share trials run on one new store at once. Both finish, also where one is killed."""

import random

import pytest

from perf.faults import drivers

pytestmark = pytest.mark.slow


def test_two_drivers_finish_shared_trials_once(tmp_path):
    """One of them is killed at a random stage, and started again; in a fifth of the runs none is killed."""
    history = drivers.plan(random.SystemRandom().randrange(10**9))
    print(history)
    assert list(drivers.run(history, tmp_path)) == []
