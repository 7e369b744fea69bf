"""Rows whose prompts are like the problems of a benchmark are removed, as a small classifier tells them.

Training prompts are not labelled: some may be such problems. So the classifier (logistic regression on TF-IDF of
character n-grams) learns to tell known problems from all training prompts, and what is removed are the prompts that
score like known problems: at or above the score that a share `recall` of these reaches. That holds whatever share of
the training prompts are problems, if those are like the known ones (the assumption of Elkan & Noto 2008, "Learning
classifiers from only positive and unlabeled data"). Every score is of a classifier that has not seen the text.

Problems are the columns that the benchmark's own prompt names, without the instructions around them.
"""

from collections.abc import Sequence
from string import Formatter

from evaluators.benchmarks import BENCHMARKS
from orchestrator.stages import data
from orchestrator.stages.transform import rows_of
from orchestrator.stages.transforms import RowSet
from orchestrator.store.context import StageContext
from orchestrator.study.benchmarks import benchmark_of
from orchestrator.study.prompts import Problems

VERSION = 1
FOLDS = 5


def make(work: StageContext, like: dict, recall: float) -> RowSet:
    kind, declared = like["kind"], work.stage.runtime["like"]
    if like["problems"]:
        problems = data.read_problems(Problems(**declared))
    else:
        problems = data.read_benchmark(benchmark_of(declared))
    rows = rows_of(work.folder("data"))
    known = [problem_text(kind, row) for row in problems]
    scores, threshold = told_apart([row.prompt[-1]["content"] for row in rows], known, recall)
    kept, removed = [], []
    for row, score in zip(rows, scores, strict=True):
        if score >= threshold:
            removed.append(row.because(f"its prompt scores {score:.4f}"))
        else:
            kept.append(row)
    return RowSet(kept, removed, {"threshold": threshold})


def problem_text(kind: str, row: dict) -> str:
    benchmark = BENCHMARKS.module(kind)
    fields = benchmark.fields(row)
    named = [name for _, name, _, _ in Formatter().parse(benchmark.PROMPT) if name]
    return " ".join(str(fields[name]) for name in named)


def told_apart(prompts: Sequence[str], known: Sequence[str], recall: float) -> tuple[list[float], float]:
    """How like the known problems each prompt is, and the score that a share `recall` of the known ones reaches."""
    import numpy as np
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline

    if min(len(prompts), len(known)) < FOLDS:
        raise ValueError(
            f"{len(prompts)} prompts and {len(known)} problems are too few to tell apart: give at least {FOLDS} of each"
        )
    classifier = make_pipeline(
        TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 4), sublinear_tf=True, max_features=50_000),
        LogisticRegression(C=10.0, max_iter=1000),
    )
    labels = [0] * len(prompts) + [1] * len(known)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    scores = cross_val_predict(classifier, [*prompts, *known], labels, cv=folds, method="predict_proba")[:, 1]
    threshold = float(np.quantile(scores[len(prompts) :], 1 - recall))
    return scores[: len(prompts)].tolist(), threshold
