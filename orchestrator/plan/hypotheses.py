"""Which points of a study its hypotheses compare, and whether the study measures them."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from evaluators.analysis.values import halves
from evaluators.benchmarks import BENCHMARKS
from orchestrator import measures
from orchestrator.measures import MEASURES, STUDENTS, TRAINING_DATA
from orchestrator.plan.trial import EvaluationPoint, Trial
from orchestrator.stages import data
from orchestrator.study.benchmarks import GRADED
from orchestrator.study.hypotheses import TEACHER, UNTRAINED, Hypothesis, Point, points
from orchestrator.study.schema import Study
from orchestrator.study.settings import check_known, study_errors


def pairs_of(hypothesis: Hypothesis, study: Study) -> list[tuple[str, str]]:
    """The pairs for which a hypothesis is tested."""
    compare = hypothesis.compare
    untrained = compare.condition in (UNTRAINED, TEACHER)
    has = study.pair_list if untrained else study.pairs_with(compare.condition, compare.recovery or "")
    every = [(pair.student, pair.teacher) for pair in has]
    return [(s, t) for s, t in every if compare.student in (None, s) and compare.teacher in (None, t)]


def trials_of(point: Point, trials: Sequence[Trial]) -> Iterator[Trial]:
    """The trials of a point's pair and condition: one for each seed and recovery."""
    place = (point.student, point.teacher, point.condition)
    return (trial for trial in trials if (*trial.pair, trial.condition) == place)


def is_at(evaluated: EvaluationPoint, point: Point) -> bool:
    """Whether this is the evaluation point that a hypothesis names."""
    same_place = (evaluated.budget, evaluated.step) == (point.budget, point.step)
    return same_place and point.recovery in (None, evaluated.recovery)


def check(study: Study, trials: Sequence[Trial]) -> None:
    """Raise ValueError for a hypothesis about something that this study does not measure."""
    for number, hypothesis in enumerate(study.hypotheses):
        with study_errors(f"hypotheses.{number} ({hypothesis.claim})"):
            _check_names(hypothesis, study)
            _check_metric(hypothesis, study)
            pairs = pairs_of(hypothesis, study)
            if not pairs:
                raise ValueError(f"compare: {hypothesis.compare.student} / {hypothesis.compare.teacher} is no pair")
            for pair in pairs:
                _check_pair(hypothesis, pair, study, trials)


def check_parts(study: Study, reads: Callable[[str | None], bool]) -> None:
    """Raise ValueError for a hypothesis by parts that the benchmark's rows do not have. `reads` says of a benchmark's
    source whether its rows are read."""
    for number, hypothesis in enumerate(study.hypotheses):
        if hypothesis.group_by is None:
            continue
        name = str(hypothesis.compare.benchmark)
        benchmark = study.benchmarks[name]
        where = f"hypotheses.{number} ({hypothesis.claim}): group_by"
        if benchmark.task is not None:
            raise ValueError(f"{where}: {name} is a task of lm-eval, whose parts are not known: {GRADED}")
        if not reads(benchmark.source):
            continue
        groups = [BENCHMARKS.module(benchmark.kind).group(row) for row in data.load_examples(benchmark)]
        check_known(where, hypothesis.group_by, groups[0], f"the parts of {name}")
        halves([group[hypothesis.group_by] for group in groups], where)


def _sides(hypothesis: Hypothesis) -> tuple[tuple[str, Point], tuple[str, Point]]:
    return ("compare", hypothesis.compare), ("versus", hypothesis.versus)


def _check_names(hypothesis: Hypothesis, study: Study) -> None:
    known: dict[str, tuple[Iterable[str], str]] = {
        "condition": ([*study.conditions, UNTRAINED, TEACHER], f"conditions, {UNTRAINED} and {TEACHER}"),
        "benchmark": (study.benchmarks, "benchmarks"),
        "recovery": (study.recoveries, "recoveries"),
        "student": ({pair.student for pair in study.pair_list}, "students of pairs"),
        "teacher": ({pair.teacher for pair in study.pair_list}, "teachers of pairs"),
    }
    for side, point in _sides(hypothesis):
        for key, (names, of) in known.items():
            if getattr(point, key) is not None:
                check_known(f"{side}.{key}", getattr(point, key), names, of)
    for name in (UNTRAINED, TEACHER):
        if name in study.conditions:
            raise ValueError(
                f"conditions.{name}: this is what hypotheses call an untrained model: rename the condition"
            )


