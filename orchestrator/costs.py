"""What stages will ask of the fleet, before they do, and how many of them a run can come to."""

from collections.abc import Iterable, Iterator
from typing import Any

from orchestrator import data
from orchestrator.plan import Plan, Step
from orchestrator.search import paths
from orchestrator.stage import Stage, closure
from orchestrator.study import Study
from orchestrator.trial import steps_walked


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


def most_to_run(plan: Plan, records: dict[Stage, dict[str, Any]]) -> int:
    """How many stages a run of this plan has left, at most: of the budgets that a search chooses from, those of its
    longest way."""
    sure: set[Stage] = set()
    ways: dict[tuple[str, frozenset[Stage]], list[set[Stage]]] = {}
    for trial in plan.trials:
        if steps_walked(trial, plan.study, records) is not None:
            continue
        search = plan.study.recoveries[trial.recovery].search if trial.recovery else None
        certain = [step for step in trial.steps if search is None or not step.budget]
        sure |= set(closure([*trial.references(), *(stage for step in certain for stage in step.stages())]))
        if search is not None:
            needed = {step.budget: set(closure(_needed(step))) for step in trial.steps if step.budget}
            # Trials that measure the same find the same, and go the same way.
            alike: frozenset[Stage] = frozenset().union(*needed.values())
            by_path = (set().union(*(needed[budget] for budget in path)) for path in paths(sorted(needed)))
            ways[trial.recovery, alike] = list(by_path)
    longest = (max(len(way - sure - records.keys()) for way in each) for each in ways.values())
    return min(len(sure - records.keys()) + sum(longest), len(plan.stages) - len(records))


def _needed(step: Step) -> Iterator[Stage]:
    yield from step.stages()
    if step.student is not None and "whole" in step.student.runtime:
        yield step.student.runtime["whole"]  # leaves this one on its way
