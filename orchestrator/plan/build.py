"""From a study to its plan: the trials, and the stages of each."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial

from orchestrator import conditions, measures, recoveries
from orchestrator.conditions import CONDITIONS
from orchestrator.measures import MEASURES, POINTS, SCORE, STUDENTS, TRAINING_DATA, Evaluation
from orchestrator.plan import hypotheses
from orchestrator.plan.files import missing_files
from orchestrator.plan.trial import EvaluationPoint, Measured, Plan, Trial
from orchestrator.recoveries import RECOVERIES
from orchestrator.stages import train
from orchestrator.stages.builder import Builder, ConditionSpec
from orchestrator.store.stage import Stage
from orchestrator.study.hypotheses import TEACHER, UNTRAINED
from orchestrator.study.schema import Benchmark, Pair, Study
from orchestrator.study.settings import StudyError, study_errors


def build_plan(study: Study) -> Plan:
    """The plan of a study. Raises StudyError for mistakes that only show when its parts are combined."""
    made: dict = {}
    check_options(study)
    with study_errors():
        builders = [Builder(study, p.student, p.teacher, seed, made) for seed in study.seeds for p in study.pair_list]
        for alias in study.models:
            builders[0].model(alias)
        for name in study.data:
            builders[0].dataset(name)
        trials: list[Trial] = []
        for condition in study.conditions:
            pairs = set(study.pairs_with(condition))
            for builder in builders:
                if _pair(builder) in pairs:
                    trials += _trials(builder, condition)
        hypotheses.check(study, trials)
    return Plan(study, tuple(trials))


def check_options(study: Study) -> None:
    """Raise StudyError, a line for each mistake: missing files, and options that a condition, recovery or measure does
    not take."""
    mistakes = list(missing_files(study))
    checks: list[Callable[[], object]] = [
        *(partial(conditions.options, name, one) for name, one in study.conditions.items()),
        *(partial(recoveries.options, name, one) for name, one in study.recoveries.items()),
        *(partial(measures.check, study, name) for name in study.measures),
    ]
    for check in checks:
        try:
            check()
        except ValueError as error:
            mistakes.append(str(error))
    if mistakes:
        raise StudyError("\n".join(mistakes))


def _trials(builder: Builder, condition: str) -> Iterator[Trial]:
    """A trial for each recovery of a condition; a single one for a condition without any."""
    spec, benchmarks = _spec(builder, condition)
    before_recovery = [
        _point(builder, spec, benchmarks, student, step=step) for step, student in _first_training(spec.student)
    ]
    for recovery in _recoveries(builder, condition) or [""]:
        recovered = _recovered(builder, condition, spec.student, recovery, benchmarks) if recovery else {}
        after_recovery = [
            _point(builder, spec, benchmarks, student, recovery=recovery, budget=budget)
            for budget, student in recovered.items()
        ]
        yield Trial(
            student=builder.student,
            teacher=builder.teacher,
            condition=condition,
            recovery=recovery,
            seed=builder.seed,
            points=(*before_recovery, *after_recovery),
            untrained={UNTRAINED: _untrained(builder, builder.student), TEACHER: _teacher(builder)},
            training_data=_training_data(builder, spec.student),
        )


def _spec(builder: Builder, condition: str) -> tuple[ConditionSpec, Mapping[str, Benchmark]]:
    """What a condition declares, and the benchmarks on which its student is evaluated."""
    study, declared = builder.study, builder.study.conditions[condition]
    options = conditions.options(condition, declared)
    with study_errors(f"conditions.{condition}"):
        spec = CONDITIONS.module(declared.kind).build(builder, options)
    names = declared.benchmarks or study.benchmarks
    return spec, spec.benchmarks or {name: study.benchmarks[name] for name in names}


def _first_training(student: Stage | None) -> Iterator[tuple[int | None, Stage | None]]:
    """The checkpoints of a condition's training that are to be evaluated, by step, and its end (None)."""
    if student is not None and student.kind == "train":
        yield from ((step, train.at_step(student, step)) for step in sorted(student.runtime.checkpoints))
    yield None, student


def _point(
    builder: Builder,
    spec: ConditionSpec,
    benchmarks: Mapping[str, Benchmark],
    student: Stage | None,
    recovery: str = "",
    budget: int = 0,
    step: int | None = None,
) -> EvaluationPoint:
    evaluations = [
        Evaluation(
            builder=builder,
            name=name,
            benchmark=benchmark,
            student=student,
            stage=builder.evaluate(name, benchmark, student, spec.prefill),
        )
        for name, benchmark in benchmarks.items()
    ]
    measured: dict[str, dict[str, tuple[Stage, ...]]] = {}
    for measure in measures.measures_of(builder.study, POINTS):
        taken_on = measures.benchmarks_of(builder.study, measure)
        stages = {e.name: MEASURES.module(measure).stages(e) for e in evaluations if e.name in taken_on}
        measured[measure] = {name: each for name, each in stages.items() if each}
    return EvaluationPoint(
        recovery=recovery,
        budget=budget,
        step=step,
        student=student,
        measured=measured,
        of_student=_of_student(builder, student),
    )


def _of_student(builder: Builder, student: Stage | None) -> dict[str, tuple[Stage, ...]]:
    if student is None:
        return {}
    names = measures.measures_of(builder.study, STUDENTS)
    return {name: MEASURES.module(name).stages(builder, student) for name in names}


def _untrained(builder: Builder, alias: str) -> Measured:
    """The evaluations of an untrained model, on all benchmarks."""
    return {SCORE: {name: (builder.evaluate_untrained(alias, name),) for name in builder.study.benchmarks}}


def _teacher(builder: Builder) -> Measured:
    """The evaluations of the teacher; none of a data set, and none where the study says so."""
    evaluated = builder.study.evaluate_teachers and builder.teacher in builder.study.models
    return _untrained(builder, builder.teacher) if evaluated else {SCORE: {}}


def _training_data(builder: Builder, student: Stage | None) -> dict[str, tuple[Stage, ...]]:
    data = student.inputs.get("data") if student is not None else None
    if data is None:
        return {}
    names = measures.measures_of(builder.study, TRAINING_DATA)
    stages = {name: MEASURES.module(name).stages(builder, data) for name in names}
    return {name: each for name, each in stages.items() if each}


def _pair(builder: Builder) -> Pair:
    return Pair(student=builder.student, teacher=builder.teacher)


def _recoveries(builder: Builder, condition: str) -> list[str]:
    """The names of the recoveries that a condition's student goes through."""
    named = (name for name, one in builder.study.recoveries.items() if condition in one.conditions)
    return [name for name in named if _pair(builder) in builder.study.pairs_with(condition, name)]


def _recovered(
    builder: Builder, condition: str, student: Stage | None, name: str, benchmarks: Mapping[str, Benchmark]
) -> dict[int, Stage]:
    """A condition's student after each budget of a recovery, budgets upwards."""
    recovery = builder.study.recoveries[name]
    options = recoveries.options(name, recovery)
    with study_errors(f"recoveries.{name}"):
        if student is None:
            raise ValueError(f"conditions: {condition} trains no student, so there is none to recover")
        if recovery.search is not None and recovery.search.benchmark not in benchmarks:
            raise ValueError(f"search.benchmark: {condition} is not evaluated on {recovery.search.benchmark}")
        recover = RECOVERIES.module(recovery.kind).recover
        return {budget: recover(builder, student, budget, recovery, options) for budget in sorted(recovery.budgets)}
