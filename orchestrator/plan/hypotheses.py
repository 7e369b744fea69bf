"""What a study's findings compare, and whether the study measures it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from evaluators.benchmarks import BENCHMARKS
from orchestrator.plan.trial import EvaluationPoint, Trial
from orchestrator.stages import data
from orchestrator.study.hypotheses import ORIGINAL, TEACHER, Hypothesis, Point, points
from orchestrator.study.schema import Study
from orchestrator.study.settings import check_known


def pairs_of(finding: Hypothesis, study: Study) -> list[tuple[str, str]]:
    """The pairs for which a finding is judged."""
    of = finding.compare
    has = study.pair_list if of.condition in (ORIGINAL, TEACHER) else study.pairs_with(of.condition)
    if of.recovery is not None:
        has = study.pairs_with(of.condition, of.recovery)
    every = [(pair.student, pair.teacher) for pair in has]
    return [(s, t) for s, t in every if of.student in (None, s) and of.teacher in (None, t)]


def found_in(step: EvaluationPoint, of: str) -> Mapping[str, Any]:
    """What a step of a trial measures of this kind, by benchmark."""
    if of == "score":
        return step.scores
    return step.divergence if of == "kl" else step.style


def is_at(step: EvaluationPoint, point: Point) -> bool:
    """Whether this step of a trial is the point."""
    return (step.budget, step.at) == (point.budget, point.step) and point.recovery in (None, step.recovery)


def _spent(step: EvaluationPoint) -> str:
    return f"budget {step.budget}{f' of {step.recovery}' if step.recovery else ''}"


def check(study: Study, trials: Sequence[Trial]) -> None:
    """Raise ValueError for a finding that this study would not measure."""
    for number, finding in enumerate(study.hypotheses):
        where = f"hypotheses.{number} ({finding.claim})"
        _check_names(where, finding, study)
        pairs = pairs_of(finding, study)
        if not pairs:
            raise ValueError(f"{where}: compare: {finding.compare.student} / {finding.compare.teacher} is no pair")
        for student, teacher in pairs:
            both = points(finding, student, teacher)
            if both[0] == both[1]:
                raise ValueError(f"{where}: {both[0]} of {student} / {teacher} is compared with itself")
            for role, point in zip(("compare", "versus"), both, strict=True):
                _check_measured(f"{where}: {role}", finding.metric, point, study, trials)
            _check_pairing(where, both, study)


def check_parts(study: Study) -> None:
    """Raise ValueError for a finding by parts that the benchmark's rows do not have; reads those rows."""
    for number, finding in enumerate(study.hypotheses):
        if finding.group_by is None:
            continue
        name = str(finding.compare.benchmark)
        benchmark = study.benchmarks[name]
        where = f"hypotheses.{number} ({finding.claim}): group_by"
        if benchmark.task is not None:
            raise ValueError(f"{where}: {name} is a task of lm-eval, whose parts are not known")
        groups = [BENCHMARKS.module(benchmark.kind).group(row) for row in data.read_benchmark(benchmark)]
        check_known(where, "", finding.group_by, groups[0], f"the parts of {name}")
        halves([group[finding.group_by] for group in groups], where)


def halves(parts: Sequence[str | int], where: str = "by") -> tuple[set[str | int], set[str | int]]:
    """The lower and the higher half of the parts there are; of an odd number, the middle one is in neither."""
    if not all(str(part).isdigit() for part in parts):
        raise ValueError(f"{where}: its parts have no order; give one whose parts are numbers, as level")
    ordered = sorted(set(parts), key=int)
    if len(ordered) < 2:
        raise ValueError(f"{where}: there is one part only, so that there are no halves")
    half = len(ordered) // 2
    return set(ordered[:half]), set(ordered[-half:])


def _check_names(where: str, finding: Hypothesis, study: Study) -> None:
    known = [*study.conditions, ORIGINAL, TEACHER]
    models = {role: {getattr(pair, role) for pair in study.pair_list} for role in ("student", "teacher")}
    for role, point in (("compare", finding.compare), ("versus", finding.versus)):
        check_known(f"{where}: {role}.condition", "", point.condition, known, f"conditions, {ORIGINAL} and {TEACHER}")
        if point.benchmark is not None:
            check_known(f"{where}: {role}.benchmark", "", point.benchmark, study.benchmarks, "benchmarks")
        if point.recovery is not None:
            check_known(f"{where}: {role}.recovery", "", point.recovery, study.recoveries, "recoveries")
        for key, aliases in models.items():
            if getattr(point, key) is not None:
                check_known(f"{where}: {role}.{key}", "", getattr(point, key), aliases, f"{key}s of the pairs")
    for name in (ORIGINAL, TEACHER):
        if name in study.conditions:
            raise ValueError(f"conditions.{name}: findings call a model as it is so: give the condition another name")


def _check_measured(where: str, of: str, point: Point, study: Study, trials: Sequence[Trial]) -> None:
    if (point.student, point.teacher) not in {(pair.student, pair.teacher) for pair in study.pair_list}:
        raise ValueError(f"{where}: {point.student} / {point.teacher} is not among the pairs of the study")
    if of in ("kl", "style"):
        measured = getattr(study.measures, of)
        check_known(where, "", str(point.benchmark), measured, f"measures.{of}")
    if of == "perplexity" and not study.measures.perplexity:
        raise ValueError(f"{where}: perplexity is not measured: set measures.perplexity to true")
    if point.condition in (ORIGINAL, TEACHER):
        if of == "kl" and point.condition == TEACHER:
            raise ValueError(f"{where}: KL is of students: give a condition, or {ORIGINAL}, of which it is 0")
        return
    of_condition = [trial for trial in trials_of(point, trials) if trial.seed == study.seeds[0]]
    if not of_condition:
        raise ValueError(f"{where}: {point.condition} is not for {point.student} / {point.teacher} (pairs)")
    if of == "perplexity":
        if of_condition[0].training_nll is None:
            raise ValueError(f"{where}: {point.condition} trains on no given answers, whose perplexity there would be")
        return
    steps = [step for trial in of_condition for step in trial.steps]
    there = [step for step in steps if is_at(step, point)]
    if not there:
        known = dict.fromkeys(f"step {s.at}" if s.at is not None else _spent(s) for s in steps)
        raise ValueError(f"{where}: {point} is no point of its trials, which have {', '.join(known)}")
    if len({_spent(step) for step in there}) > 1:
        raise ValueError(f"{where}: {point} is a point of several recoveries: say of which (recovery)")
    if point.benchmark not in found_in(there[0], of):
        raise ValueError(f"{where}: {of} on {point.benchmark} is not measured: {point.condition} does not ask it")


def _check_pairing(where: str, both: tuple[Point, Point], study: Study) -> None:
    names = [point.benchmark for point in both if point.benchmark is not None]
    rows = {tuple(getattr(study.benchmarks[name], key) for key in ("kind", "source", "n", "seed")) for name in names}
    if len(rows) > 1:
        raise ValueError(f"{where}: {names[0]} and {names[1]} ask different examples, so that they do not pair")


def trials_of(point: Point, trials: Sequence[Trial]) -> Iterator[Trial]:
    """Those of a point, one for each seed."""
    place = (point.student, point.teacher, point.condition)
    return (trial for trial in trials if (trial.student, trial.teacher, trial.condition) == place)
