"""A study unfolded into its trials."""

from collections.abc import Collection, Iterator

from orchestrator import conditions
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
    try:
        cells = [Builder(study, p.student, p.teacher, seed, made) for seed in study.seeds for p in study.pair_list]
        for alias in study.models:
            cells[0].model(alias)
        at = {name: {(pair.student, pair.teacher) for pair in study.pairs_with(name)} for name in study.conditions}
        there = [(cell, name) for name in at for cell in cells if (cell.student, cell.teacher) in at[name]]
        trials = tuple(trial for cell, name in there for trial in _trials(cell, name))
        hypotheses.check(study, trials)
        return Plan(study, trials)
    except ValueError as error:
        raise StudyError(str(error)) from error


def _trials(cell: Builder, condition: str) -> Iterator[Trial]:
    """A trial for each recovery that brings a condition's student back; or one, where there is none."""
    study, options = cell.study, cell.study.conditions[condition]
    try:
        arm = CONDITIONS.module(conditions.kind_of(condition, options)).arm(
            cell, conditions.options(condition, options)
        )
    except ValueError as error:
        raise ValueError(f"conditions.{condition}: {error}") from error
    names = arm.benchmarks or tuple(options.get("benchmarks") or study.benchmarks)

    def step(recovery: str, budget: int, at: int | None, student: Stage | None) -> EvaluationPoint:
        scores = {name: cell.score(name, student, arm.prefill, arm.asked.get(name)) for name in names}
        divergence = {
            name: cell.divergence(name, student, arm.asked.get(name))
            for name in study.measures.kl
            if student is not None and name in names
        }
        style = {name: cell.style(name, scores[name]) for name in study.measures.style if name in scores}
        return EvaluationPoint(recovery, budget, at, student, scores, divergence, style)

    first = [step("", 0, None, arm.student)]
    if arm.student is not None and arm.student.kind == "train":
        checkpoints = sorted(arm.student.runtime["checkpoints"])
        first = [step("", 0, at, train.stopped(arm.student, at)) for at in checkpoints] + first
    learnt = arm.student.inputs.get("data") if arm.student is not None else None
    if learnt is not None and transform.origin(learnt) is None:
        learnt = None  # Streams answer nothing, so there is no prompt under which to look at them.
    original = {name: cell.score_untrained(cell.student, name) for name in study.benchmarks}
    teacher_scores = {name: cell.score_untrained(cell.teacher, name) for name in study.benchmarks}
    training_nll = cell.training_nll(learnt) if study.measures.perplexity and learnt is not None else None
    for name in _recoveries(cell, condition) or [""]:
        brought_back = _brought_back(cell, condition, arm.student, name, names) if name else {}
        steps = (*first, *(step(name, budget, None, student) for budget, student in brought_back.items()))
        place = (cell.student, cell.teacher, condition, name, cell.seed)
        yield Trial(*place, steps, original, teacher_scores, training_nll)


def _recoveries(cell: Builder, condition: str) -> list[str]:
    """The names of those that bring this cell's student back."""
    mine = Pair(student=cell.student, teacher=cell.teacher)
    named = (name for name, one in cell.study.recoveries.items() if condition in one.conditions)
    return [name for name in named if mine in cell.study.pairs_with(condition, name)]


def _brought_back(
    cell: Builder, condition: str, student: Stage | None, name: str, benchmarks: Collection[str]
) -> dict[int, Stage]:
    """A condition's student after each budget of a recovery."""
    recovery = cell.study.recoveries[name]
    try:
        if student is None:
            raise ValueError(f"conditions: {condition} trains no student, so there is none to bring back")
        if recovery.search is not None and recovery.search.benchmark not in benchmarks:
            raise ValueError(f"search.benchmark: {condition} does not ask {recovery.search.benchmark}")
        recover = RECOVERIES.module(recovery.kind).recover
        return {budget: recover(cell, student, budget, recovery) for budget in sorted(recovery.budgets)}
    except ValueError as error:
        raise ValueError(f"recoveries.{name}: {error}") from error
