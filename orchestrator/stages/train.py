"""The stage `train`: a student is trained by any objective, on one process or many."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from evaluators.engines.chat_template import Thinking
from orchestrator.stages import api_models, data, dataset
from orchestrator.stages.evaluate import grader_version
from orchestrator.stages.sample import BenchmarkPrompts
from orchestrator.stages.transform import origin
from orchestrator.store.stage import Runtime, Stage
from orchestrator.study.resources import TrainResources
from orchestrator.study.schema import Study
from orchestrator.study.train import OF_LORA, Train
from trainers import objectives
from trainers.settings import Lora, TrainSettings

VERSION = 2
STEPS = "steps.jsonl"  # the metrics of each step, one line per step


@dataclass(frozen=True, kw_only=True)
class Completions:
    """Trains on the rows of the input `data`: the answers of a sample, or transformed ones. `rows`: how many of them,
    drawn with the seed; all by default."""

    rows: int | None


@dataclass(frozen=True, kw_only=True)
class TrainingPrompts:
    """Trains on completions that the student samples for training prompts. `rows`: as in Completions.

    `prompts` is None where they are those of the input `prompts`, a data set.
    """

    rows: int | None
    prompts: data.PromptData | None


@dataclass(frozen=True, kw_only=True)
class RLProblems:
    """Trains on completions that the student samples for problems. The problems' benchmark rewards them.

    `grader` has the versions of the benchmark and of the libraries that grade.
    """

    prompts: BenchmarkPrompts
    grader: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class RolloutSampling:
    """How the student samples its own completions. The objective decides the temperature and their number."""

    max_tokens: int
    thinking: Thinking | None
    max_model_len: int | None


@dataclass(frozen=True, kw_only=True)
class TrainStageSettings:
    train: TrainSettings
    examples: Completions | TrainingPrompts | RLProblems
    sampling: RolloutSampling | None  # None: the student does not sample

    @property
    def leaves_adapter(self) -> bool:
        """Whether the stage's files are an adapter on its base, or a checkpoint."""
        return self.train.lora is not None

    @property
    def rows(self) -> int | None:
        """How many examples a budget takes; None for all."""
        return None if isinstance(self.examples, RLProblems) else self.examples.rows

    @property
    def completions_per_step(self) -> int:
        """Completions that the student samples in each step."""
        if self.sampling is None:
            return 0
        sampling = objectives.get(self.train.objective).sampling(self.train.objective_options)
        return self.train.batch_size * sampling.num_generations


@dataclass(frozen=True, kw_only=True)
class TrainRuntime(Runtime):
    """`checkpoints` are the steps after which a checkpoint is published, as the stage `at_step`. `location` is where
    the prompts or problems are. `takes_fewer`: it trains on all rows where there are fewer than it takes, in place of
    an error."""

    resources: TrainResources
    checkpoints: tuple[int, ...] = ()
    kl_every_steps: int = 0
    location: str | None = None
    takes_fewer: bool = False

    @property
    def one_process(self) -> bool:
        """Whether the stage trains in its own process, or in several that Ray Train starts."""
        return self.resources.workers == 1 and not self.resources.zero

    @property
    def processes(self) -> int:
        return self.resources.workers

    @property
    def total(self) -> tuple[float, float]:
        return self.resources.workers * self.resources.cpus, self.resources.workers * self.resources.gpus


def stage(
    study: Study,
    recipe: Train,
    seed: int,
    inputs: Mapping[str, Stage],
    rows: int | None = None,
    takes_fewer: bool = False,
) -> Stage:
    """A student trained by a recipe. The objective decides what it learns from.

    `inputs`: `base`; `start`, an adapter or a checkpoint trained from it, to train further; `data`, if the objective
    learns from given completions; `prompts`, a data set whose prompts it takes; `teacher`, if it compares with one.
    `rows` takes that many examples, in an order drawn from the seed, or all with `takes_fewer` where there are fewer.
    """
    if recipe.tuning == "full" and study.dtype == "float16":
        raise ValueError("dtype: full weights are not trained in float16, which loses small gradients; use bfloat16")
    if (workers := study.resources.train.workers) > recipe.batch_size:
        raise ValueError(
            f"resources.train.workers: {workers} are more than the {recipe.batch_size} rows of a step "
            f"(train.batch_size)"
        )
    if "teacher" in inputs:
        api_models.check_judges(inputs["teacher"], recipe.objective["kind"])
    if recipe.loss_on == "after_reasoning" and "data" in inputs and "reasoning" not in inputs["data"].inputs:
        sample = origin(inputs["data"])  # `reasoning`: own_reasoning has put it there.
        if sample is not None and sample.kind == "sample":
            api_models.check_reasoning(sample.inputs["base"])
    if "data" in inputs and recipe.traits.data != "token_streams" and dataset.is_text(inputs["data"]):
        raise ValueError(
            f"train.objective: {recipe.objective['kind']} needs prompts, and {inputs['data'].name} is text: use lm"
        )
    examples = _examples(study, recipe, rows, inputs)
    settings = TrainStageSettings(
        train=_train_settings(recipe, seed, study.dtype), examples=examples, sampling=_sampling(study, recipe)
    )
    runtime = _runtime(study, recipe, inputs, takes_fewer)
    return Stage("train", VERSION, _name(recipe, seed, inputs, rows), settings, inputs, runtime)


