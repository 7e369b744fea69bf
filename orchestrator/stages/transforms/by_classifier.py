"""Removes rows whose prompts resemble the problems of a benchmark, as a small classifier scores them.

Training prompts are not labelled: some may be such problems. So the classifier (logistic regression on TF-IDF of
character n-grams) learns to separate known problems from all training prompts. The rows removed are those whose prompts
score at or above a threshold that a share `recall` of the known problems reaches. That holds for any share of problems
among the training prompts, if those resemble the known ones (the assumption of Elkan & Noto 2008, "Learning classifiers
from only positive and unlabeled data"). Every score is of a classifier that has not seen the text.

A problem's text is the columns that the benchmark's own prompt names, without the instructions around them.
"""

from collections.abc import Sequence
from string import Formatter

from evaluators.benchmarks import BENCHMARKS
from evaluators.imports import IMPORTS
from orchestrator.stages.data import ExampleData, read_examples
from orchestrator.stages.transform import rows_of
from orchestrator.stages.transforms import RowSet
from orchestrator.store.context import StageContext

VERSION = 1
FOLDS = 5


def apply(context: StageContext, like: ExampleData, recall: float) -> RowSet:
    rows = rows_of(context.folder("data"))
    problems = [
        problem_text(like.kind, row) for row in read_examples(like, context.stage.runtime.location, context.store)
    ]
    scores, threshold = classify([row.prompt[-1]["content"] for row in rows], problems, recall)
    judged = [
        row.with_reason(f"its prompt scores {score:.4f}") if score >= threshold else row
        for row, score in zip(rows, scores, strict=True)
    ]
    return RowSet.by_reason(judged, threshold=threshold)


def problem_text(kind: str, row: dict) -> str:
    benchmark = BENCHMARKS.module(kind)
    fields = benchmark.fields(row)
    named = [name for _, name, _, _ in Formatter().parse(benchmark.PROMPT) if name]
    return " ".join(str(fields[name]) for name in named)


def classify(prompts: Sequence[str], problems: Sequence[str], recall: float) -> tuple[list[float], float]:
    """Each prompt's score from 0 to 1, and the threshold that a share `recall` of the known problems reaches.

    Raises ValueError for fewer than FOLDS prompts or problems.
    """
    with IMPORTS:
        import numpy as np
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import StratifiedKFold, cross_val_predict
        from sklearn.pipeline import make_pipeline

    if min(len(prompts), len(problems)) < FOLDS:
        raise ValueError(
            f"{len(prompts)} prompts and {len(problems)} problems are too few for a classifier: "
            f"give at least {FOLDS} of each"
        )
    classifier = make_pipeline(
        TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 4), sublinear_tf=True, max_features=50_000),
        LogisticRegression(C=10.0, max_iter=1000),
    )
    labels = [0] * len(prompts) + [1] * len(problems)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    scores = cross_val_predict(classifier, [*prompts, *problems], labels, cv=folds, method="predict_proba")[:, 1]
    threshold = float(np.quantile(scores[len(prompts) :], 1 - recall))
    return scores[: len(prompts)].tolist(), threshold
