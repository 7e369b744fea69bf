"""What a run needs at once, and the settings that a message names where a machine has less."""

import itertools
import re

import pytest

from orchestrator.plan import resources
from orchestrator.plan.build import build_plan
from orchestrator.plan.resources import Needs, needs_of, on_this_machine, too_little
from orchestrator.run.allocation import Amount, Replicas
from orchestrator.run.engines import shares
from orchestrator.study.resources import EngineResources, TrainResources
from organisms import shipped

PATHS = [f"models.{alias}={shipped.FOLDER / name}" for alias, name in (("student", "steps"), ("words", "words"))]
GPUS = "resources={engine: {gpus: 1}, train: {gpus: 1}}"
TWO_MODELS = [*PATHS, "pairs.teachers=[words]"]


def complaints(study, **here: float) -> list[str]:
    return list(too_little(needs_of(build_plan(study).stages, study), here, study))


def named(message: str) -> list[str]:
    """The overrides that a message says to set."""
    return re.search(r": set (.*?), or use a cluster", message)[1].split(" and ")


SAMPLES = "conditions={on-policy: {kind: off_model, train: {objective: on_policy_distillation, max_steps: 2}}}"


def test_engines_and_trainings_take_turns_on_one_cpu_and_one_gpu(small):
    assert complaints(small(*TWO_MODELS), CPU=1) == []
    assert complaints(small(*TWO_MODELS, GPUS), CPU=1, GPU=1) == []


def test_a_training_that_samples_needs_its_engine_at_the_same_time(small):
    (message,) = complaints(small(SAMPLES, "recoveries={}"), CPU=1)
    assert message == (
        "resources: a training that samples and an inference engine need 2 CPUs at once, and there are 1: set "
        "resources.train.cpus=0.5 and resources.engine.cpus=0.5, or use a cluster (--address)"
    )


def test_a_large_model_has_an_engine_of_its_own_size(small):
    large = [*TWO_MODELS, "resources={engine: {gpus: 1, cpus: 2}, engines: {words: {gpus: 4}}, train: {gpus: 1}}"]
    study = small(*large)
    words = study.resources.of_engine("words")
    assert (words.gpus, words.cpus, words.tensor_parallel, words.pipeline_parallel_size) == (4, 2, 4, 1)
    assert study.resources.of_engine("student").gpus == 1
    assert shares(study, ["words", "student"]) == {
        "words": Replicas(needs=Amount(cpus=2, gpus=4)),
        "student": Replicas(needs=Amount(cpus=2, gpus=1)),
    }
    (message,) = complaints(study, CPU=2, GPU=3)
    assert message == (
        "resources: an inference engine needs 4 GPUs at once, and there are 3: set resources.engines.words.gpus=2, or "
        "use a cluster (--address)"
    )
    assert complaints(small(*large, "resources.engines.words.gpus=2"), CPU=2, GPU=3) == []
    spread = small(*large, "resources.engines.words.nodes=2")
    assert shares(spread, ["words"])["words"].parts == [Amount(cpus=1, gpus=2)] * 2
    pipeline = small(*TWO_MODELS, "resources.engine={gpus: 8, pipeline_parallel_size: 2}").resources.engine
    assert (pipeline.tensor_parallel, pipeline.pipeline_parallel_size) == (4, 2)


def test_the_limit_of_a_study_is_named(small):
    study = small("resources={cpus: 1, train: {cpus: 2}}")
    assert on_this_machine(study)["CPU"] == 1
    (message,) = complaints(study, **on_this_machine(study))
    assert message.startswith("resources: a training needs 2 CPUs at once, and there are 1 (resources.cpus): ")
    study = small(*TWO_MODELS, "resources={gpus: 1, engine: {gpus: 2}}")
    (message,) = complaints(study, CPU=8, GPU=1)
    assert "an inference engine needs 2 GPUs at once, and there are 1 (resources.gpus): " in message


