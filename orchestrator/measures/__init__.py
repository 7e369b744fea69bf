"""The measures of a study, one file each: what is measured of students and of their training data.

A measure is a module of this package with

- `TITLE`, `UNIT`, `LEGEND`: its name in tables, the unit of its values, and what a reader must know of them;
- `SUBJECT`: `POINTS`, measured on benchmarks at every evaluation point; `STUDENTS`, measured of the student of every
  evaluation point; or `TRAINING_DATA`, once per condition;
- `UNTRAINED_MODELS`: the untrained models that it has values of: `untrained` (the base student), `teacher`, or none;
- `GROUPED`: whether it has values by part of a benchmark, such as level, which a hypothesis can compare;
- `stages(evaluation)`: the stages that it needs at a point, given an `Evaluation`; empty if it is not measured there.
  Of students: `stages(builder, student)`; of training data: `stages(builder, data)`;
- `values(reader, stages, of)`: the values in these stages, one for each example, as `Shares` or `Ratios` of
  `evaluators.analysis.values`; of students, a `Figure`. `of` is the trained `student` or one of `UNTRAINED_MODELS`;
- `metrics(facts, untrained)`: the numbers of one seed that MLflow shows, by name, from the facts of its stages and of
  the base student's (empty if it has no stages of its own);
- `COLUMNS`: the columns of its table, each a `Column`.

It may also have

- `check(study, benchmark)`: raises ValueError if it cannot be measured on a benchmark of the study;
- `diagnostics(reader, stages_S)`: further numbers by name, from the stages of all seeds;
- `text(interval)`: a value with its interval in a line of text, by default `0.418 [0.361, 0.476]`.

Its docstring says what it measures, and after `Source:` where it comes from and what is our choice. Untrained models
have stages of their own for the score; the values that another measure has of them come from the stages of any point.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from evaluators.analysis.values import text_of
from evaluators.plugins import Plugins
from orchestrator.stages.builder import Builder
from orchestrator.store.stage import Stage
from orchestrator.study.schema import Benchmark, Study
from orchestrator.study.settings import check_known

PARTS = (
    *("TITLE", "UNIT", "LEGEND", "SUBJECT", "UNTRAINED_MODELS", "GROUPED", "COLUMNS"),
    *("stages", "values", "metrics"),
)
DEFAULTS = {"check": lambda study, benchmark: None, "diagnostics": lambda reader, stages_S: {}, "text": text_of}
MEASURES = Plugins(__name__, "measure", PARTS, DEFAULTS)
SCORE = "score"  # Every study has it; searches, recovery budgets and the main table go by it.
POINTS, STUDENTS, TRAINING_DATA = "students on benchmarks", "students", "training data"


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A student (None: the base student) that was evaluated on a benchmark, which the study calls `name`."""

    builder: Builder
    name: str
    benchmark: Benchmark
    student: Stage | None
    stage: Stage


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of a measure's table. `cell` gives an `Interval`, a number, a text or None of one measurement; `format`
    is how numbers are written."""

    title: str
    cell: Callable[[Any], Any]
    format: str = "{:.3f}"


def check(study: Study, name: str) -> None:
    """Raise ValueError for a measure of a study that does not exist, or that cannot be taken."""
    where = f"measures.{name}"
    if name == SCORE:
        raise ValueError(f"{where}: the score is always measured: leave it out")
    check_known("measures", name, [one for one in MEASURES if one != SCORE], "the measures")
    subject = MEASURES.module(name).SUBJECT
    if subject != POINTS and isinstance(study.measures[name], list):
        raise ValueError(f"{where}: {name} is of {subject} and not of a benchmark: write {name}: true")
    for benchmark in benchmarks_of(study, name):
        try:
            MEASURES.module(name).check(study, benchmark)
        except ValueError as error:
            raise ValueError(f"{where}: {error}: list other benchmarks, as {name}: [maths]") from error


def benchmarks_of(study: Study, measure: str) -> tuple[str, ...]:
    """The benchmarks on which a study measures something; none for a measure that it does not take."""
    given = True if measure == SCORE else study.measures.get(measure, False)
    if isinstance(given, list):
        return tuple(given)
    is_of_points = MEASURES.module(measure).SUBJECT == POINTS
    return tuple(study.benchmarks) if given and is_of_points else ()


def measures_of(study: Study, subject: str) -> tuple[str, ...]:
    """The measures that a study takes of points, the score first, of students, or of training data."""
    taken = [SCORE, *[name for name, given in study.measures.items() if given]]
    return tuple(name for name in taken if subject == MEASURES.module(name).SUBJECT)
