"""The stage `train`: a student is trained, by any objective, on one process or many."""

from typing import Any

from evaluators.benchmarks import BENCHMARKS
from orchestrator.stages import api_models, data
from orchestrator.store.stage import Stage
from orchestrator.study.schema import Problems, Study
from orchestrator.study.train import Train

VERSION = 2
STEPS = "steps.jsonl"  # what was watched, a line for each step
SAMPLED_BY = {"max_tokens", "thinking"}  # all else of a rollout's sampling is the objective's affair


def stage(
    study: Study,
    recipe: Train,
    base: Stage,
    seed: int,
    data: Stage | None = None,
    teacher: Stage | None = None,
    start: Stage | None = None,
    rows: int | None = None,
) -> Stage:
    """A student trained from `base`, or further from `start`: on the answers or rows `data`; without them on
    the study's problems (GRPO), or on its prompts, as a `teacher` finds its answers to them.

    `rows` takes that many of the examples, in an order drawn from the seed.
    """
    if recipe.tuning == "full" and study.dtype == "float16":
        raise ValueError("dtype: full weights are not trained in float16, which loses small gradients; use bfloat16")
    settings: dict[str, Any] = recipe.model_dump(exclude={"checkpoints", "kl_every_steps"})
    for key in recipe.traits.unused_settings:
        del settings[key]
    if recipe.tuning == "full":
        del settings["lora_r"], settings["lora_alpha"]
    if recipe.max_steps is not None:
        del settings["num_train_epochs"], settings["min_steps"]
    settings |= {"seed": seed, "dtype": study.dtype, "rows": rows, "stop_after": None}
    runtime = _runtime(study, base) | {"checkpoints": list(recipe.checkpoints), "kl_every": recipe.kl_every_steps}
    kind = recipe.objective["kind"]
    if teacher is not None:
        api_models.check_judges(teacher, kind)
    if recipe.traits.data == "problems":
        assert study.rl_problems is not None
        settings["rl_problems"] = _problems(study.rl_problems)
        settings["max_model_len"] = study.max_model_len
        runtime["rl_problems"] = study.rl_problems.model_dump()
        on = "problems"
    elif data is not None:
        on = data.name if rows is None else f"{rows}-{data.name}"
        if recipe.traits.on_policy:
            settings |= {
                "sampling_params": study.sampling.model_dump(include=SAMPLED_BY),
                "max_model_len": study.max_model_len,
            }
    else:
        sampling_params = study.sampling.model_dump(include=SAMPLED_BY)
        settings |= {
            "prompts": _prompts(study),
            "sampling_params": sampling_params,
            "max_model_len": study.max_model_len,
        }
        runtime["prompts"] = study.prompts.model_dump()
        on = teacher.name if teacher is not None else "prompts"
        on = on if rows is None else f"{rows}-{on}"
    if recipe.objective != type(recipe).model_fields["objective"].default:
        on += f"-by-{kind}"
    inputs = {"base": base, "data": data, "teacher": teacher, "start": start}
    return Stage(
        "train",
        VERSION,
        f"{base.name}-on-{on}-s{seed}" if start is None else f"{start.name}-then-{on}",
        settings,
        {role: needed for role, needed in inputs.items() if needed is not None},
        runtime,
    )


def stopped(whole: Stage, step: int) -> Stage:
    """The same training, ended after a step: left by the whole one on its way, or run by itself."""
    return Stage(
        whole.kind,
        whole.version,
        f"{whole.name}-at-{step}",
        {**whole.settings, "stop_after": step},
        whole.inputs,
        {**whole.runtime, "checkpoints": [], "published_by": whole},
    )


def _runtime(study: Study, base: Stage) -> dict[str, Any]:
    resources = study.resources.train
    alone = resources.workers == 1 and not resources.zero
    return {
        # Of several processes Ray Train takes care, and whoever starts them needs no CPU meanwhile.
        "cpus": resources.cpus if alone else 0,
        "gpus": resources.gpus if alone else 0,
        "place": resources.model_dump(),
        "retries": study.resources.retries,
        "engine": base.runtime.engine,
    }


def _prompts(study: Study) -> data.PromptData:
    return data.prompt_data(study.prompts)


def _problems(problems: Problems) -> dict[str, Any]:
    module = BENCHMARKS.module(problems.kind)
    return {
        **problems.model_dump(exclude={"source", "n", "seed"}),
        "rows": data.problem_data(problems),
        "prompt": problems.prompt or module.PROMPT,
        "grader": {"version": module.VERSION, **{name: data.version_of(name) for name in module.LIBRARIES}},
    }
