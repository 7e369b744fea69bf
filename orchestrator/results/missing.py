"""What a report lacks, and why: points of unfinished trials, with the last failure that the store has of a stage that
they need; budgets of more samples than there are; examples that are not graded."""

from collections.abc import Iterable, Iterator, Mapping

from orchestrator.plan.points import Progress
from orchestrator.plan.trial import Plan, Trial
from orchestrator.results.model import Missing, Results, SkippedExamples, point_of
from orchestrator.stages import evaluate
from orchestrator.store.reader import StageReader
from orchestrator.store.stage import Stage, closure

NOT_RUN = "not run yet"


def missing_of(plan: Plan, progress: Mapping[str, Progress], reader: StageReader) -> Iterator[Missing]:
    """What each unfinished trial lacks, in the order in which it would run it. `progress` is by the key of a trial."""
    for trial in plan.trials:
        if not progress[trial.key].complete:
            lacking = {what: _failure(stages, reader) for what, stages in _lacking(trial, progress[trial.key], reader)}
            # A trial ends at its first failure.
            first = next((reason for reason in lacking.values() if reason), "")
            for what, reason in lacking.items():
                yield Missing(trial=trial.key, what=what, reason=reason or first)


def missing_lines(results: Results) -> Iterator[str]:
    """A line for each failure, with what each trial lacks for it, and one that names trials that have not run yet."""
    failed: dict[str, dict[str, list[str]]] = {}
    for one in results.missing:
        if one.reason:
            failed.setdefault(one.reason, {}).setdefault(one.trial, []).append(one.what)
    for reason, trials in failed.items():
        alike: dict[str, list[str]] = {}
        for trial, lacking in trials.items():
            alike.setdefault("; ".join(lacking), []).append(trial)
        yield "; ".join(f"{', '.join(each)} ({lacking})" for lacking, each in alike.items()) + f": {reason}"
    waiting = dict.fromkeys(one.trial for one in results.missing if not one.reason)
    if waiting:
        yield f"{', '.join(waiting)}: {NOT_RUN}"


def short_lines(results: Results) -> Iterator[str]:
    """A line for each budget of more samples than there are, with the trials that skipped or shrunk it."""
    trials: dict[str, list[str]] = {}
    for one in results.short_budgets:
        trials.setdefault(str(one), []).append(one.trial)
    return (f"{short}: {', '.join(each)}" for short, each in trials.items())


def skipped_of(plan: Plan, reader: StageReader) -> Iterator[SkippedExamples]:
    """The examples that benchmarks skip, which are the same for all models."""
    seen = set()
    for stage in plan.stages:
        if stage.kind == "evaluate" and stage in reader.records:
            benchmark, facts = stage.inputs["generations"].runtime.benchmark, reader.facts(stage)
            if "skipped" in facts and benchmark not in seen:
                seen.add(benchmark)
                examples = reader.read(stage, evaluate.skipped_of)
                yield SkippedExamples(benchmark=benchmark, n=facts["n"] + len(examples), examples=examples)


def missing_from(results: Results, trial: str) -> str:
    """What a trial lacks, each with its reason, in one text; empty for a finished trial."""
    return "; ".join(f"{one.what}: {one.reason or NOT_RUN}" for one in results.missing if one.trial == trial)


def _lacking(trial: Trial, progress: Progress, reader: StageReader) -> Iterator[tuple[str, list[Stage]]]:
    """Names of what a trial lacks, each with its stages."""
    models = {trial.student: trial.untrained_scores, trial.teacher: trial.teacher_scores}
    needed = {f"untrained {model} on {name}": [stage] for model, of in models.items() for name, stage in of.items()}
    needed |= {f"{measure} of the training data": list(stages) for measure, stages in trial.training_data.items()}
    for what, stages in needed.items():
        if any(stage not in reader.records for stage in stages):
            yield what, stages
    for point in progress.missing:
        yield point_of(trial, point).title, list(point.stages())


def _failure(stages: Iterable[Stage], reader: StageReader) -> str:
    """The first stage among these and their inputs that failed, with its reason; empty if none did."""
    for stage in closure(stages):
        # Only a stage whose inputs are done can have failed. A training publishes its checkpoints.
        if stage not in reader.records and all(needed in reader.records for needed in stage.inputs.values()):
            for tried in (stage.runtime.published_by, stage):
                if tried is not None and (reason := reader.failure(tried)) is not None:
                    return f"{tried.address}: {reason}"
    return ""
