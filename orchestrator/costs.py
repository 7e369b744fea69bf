"""What stages will ask of the fleet, before they do."""

from collections.abc import Iterable

from orchestrator import data
from orchestrator.stage import Stage
from orchestrator.study import Study


def cost_of(stages: Iterable[Stage], study: Study) -> tuple[int, int]:
    """How many answers these stages will sample, and how many tokens those can have at most."""
    answers = tokens = 0
    prompts = None
    for stage in stages:
        if stage.kind == "train" and "whole" not in stage.runtime:  # A checkpoint is left by the whole training.
            n, longest = _rollouts(stage, study)
        elif stage.kind != "sample":
            continue
        elif "name" not in stage.runtime:
            prompts = len(data.read_prompts(study.prompts)) if prompts is None else prompts
            n, longest = prompts, study.sampling.max_tokens
        else:
            benchmark = study.benchmarks[stage.runtime["name"]]
            decoding = stage.settings["benchmark"].get("decoding", {"n": 1, "max_tokens": 0})  # lm-eval knows its own
            n, longest = benchmark.n * decoding["n"], decoding["max_tokens"]
        answers += n
        tokens += n * longest
    return answers, tokens


def _rollouts(stage: Stage, study: Study) -> tuple[int, int]:
    """The answers that a student samples while it is trained, and the most tokens of one."""
    settings = stage.settings
    how = settings.get("problems") or settings.get("decoding")
    if how is None:
        return 0, 0
    n = steps_of(stage, study) * settings["batch_size"] * settings["objective"].get("group", 1)
    return n, how["max_tokens"]


def steps_of(train: Stage, study: Study) -> int:
    """The most steps that a training can have: answers that were cut off are no rows, so that it may have fewer."""
    settings = train.settings
    if settings.get("num_steps"):
        return settings["num_steps"]
    if "problems" in settings:
        rows = settings["problems"]["rows"]["n"]
    else:
        rows = settings["rows"] or len(data.read_prompts(study.prompts))
    return max(settings["min_steps"], round(settings["epochs"] * rows / settings["batch_size"]), 1)
