"""What stages will ask of the fleet, before they do, and how many a run can come to."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any

from orchestrator.plan.bisection import paths
from orchestrator.plan.hypotheses import pairs_of
from orchestrator.plan.points import completed_points
from orchestrator.plan.trial import EvaluationPoint, Plan
from orchestrator.stages import data
from orchestrator.stages.transform import origin
from orchestrator.store.stage import Stage, canonical_json, closure
from orchestrator.study.hypotheses import Point, points
from orchestrator.study.schema import Prompts, Study
from trainers import objectives


def cost_of(stages: Iterable[Stage], study: Study) -> tuple[int, int]:
    """How many answers these stages will sample, and how many tokens those can have at most."""
    asked = [asked_of(stage, study) for stage in stages]
    return sum(n for n, _ in asked), sum(n * longest for n, longest in asked)


def asked_of(stage: Stage, study: Study) -> tuple[int, int]:
    """How many answers a stage will sample, and how many tokens one can have at most."""
    if stage.kind == "train" and stage.runtime.published_by is None:  # A training publishes its checkpoints.
        return _rollouts(stage, study)
    if stage.kind != "sample":
        return 0, 0
    if "name" not in stage.runtime:
        return _prompts_of(stage), stage.settings["sampling_params"]["max_tokens"]
    benchmark = study.benchmarks[stage.runtime["name"]]
    sampling_params = stage.settings["benchmark"].get(
        "sampling_params", {"n": 1, "max_tokens": 0}
    )  # lm-eval knows its own
    return benchmark.n * sampling_params["n"], sampling_params["max_tokens"]


def _prompts_of(sample: Stage) -> int:
    """The most prompts that a sample of training prompts can have; one that rephrases has those of the other."""
    while "answers" in sample.inputs:
        sample = sample.inputs["answers"]
    return _prompts_in(canonical_json(sample.runtime["prompts"]))


@cache
def _prompts_in(declared: str) -> int:
    prompts = Prompts.model_validate_json(declared)
    # Whether there are as many is looked up before a run: a plan needs no hub.
    return prompts.n or len(data.read_prompts(prompts))


def _rollouts(stage: Stage, study: Study) -> tuple[int, int]:
    """The answers that a student samples while it is trained, and the most tokens of one."""
    settings = stage.settings
    how = settings.get("rl_problems") or settings.get("sampling_params")
    if how is None:
        return 0, 0
    n = steps_of(stage, study) * settings["batch_size"] * _completions_per_prompt(settings["objective"])
    return n, how["max_tokens"]


def _completions_per_prompt(objective: Mapping[str, Any]) -> int:
    declared = objectives.get(objective["kind"])
    options = declared.options(**{key: value for key, value in objective.items() if key != "kind"})
    return declared.sampling(options).num_generations


def steps_of(train: Stage, study: Study) -> int:
    """The most steps that a training can have: answers that were cut off are no rows, so that it may have fewer."""
    settings = train.settings
    if settings.get("max_steps"):
        return settings["max_steps"]
    rows = settings["rows"] or _rows_in(train, study)
    return max(settings["min_steps"], round(settings["num_train_epochs"] * rows / settings["batch_size"]), 1)


def _rows_in(train: Stage, study: Study) -> int:
    """The most rows that a training can have."""
    if "rl_problems" in train.settings:
        return train.settings["rl_problems"]["rows"]["n"]
    if "data" not in train.inputs:
        return _prompts_in(canonical_json(study.prompts.model_dump()))
    return rows_in(train.inputs["data"], study)


def rows_in(data: Stage, study: Study) -> int:
    """The most rows that answers can give: what makes rows of others adds none, and what makes them anew says how many
    (`n`)."""
    sample = origin(data)
    return asked_of(sample, study)[0] if sample is not None else data.settings["n"]


def stages_per_experiment(plan: Plan) -> tuple[int, int, int]:
    """How many experiments a study's findings are of, how many stages they would need if each ran by itself, and how
    many they need together."""
    each: dict[int | str, set[Stage]] = defaultdict(set)
    for finding in plan.study.hypotheses:
        for pair in pairs_of(finding, plan.study):
            for point in points(finding, *pair):
                each[finding.experiment] |= set(closure(_of_point(point, plan)))
    return len(each), sum(map(len, each.values())), len(set().union(*each.values()))


def _of_point(point: Point, plan: Plan) -> Iterator[Stage]:
    """What the trials of a point need: all that is measured there and before, and of the pair's models as they are."""
    for trial in plan.trials:
        if (trial.student, trial.teacher) == (point.student, point.teacher):
            yield from (*trial.original.values(), *trial.teacher_scores.values())
            if trial.condition == point.condition and point.recovery in (None, trial.recovery):
                yield from trial.references()
                for step in trial.steps:
                    if not step.recovery or step.recovery == point.recovery:
                        yield from step.stages()


def most_to_run(plan: Plan, records: dict[Stage, dict[str, Any]]) -> int:
    """How many stages a run of this plan has left, at most: of the budgets that a search chooses from, those of its
    longest way."""
    sure: set[Stage] = set()
    ways: dict[tuple[str, frozenset[Stage]], list[set[Stage]]] = {}
    for trial in plan.trials:
        if completed_points(trial, plan.study, records) is not None:
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


def _needed(step: EvaluationPoint) -> Iterator[Stage]:
    yield from step.stages()
    if step.student is not None and step.student.runtime.published_by is not None:
        yield step.student.runtime.published_by
