"""What finished stages say of the speed of the others."""

import pytest

from orchestrator.plan.build import build_plan
from orchestrator.plan.gpu_hours import gpu_hours_of, lines
from orchestrator.plan.work import covered, expected_of, measured_speeds, work_of
from tests.orchestrator.plan.test_workload import ALONE, HUB, SIMPLE


def took(stages, seconds):
    return {stage: {"started": 0.0, "seconds": seconds} for stage in stages}


def test_time_in_which_several_stages_ran_counts_once():
    assert covered([]) == 0
    assert covered([(0, 4), (1, 2), (3, 6), (8, 9)]) == 7


def test_measured_times_replace_assumptions(small):
    study = small(HUB, SIMPLE, *ALONE)
    plan = build_plan(study)
    assumed = gpu_hours_of(plan.stages, study)
    trained = [stage for stage in plan.stages if stage.kind == "train"]
    sampled = [s for s in plan.stages if s.kind == "sample" and s.runtime.engine == "words"]
    seconds = sum(work.seconds for stage in sampled for work in work_of(stage, study))
    # All at once in a tenth of the assumed time; the training in twice its time.
    (training,) = (work.seconds for work in work_of(trained[0], study))
    records = took(sampled, seconds / 10) | took(trained, 2 * training)
    speeds = measured_speeds(records, study)
    assert speeds["words", "engine"] == pytest.approx(0.1)
    assert speeds["student", "training"] == pytest.approx(2)
    measured = gpu_hours_of(plan.stages, study, speeds)
    assert measured.hours["training"] == pytest.approx(2 * assumed.hours["training"])
    # The speed of the other models, of which nothing is measured, is that of this one.
    assert measured.hours["sampling"] == pytest.approx(assumed.hours["sampling"] / 10)
    (line, *_) = lines(measured, study)
    assert line.endswith("), from the times of the stages that are done.")
    assert "hours of engines and trainings on CPUs" in line


def test_several_gpus_and_replicas_count(small):
    study = small(HUB, SIMPLE, *ALONE, "resources={engine: {gpus: 1, replicas: 3}, train: {gpus: 1, workers: 2}}")
    plan = build_plan(study)
    trained = [stage for stage in plan.stages if stage.kind == "train"]
    sampled = [s for s in plan.stages if s.kind == "sample" and s.runtime.engine == "words"]
    one = small(HUB, SIMPLE, *ALONE)
    records = took(sampled, 1.0) | took(trained, 1.0)
    alone = {s.address: r for s, r in records.items()}
    plain = {s: alone[s.address] for s in build_plan(one).stages if s.address in alone}
    before, after = measured_speeds(plain, one), measured_speeds(records, study)
    assert after["words", "engine"] == pytest.approx(3 * before["words", "engine"])
    assert after["student", "training"] == pytest.approx(2 * before["student", "training"])


def test_toy_models_have_a_time_once_it_is_measured(small):
    study = small(*ALONE)
    plan = build_plan(study)
    expected = expected_of(plan.stages, study, {})
    sampled = [stage for stage in plan.stages if stage.kind == "sample"]
    assert {expected[stage.address].speed for stage in sampled} == {None}
    assert {expected[s.address].group for s in plan.stages if s.kind == "evaluate"} == {("evaluate", "")}
    speeds = measured_speeds(took(sampled[:1], 7.0), study)
    expected = expected_of(plan.stages, study, speeds)
    first = expected[sampled[0].address]
    assert first.seconds * first.speed == pytest.approx(7)