@pytest.mark.parametrize(
    ("overrides", "there", "settings"),
    [
        (["resources.engine.gpus=1"], 0, ["resources.engine.gpus=0"]),
        (
            ["resources.engine.gpus=1", "resources.train.gpus=1"],
            0,
            ["resources.engine.gpus=0", "resources.train.gpus=0"],
        ),
        (["resources.engine.gpus=1", "resources.train={gpus: 1, workers: 4}"], 2, ["resources.train.workers=2"]),
        (
            [SAMPLES, "recoveries={}", "resources={engine: {gpus: 1}, train: {gpus: 1, workers: 4}}"],
            4,
            ["resources.train.workers=3"],
        ),
        (
            [SAMPLES, "recoveries={}", GPUS],
            1,
            ["resources.engine.gpus=0", "resources.train.gpus=0"],
        ),
    ],
)
def test_settings_with_fewer_gpus(small, overrides, there, settings):
    (message,) = complaints(small(*TWO_MODELS, *overrides), CPU=99, GPU=there)
    assert named(message) == settings
    assert complaints(small(*TWO_MODELS, *overrides, *settings), CPU=99, GPU=there) == []


def test_the_settings_that_a_message_names_always_fit(small):
    study = small()
    for cpus, of_engine, of_training, workers, together in itertools.product(
        (1, 2, 3, 8), (0.5, 1, 4), (0.5, 1, 3), (0, 1, 3), (False, True)
    ):
        parts = {"engine": EngineResources(cpus=of_engine), "train": TrainResources(cpus=of_training)}
        together = together and workers > 0
        needs = Needs(workers=workers, cpus=workers * of_training, together=together, **parts)
        for message in too_little(needs, {"CPU": cpus}, study):
            for setting in named(message):
                _, part, key, value = re.split("[.=]", setting, maxsplit=3)
                parts[part] = parts[part].model_copy(update={key: float(value)})
            changed = Needs(workers=workers, cpus=workers * parts["train"].cpus, together=together, **parts)
            assert list(too_little(changed, {"CPU": cpus}, study)) == [], message


def test_what_is_finished_needs_nothing(small):
    study = small(*TWO_MODELS)
    stages = build_plan(study).stages
    assert list(too_little(needs_of([], study), {}, study)) == []
    evaluations = [stage for stage in stages if stage.kind == "evaluate"]
    assert needs_of(evaluations, study).total == {"CPU": 0, "GPU": 0}
    assert needs_of([stage for stage in stages if stage.kind == "sample"], study).total == {"CPU": 1, "GPU": 0}


def test_a_model_behind_an_api_holds_nothing(small):
    study = small("models.words={api: x}", "resources.engine.cpus=7")
    stages = build_plan(study).stages
    assert needs_of([stage for stage in stages if stage.runtime.engine == "words"], study).total["CPU"] == 0
    assert needs_of(stages, study).total["CPU"] == 7


def test_weights_are_changed_by_a_stage_of_its_own(small):
    study = small("conditions={noise: {kind: weight_noise}}", "recoveries={}", "resources.train.cpus=3")
    weights = [stage for stage in build_plan(study).stages if stage.kind == "weights"]
    assert needs_of(weights, study).total["CPU"] == 3


def test_a_plan_says_that_a_run_on_this_machine_is_refused(planned, monkeypatch):
    monkeypatch.setattr(resources, "_gpus", lambda: 1)
    study = [*TWO_MODELS, "resources={cpus: 1, train: {cpus: 2, gpus: 1, workers: 2}}"]
    status, output = planned(*study)
    assert status == 0
    lines = [line for line in output.splitlines() if line.startswith("Note: a run on this machine is refused: ")]
    assert len(lines) == 2
    settings = [setting for line in lines if ": set " in line for setting in named(line)]
    assert settings == ["resources.train.cpus=0.5", "resources.train.workers=1"]
    _, output = planned(*study, *settings)
    assert "on this machine" not in output


def test_gpus_are_counted_as_cuda_shows_them(monkeypatch):
    seen = resources._gpus()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert resources._gpus() == 0
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert resources._gpus() == min(seen, 1)
