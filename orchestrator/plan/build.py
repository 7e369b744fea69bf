"""A study unfolded into its trials."""

from collections.abc import Collection, Iterator
from functools import partial

from orchestrator import conditions, recoveries
from orchestrator.conditions import CONDITIONS
from orchestrator.plan import hypotheses
from orchestrator.plan.trial import EvaluationPoint, Plan, Trial
from orchestrator.recoveries import RECOVERIES
from orchestrator.stages import train, transform
from orchestrator.stages.builder import Builder
from orchestrator.store.stage import Stage
from orchestrator.study.schema import Pair, Study
from orchestrator.study.settings import StudyError


def build_plan(study: Study) -> Plan:
    """The plan of a study. Raises StudyError for what only shows when the parts meet."""
    made: dict = {}
    check_options(study)
    try:
        builders = [Builder(study, p.student, p.teacher, seed, made) for seed in study.seeds for p in study.pair_list]
        for alias in study.models:
            builders[0].model(alias)
        at = {name: {(pair.student, pair.teacher) for pair in study.pairs_with(name)} for name in study.conditions}
        there = [
            (builder, name) for name in at for builder in builders if (builder.student, builder.teacher) in at[name]
        ]
        trials = tuple(trial for builder, name in there for trial in _trials(builder, name))
        hypotheses.check(study, trials)
        return Plan(study, trials)
    except ValueError as error:
        raise StudyError(str(error)) from error


def check_options(study: Study) -> None:
    """Raise StudyError, with a line for each mistake, for options that a condition or recovery does not take."""
    mistakes = []
    declared = [
        *(partial(conditions.options, name, one) for name, one in study.conditions.items()),
        *(partial(recoveries.options, name, one) for name, one in study.recoveries.items()),
    ]
    for options in declared:
        try:
            options()
        except ValueError as error:
            mistakes.append(str(error))
    if mistakes:
        raise StudyError("\n".join(mistakes))


def _trials(builder: Builder, condition: str) -> Iterator[Trial]:
    """A trial for each recovery that brings a condition's student back; or one, where there is none."""
    study, declared = builder.study, builder.study.conditions[condition]
    options = conditions.options(condition, declared)
    try:
        spec = CONDITIONS.module(declared.kind).build(builder, options)
    except ValueError as error:
        raise ValueError(f"conditions.{condition}: {error}") from error
    benchmarks = spec.benchmarks or {name: study.benchmarks[name] for name in declared.benchmarks or study.benchmarks}

    def step(recovery: str, budget: int, at: int | None, student: Stage | None) -> EvaluationPoint:
        scores = {name: builder.evaluate(name, one, student, spec.prefill) for name, one in benchmarks.items()}
        divergence = {
            name: builder.divergence(name, benchmarks[name], student)
            for name in study.measures.kl
            if student is not None and name in benchmarks
        }
        style = {name: builder.style(name, scores[name]) for name in study.measures.style if name in scores}
        return EvaluationPoint(recovery, budget, at, student, scores, divergence, style)

    first = [step("", 0, None, spec.student)]
    if spec.student is not None and spec.student.kind == "train":
        checkpoints = sorted(spec.student.runtime["checkpoints"])
        first = [step("", 0, at, train.stopped(spec.student, at)) for at in checkpoints] + first
    learnt = spec.student.inputs.get("data") if spec.student is not None else None
    if learnt is not None and transform.origin(learnt) is None:
        learnt = None  # Streams answer nothing, so there is no prompt under which to look at them.
    original = {name: builder.evaluate_untrained(builder.student, name) for name in study.benchmarks}
    teacher_scores = {name: builder.evaluate_untrained(builder.teacher, name) for name in study.benchmarks}
    training_nll = builder.training_nll(learnt) if study.measures.perplexity and learnt is not None else None
    for name in _recoveries(builder, condition) or [""]:
        brought_back = _brought_back(builder, condition, spec.student, name, benchmarks) if name else {}
        steps = (*first, *(step(name, budget, None, student) for budget, student in brought_back.items()))
        place = (builder.student, builder.teacher, condition, name, builder.seed)
        yield Trial(*place, steps, original, teacher_scores, training_nll)


def _recoveries(builder: Builder, condition: str) -> list[str]:
    """The names of those that bring this builder's student back."""
    mine = Pair(student=builder.student, teacher=builder.teacher)
    named = (name for name, one in builder.study.recoveries.items() if condition in one.conditions)
    return [name for name in named if mine in builder.study.pairs_with(condition, name)]


def _brought_back(
    builder: Builder, condition: str, student: Stage | None, name: str, benchmarks: Collection[str]
) -> dict[int, Stage]:
    """A condition's student after each budget of a recovery."""
    recovery = builder.study.recoveries[name]
    options = recoveries.options(name, recovery)
    try:
        if student is None:
            raise ValueError(f"conditions: {condition} trains no student, so there is none to bring back")
        if recovery.search is not None and recovery.search.benchmark not in benchmarks:
            raise ValueError(f"search.benchmark: {condition} does not ask {recovery.search.benchmark}")
        recover = RECOVERIES.module(recovery.kind).recover
        return {budget: recover(builder, student, budget, recovery, options) for budget in sorted(recovery.budgets)}
    except ValueError as error:
        raise ValueError(f"recoveries.{name}: {error}") from error
