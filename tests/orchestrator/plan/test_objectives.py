"""An objective is one file: a study with a new one is planned on the data that the file declares."""

import importlib
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from orchestrator.plan.build import build_plan
from orchestrator.plan.workload import asked_of
from orchestrator.study.settings import StudyError
from trainers import objectives

FOLDER = Path(objectives.__file__).parent
ONE = ("pairs.teachers=[words]", "seeds=[1]", "conditions={off-model: }", "recoveries={}")
PROBLEMS = "rl_problems={kind: math500, source: synthetic, n: 6, prompt: '{problem}', max_tokens: 8}"
RL = "recoveries={rl: {kind: grpo, conditions: [off-model], budgets: [1, 2], train: {objective: %s}}}"


@pytest.fixture
def copy_of(tmp_path, monkeypatch):
    """Adds a copy of an objective, named `mine`, to the package."""

    def act(objective: str) -> None:
        (tmp_path / "objectives").mkdir()
        (tmp_path / "objectives" / "mine.py").write_text((FOLDER / f"{objective}.py").read_text())
        monkeypatch.setattr(objectives, "__path__", [str(FOLDER), str(tmp_path / "objectives")])
        importlib.invalidate_caches()

    yield act
    sys.modules.pop("trainers.objectives.mine", None)


def trained(study):
    """The last student of the study's only trial."""
    return build_plan(study).trials[0].points[-1].student


@pytest.mark.parametrize("objective", list(objectives.OBJECTIVES))
def test_a_copy_of_an_objective_is_planned_as_the_original(small, copy_of, objective):
    copy_of(objective)
    ours, theirs = (
        trained(small(*ONE, PROBLEMS, f"train.objective={kind}", "train.max_steps=3")) for kind in ("mine", objective)
    )
    assert ours.inputs == theirs.inputs
    assert (ours.settings.examples, ours.settings.sampling) == (theirs.settings.examples, theirs.settings.sampling)
    assert asdict(ours.settings.train) == {**asdict(theirs.settings.train), "objective": "mine"}


def test_a_new_rl_objective_learns_from_the_problems(small, copy_of):
    copy_of("grpo")
    study = small(*ONE, PROBLEMS, "train.objective={kind: mine, num_generations: 3}", "train.max_steps=2")
    student = trained(study)
    assert set(student.inputs) == {"base"}
    assert student.settings.examples.prompts.examples.n == 6
    assert asked_of(student, study) == (2 * study.train.batch_size * 3, 8)
    with pytest.raises(StudyError, match="mine needs problems with a reward: give the study rl_problems"):
        build_plan(small(*ONE, "train.objective=mine"))


def test_a_recovery_by_rl_takes_a_new_rl_objective_and_no_other(small, copy_of):
    copy_of("grpo")
    assert trained(small(*ONE, PROBLEMS, RL % "mine")).settings.train.objective == "mine"
    with pytest.raises(
        StudyError, match="recovery trains on problems with a reward, and dft does not: use an objective of RL"
    ):
        build_plan(small(*ONE, PROBLEMS, RL % "dft"))


def test_a_new_offline_objective_learns_from_the_teachers_answers(small, copy_of):
    copy_of("sft_kl")
    student = trained(small(*ONE, "train.objective={kind: mine, weight: 0.5}"))
    assert set(student.inputs) == {"base", "data"}
    assert student.inputs["data"].inputs["base"].name == "words"
    with pytest.raises(StudyError, match="steps_per_generation has no effect on mine"):
        small("train.objective=mine", "train.steps_per_generation=2")


def test_a_new_objective_on_token_streams_trains_on_streams(small, copy_of):
    copy_of("lm")
    streams = "conditions={it: {kind: non_text, text: code, n: 9, length: 16, train: {objective: mine}}}"
    assert set(trained(small(*ONE, streams)).inputs["data"].inputs) == {"model"}
