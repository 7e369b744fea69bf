"""How much work stages are, before they run: completions, tokens, steps, and the most stages of a run."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from evaluators.benchmarks import BENCHMARKS
from evaluators.rows import is_file, read_rows
from orchestrator.plan.bisection import paths
from orchestrator.plan.hypotheses import pairs_of
from orchestrator.plan.points import completed_points
from orchestrator.plan.trial import EvaluationPoint, Plan
from orchestrator.stages import data, dataset
from orchestrator.stages.sample import BenchmarkPrompts
from orchestrator.stages.train import RLProblems, TrainingPrompts
from orchestrator.stages.transform import most_rows_made, origin
from orchestrator.store.stage import Stage, closure
from orchestrator.study.benchmarks import Benchmark, GradedBenchmark
from orchestrator.study.hypotheses import Point, points
from orchestrator.study.schema import Study


def cost_of(stages: Iterable[Stage], study: Study) -> tuple[int, int]:
    """How many completions these stages will sample, and the most tokens of all of them."""
    asked = [asked_of(stage, study) for stage in stages]
    return sum(n for n, _ in asked), sum(n * longest for n, longest in asked)


def asked_of(stage: Stage, study: Study) -> tuple[int, int]:
    """How many completions a stage will sample, and the most tokens of one."""
    if stage.kind == "train" and stage.runtime.published_by is None:  # A training publishes its checkpoints.
        sampling = stage.settings.sampling
        if sampling is None:
            return 0, 0
        return steps_of(stage, study) * stage.settings.completions_per_step, sampling.max_tokens
    if stage.kind != "sample":
        return 0, 0
    params = stage.settings.sampling_params
    if stage.runtime.benchmark is None:
        return _prompts_of(stage) * params.n, params.max_tokens
    examples = examples_of(study.benchmarks[stage.runtime.benchmark]) or 0
    if params is None:  # How long the completions of a task of lm-eval are is known only where the study says it.
        sampling = stage.settings.prompts.sampling
        return examples * sampling.samples, sampling.max_tokens or 0
    return examples * params.n, params.max_tokens


def examples_of(benchmark: Benchmark) -> int | None:
    """How many examples a benchmark has; None for all examples of a task of lm-eval or of a hub data set."""
    if benchmark.n is not None:
        return benchmark.n
    if benchmark.source is not None:
        return len(read_rows(benchmark.source)) if is_file(benchmark.source) else None
    return BENCHMARKS.module(benchmark.kind).ROWS if isinstance(benchmark, GradedBenchmark) else None


def _prompts_of(sample: Stage) -> int:
    """The most prompts of a sample of training prompts; one that rephrases completions has as many as they."""
    while "generations" in sample.inputs:
        sample = sample.inputs["generations"]
    if isinstance(sample.settings.prompts, BenchmarkPrompts):
        problems = sample.settings.prompts.examples.n
        assert problems is not None
        return problems
    if "prompts" in sample.inputs:
        return dataset.most_rows(sample.inputs["prompts"])
    return data.most_prompts(sample.settings.prompts, sample.runtime.location)


def steps_of(train: Stage, study: Study) -> int:
    """The most steps of a training. It may have fewer: truncated completions are no training rows."""
    settings = train.settings
    return settings.train.max_steps or settings.train.steps(settings.rows or _rows_in(train, study))


def _rows_in(train: Stage, study: Study) -> int:
    """The most rows of a training."""
    match train.settings.examples:
        case RLProblems() as problems:
            n = problems.prompts.examples.n
            assert n is not None
            return n
        case TrainingPrompts() as examples:
            if examples.prompts is None:
                return dataset.most_rows(train.inputs["prompts"])
            return data.most_prompts(examples.prompts, train.runtime.location)
    return rows_in(train.inputs["data"], study)


def rows_in(data: Stage, study: Study) -> int:
    """The most training rows of a data stage: transformations add none."""
    made = most_rows_made(data)
    if made is not None:
        return made
    sample = origin(data)
    if sample is None:  # streams, one for each answer
        return rows_in(data.inputs["like"], study)
    return asked_of(sample, study)[0]


def stages_per_experiment(plan: Plan) -> tuple[int, int, int]:
    """The number of experiments in a study's hypotheses, the stages that they need one by one, and together."""
    each: dict[int | str, set[Stage]] = defaultdict(set)
    for hypothesis in plan.study.hypotheses:
        if hypothesis.experiment is None:
            continue
        for pair in pairs_of(hypothesis, plan.study):
            for point in points(hypothesis, *pair):
                each[hypothesis.experiment] |= set(closure(_of_point(point, plan)))
    return len(each), sum(map(len, each.values())), len(set().union(*each.values()))


def _of_point(point: Point, plan: Plan) -> Iterator[Stage]:
    """The stages of a point's trials up to its recovery, and those of the pair's untrained models."""
    for trial in plan.trials:
        if (trial.student, trial.teacher) == (point.student, point.teacher):
            yield from (*trial.untrained_scores.values(), *trial.teacher_scores.values())
            if trial.condition == point.condition and point.recovery in (None, trial.recovery):
                yield from trial.references()
                for evaluated in trial.points:
                    if not evaluated.recovery or evaluated.recovery == point.recovery:
                        yield from evaluated.stages()


def most_to_run(plan: Plan, records: dict[Stage, dict[str, Any]]) -> int:
    """The most stages that a run of this plan has left. Of budgets that are bisected, those of the longest path count.

    Trials that measure the same stages take the same path, so that their paths count once.
    """
    certain: set[Stage] = set()
    paths_by_trial: dict[tuple[str, frozenset[Stage]], list[set[Stage]]] = {}
    for trial in plan.trials:
        if completed_points(trial, plan.study, records) is not None:
            continue
        bisected = trial.recovery and plan.study.recoveries[trial.recovery].search is not None
        evaluated = [point for point in trial.points if not (bisected and point.budget)]
        certain |= set(closure([*trial.references(), *(stage for point in evaluated for stage in point.stages())]))
        if bisected:
            by_budget = {point.budget: set(closure(_stages_of(point))) for point in trial.points if point.budget}
            measured = frozenset[Stage]().union(*by_budget.values())
            paths_by_trial[trial.recovery, measured] = [
                set[Stage]().union(*(by_budget[budget] for budget in path)) for path in paths(sorted(by_budget))
            ]
    done = records.keys()
    longest = sum(max(len(path - certain - done) for path in each) for each in paths_by_trial.values())
    return min(len(certain - done) + longest, len(plan.stages) - len(records))


def _stages_of(point: EvaluationPoint) -> Iterator[Stage]:
    yield from point.stages()
    if point.student is not None and point.student.runtime.published_by is not None:
        yield point.student.runtime.published_by


def beyond_the_data(plan: Plan) -> Iterator[str]:
    """A line for each recovery with a budget of more rows than its data has, and for each training that ends before one
    of its checkpoints."""
    for trial in plan.trials:
        for point in trial.points:
            if point.recovery and point.student is not None and point.student.settings.rows is not None:
                has, wanted = _rows_in(point.student, plan.study), point.student.settings.rows
                if wanted > has:
                    yield (
                        f"recoveries.{point.recovery}.budgets: {wanted} samples are asked for, but the {has} prompts "
                        f"give {has}: lower the budget, or raise prompts.n"
                    )
            if point.step is not None and point.student is not None:
                steps = steps_of(point.student, plan.study)
                if point.step > steps:
                    yield f"train.checkpoints: {point.step} is beyond the {steps} steps of conditions.{trial.condition}"