def _check_metric(hypothesis: Hypothesis, study: Study) -> None:
    """Whether the study takes this measure, and the two sides are something that it is of."""
    metric = hypothesis.metric
    check_known("metric", metric, MEASURES.names(), "the measures")
    measure = MEASURES.module(metric)
    if measure.SUBJECT == STUDENTS:
        raise ValueError(f"metric: {metric} is reported of students, and not compared: use score or another measure")
    if metric not in measures.measures_of(study, measure.SUBJECT):
        raise ValueError(f"metric: {metric} is not measured: add {metric} to measures")
    if hypothesis.group_by is not None and not measure.GROUPED:
        raise ValueError(f"group_by has no effect on {metric}: it has no values by part of a benchmark")
    if measure.SUBJECT != TRAINING_DATA and hypothesis.compare.benchmark is None:
        raise ValueError("compare.benchmark: missing")
    for side, point in _sides(hypothesis):
        if point.condition in (UNTRAINED, TEACHER) and point.condition not in measure.UNTRAINED_MODELS:
            raise ValueError(f"{side}: {metric} is not measured of the {point.condition}: give the name of a condition")
        if measure.SUBJECT == TRAINING_DATA and (point.benchmark or point.budget or point.step is not None):
            raise ValueError(f"{side}: {metric} is of training data: leave benchmark, budget and step out")


def _check_pair(hypothesis: Hypothesis, pair: tuple[str, str], study: Study, trials: Sequence[Trial]) -> None:
    both = points(hypothesis, *pair)
    if both[0] == both[1]:
        raise ValueError(f"{both[0]} of {' / '.join(pair)} is compared with itself")
    for side, point in zip(("compare", "versus"), both, strict=True):
        with study_errors(side):
            _check_point(hypothesis.metric, point, study, trials)
    _check_pairing(both, study)


def _check_point(metric: str, point: Point, study: Study, trials: Sequence[Trial]) -> None:
    """Whether a measure is taken of a point with all names filled in."""
    if (point.student, point.teacher) not in {(pair.student, pair.teacher) for pair in study.pair_list}:
        raise ValueError(f"{point.student} / {point.teacher} is not among the pairs of the study")
    of_training_data = MEASURES.module(metric).SUBJECT == TRAINING_DATA
    if not of_training_data:
        check_known(f"measures.{metric}", str(point.benchmark), measures.benchmarks_of(study, metric), "these")
    if point.condition == TEACHER and (point.teacher in study.data or not study.evaluate_teachers):
        why = "it is a data set" if point.teacher in study.data else "evaluate_teachers is false"
        raise ValueError(f"the teacher {point.teacher} is not evaluated: {why}")
    if point.condition in (UNTRAINED, TEACHER):
        return
    of_condition = [trial for trial in trials_of(point, trials) if trial.seed == study.seeds[0]]
    if not of_condition:
        raise ValueError(f"{point.condition} is not for {point.student} / {point.teacher} (pairs)")
    if of_training_data:
        if metric not in of_condition[0].training_data:
            raise ValueError(f"{point.condition} trains on no given completions, so that there is no {metric} of them")
        return
    evaluated = _evaluated(point, of_condition)
    if point.benchmark not in evaluated.measured[metric]:
        raise ValueError(f"{metric} on {point.benchmark} is not measured: {point.condition} is not evaluated on it")


def _evaluated(point: Point, trials: Sequence[Trial]) -> EvaluationPoint:
    """The one evaluation point of these trials that a hypothesis names."""
    evaluated = [one for trial in trials for one in trial.points]
    found = [one for one in evaluated if is_at(one, point)]
    if not found:
        known = dict.fromkeys(f"step {one.step}" if one.step is not None else _budget(one) for one in evaluated)
        raise ValueError(f"{point} is no point of its trials, which have {', '.join(known)}")
    if len({_budget(one) for one in found}) > 1:
        raise ValueError(f"{point} is a point of several recoveries: name one (recovery)")
    return found[0]


def _budget(evaluated: EvaluationPoint) -> str:
    return f"budget {evaluated.budget}{f' of {evaluated.recovery}' if evaluated.recovery else ''}"


def _check_pairing(both: tuple[Point, Point], study: Study) -> None:
    names = [point.benchmark for point in both if point.benchmark is not None]
    decide = ("kind", "source", "n", "seed", "skip_unreadable")
    rows = {tuple(getattr(study.benchmarks[name], key, False) for key in decide) for name in names}
    if len(rows) > 1:
        raise ValueError(f"{names[0]} and {names[1]} have different examples, so that they do not pair")
