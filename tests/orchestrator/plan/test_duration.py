"""How long a run takes on a number of GPUs."""

import itertools
import random

import pytest

from orchestrator.plan.build import build_plan
from orchestrator.plan.duration import duration, expected
from orchestrator.plan.gpu_hours import gpu_hours_of
from orchestrator.store.stage import Runtime, Stage
from tests.orchestrator.plan.test_workload import ALONE, HUB, SIMPLE


def stage(number, *inputs, published_by=None):
    needed = {str(i): one for i, one in enumerate(inputs)}
    return Stage("train", 1, f"{number}", {"n": number}, needed, Runtime(published_by=published_by))


def test_stages_run_side_by_side_as_far_as_there_are_gpus():
    alone = [stage(i) for i in range(5)]
    hours, width = dict.fromkeys(alone, 2.0), dict.fromkeys(alone, 1)
    assert [duration(alone, hours, width, n) for n in (1, 2, 4, 8)] == [10, 6, 4, 2]
    assert duration(alone, hours, dict.fromkeys(alone, 2), 4) == 6


def test_a_stage_waits_for_its_inputs_and_for_the_training_that_publishes_it():
    first = stage(1)
    checkpoint = stage(2, published_by=first)
    last = stage(3, checkpoint)
    hours, width = {first: 3.0, last: 2.0}, {first: 1, last: 1}
    assert duration([last, checkpoint, first], hours, width, 8) == 5
    assert duration([last, checkpoint], hours, width, 8) == 2  # The training is done.


def test_the_longest_chain_begins_first():
    long = [stage(1)]
    for n in (2, 3):
        long.append(stage(n, long[-1]))
    short = [stage(n) for n in (4, 5, 6)]
    stages = [*short, *long]
    assert duration(stages, dict.fromkeys(stages, 1.0), dict.fromkeys(stages, 1), 2) == 3


def test_random_graphs_stay_between_the_bounds_of_list_scheduling():
    for seed in range(50):
        rng = random.Random(seed)
        stages: list[Stage] = []
        for n in range(rng.randrange(1, 30)):
            stages.append(stage(n, *rng.sample(stages, min(len(stages), rng.randrange(3)))))
        hours = {one: rng.choice([0.0, rng.random()]) for one in stages}
        chain: dict[Stage, float] = {}
        for one in stages:
            chain[one] = hours[one] + max((chain[other] for other in one.inputs.values()), default=0.0)
        took = [duration(stages, hours, dict.fromkeys(stages, 1), n) for n in (1, 2, 4)]
        assert took[0] == pytest.approx(sum(hours.values()))
        for n, each in zip((1, 2, 4), took, strict=True):
            assert max(sum(hours.values()) / n, *chain.values(), 0.0) <= each + 1e-9
            assert each <= sum(hours.values()) / n + max(chain.values()) + 1e-9


def test_a_plan_says_how_long_it_takes_on_more_gpus(small):
    study = small(HUB, SIMPLE, *ALONE, "resources={engine: {gpus: 1}, train: {gpus: 1, workers: 2}}")
    plan = build_plan(study)
    costs = gpu_hours_of(plan.stages, study)
    (line,) = expected(plan.stages, study, costs)
    # A training of two workers does not run on one GPU.
    assert line == "Expected time: 1 min on 2, 1 min on 4, 1 min on 8 GPUs, without starts of engines and gradings."
    at_most_two = study.model_copy(update={"resources": study.resources.model_copy(update={"gpus": 2})})
    assert list(expected(plan.stages, at_most_two, costs)) == [
        "Expected time: 1 min on 2 GPUs, without starts of engines and gradings."
    ]
    assert list(expected(plan.stages, small(HUB, SIMPLE, *ALONE), costs)) == []
    hours = {one: each for one, each in costs.by_stage.items() if each}
    times = [duration(plan.stages, hours, dict.fromkeys(hours, 1), n) for n in (1, 2, 4)]
    assert times[0] == pytest.approx(sum(hours.values()))
    assert all(more <= fewer + 1e-12 for fewer, more in itertools.pairwise(times))