def at_step(training: Stage, step: int) -> Stage:
    """The checkpoint of a training at a step. The training publishes it during its own run."""
    settings = replace(training.settings, train=replace(training.settings.train, stop_after=step))
    runtime = replace(training.runtime, checkpoints=(), published_by=training)
    return replace(training, name=f"{training.name}-at-{step}", settings=settings, runtime=runtime)


def _train_settings(recipe: Train, seed: int, dtype: str) -> TrainSettings:
    """A recipe as the trainer's settings. Those without an effect have their defaults, so that they change no hash."""
    unused = {"tuning", *OF_LORA, "objective", "checkpoints", "kl_every_steps"}
    if recipe.max_steps is not None:
        unused |= {"num_train_epochs", "min_steps"}
    return TrainSettings(
        **recipe.model_dump(exclude=unused),
        seed=seed,
        dtype=dtype,
        lora=_lora(recipe) if recipe.tuning == "lora" else None,
        objective=recipe.objective["kind"],
        options=recipe.objective_options,
    )


def _lora(recipe: Train) -> Lora:
    """A recipe's adapter. The order of its modules does not matter."""
    modules = recipe.target_modules
    names = modules if isinstance(modules, str) else tuple(sorted(set(modules)))
    return Lora(recipe.lora_r, recipe.lora_alpha, names, recipe.lora_dropout)


def _examples(
    study: Study, recipe: Train, rows: int | None, inputs: Mapping[str, Stage]
) -> Completions | TrainingPrompts | RLProblems:
    match recipe.traits.data:
        case "problems":
            problems = study.rl_problems
            assert problems is not None
            assert rows is None
            prompts = BenchmarkPrompts.of(problems, data.problem_data(problems))
            return RLProblems(prompts=prompts, grader=grader_version(problems.kind))
        case "prompts":
            return TrainingPrompts(rows=rows, prompts=None if "prompts" in inputs else data.prompt_data(study.prompts))
        case _:
            return Completions(rows=rows)


def _sampling(study: Study, recipe: Train) -> RolloutSampling | None:
    if not recipe.traits.on_policy:
        return None
    declared = study.rl_problems if recipe.traits.data == "problems" else study.sampling
    assert declared is not None
    return RolloutSampling(
        max_tokens=declared.max_tokens, thinking=declared.thinking, max_model_len=study.max_model_len
    )


def _runtime(study: Study, recipe: Train, inputs: Mapping[str, Stage], takes_fewer: bool) -> TrainRuntime:
    resources = study.resources.train
    declared = {"prompts": study.prompts, "problems": study.rl_problems}.get(recipe.traits.data)
    runtime = TrainRuntime(
        resources=resources,
        checkpoints=tuple(recipe.checkpoints),
        kl_every_steps=recipe.kl_every_steps,
        location=declared.source if declared is not None else None,
        takes_fewer=takes_fewer,
        retries=study.resources.retries,
        engine=inputs["base"].runtime.engine,
        uses_engine=recipe.traits.on_policy,
        cpus=resources.cpus,
        gpus=resources.gpus,
    )
    # Ray Train reserves the resources of several processes; the stage itself needs none meanwhile.
    return runtime if runtime.one_process else replace(runtime, cpus=0, gpus=0)


def _name(recipe: Train, seed: int, inputs: Mapping[str, Stage], rows: int | None) -> str:
    source = inputs.get("data") or inputs.get("teacher")
    learns_from = recipe.traits.data if source is None or recipe.traits.data == "problems" else source.name
    name = learns_from if rows is None else f"{rows}-{learns_from}"
    if recipe.objective != Train.model_fields["objective"].default:
        name += f"-by-{recipe.objective['kind']}"
    return f"{inputs['start'].name}-then-{name}" if "start" in inputs else f"{inputs['base'].name}-on-{name}-s{seed}"
