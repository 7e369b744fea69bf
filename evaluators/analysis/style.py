"""The style of completions: a classifier of the base student's against the teacher's completions.

The classifier is scikit-learn's logistic regression on TF-IDF of 1- to 3-grams of words and punctuation marks. It is
trained on both models' completions of the same prompts, and applied to a trained student's. Cross-validation is by
example: each completion is classified by a classifier that saw no completion of its example. So the topic of an example
does not reveal the model. The contents of boxes are removed and each number is replaced by 0, so that correct and wrong
answers do not reveal it either. What remains is words, punctuation, layout and language, which we call style. The
held-out accuracy on the two models shows whether their styles differ; near 0.5 the student's share has no meaning.

This is our own method: the studies that offmodel reproduces compare styles by reading.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np

from evaluators.engines.generations import Generation
from evaluators.grading.boxed import without_boxed
from evaluators.imports import IMPORTS

FOLDS = 5
DISTINCT = 0.75  # the held-out accuracy from which on the two styles count as different
END = "\n"  # appended to every completion, so that none is empty
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_WORDS_AND_MARKS = r"\w+|[^\w\s]|\n"


@dataclass(frozen=True)
class StyleShares:
    """For one example: the share of each model's completions that are classified as the teacher's."""

    id: str
    base: float
    teacher: float
    student: float


def classify(
    base: Sequence[Generation], teacher: Sequence[Generation], student: Sequence[Generation]
) -> list[StyleShares]:
    """Classify the completions of each example. One that failed counts as not like the teacher's; none of the base's
    and the teacher's may have. Raises ValueError for fewer than two examples."""
    ids = [generation.id for generation in base]
    assert ids == [g.id for g in teacher] == [g.id for g in student], "examples do not pair"
    if len(ids) < 2:
        raise ValueError("a style classifier needs at least two examples: one to train on and one to classify")
    models = (base, teacher, student)
    counts = _ngram_counts([[c.text for generation in model for c in generation.completions] for model in models])
    examples = [np.repeat(range(len(ids)), [len(g.completions) for g in model]) for model in models]  # of each text
    answered = [np.array([c.error is None for g in model for c in g.completions]) for model in models]
    shares: dict[int, StyleShares] = {}
    # Folds by id, which is a hash: the rows may be sorted, for example by level.
    order = sorted(range(len(ids)), key=lambda i: ids[i])
    for fold in range(min(FOLDS, len(ids))):
        held_out = order[fold::FOLDS]
        train = [~np.isin(each, held_out) for each in examples]
        classifier = _trained(counts[0][train[0]], counts[1][train[1]])
        predicted = [classifier.predict(each) * given for each, given in zip(counts, answered, strict=True)]
        for i in held_out:
            means = (float(p[each == i].mean()) for p, each in zip(predicted, examples, strict=True))
            shares[i] = StyleShares(ids[i], *means)
    return [shares[i] for i in range(len(ids))]


def accuracy(shares: Sequence[StyleShares]) -> float:
    """The held-out accuracy on the base student's and the teacher's completions; 0.5 is chance."""
    return fmean([1 - one.base for one in shares] + [one.teacher for one in shares])


def _ngram_counts(texts: list[list[str]]) -> list[Any]:
    """A sparse matrix (texts, n-grams) for each of the three models; the vocabulary is of the first two."""
    with IMPORTS:
        from sklearn.feature_extraction.text import CountVectorizer

    cleaned = [[_NUMBER.sub("0", without_boxed(text)) + END for text in each] for each in texts]
    counter = CountVectorizer(token_pattern=_WORDS_AND_MARKS, ngram_range=(1, 3)).fit([*cleaned[0], *cleaned[1]])
    return [counter.transform(each) for each in cleaned]


def _trained(base: Any, teacher: Any) -> Any:
    """A classifier that predicts 1 for the teacher and 0 for the base student."""
    with IMPORTS:
        from scipy import sparse
        from sklearn.feature_extraction.text import TfidfTransformer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline

    classifier = make_pipeline(TfidfTransformer(sublinear_tf=True), LogisticRegression(C=10.0, max_iter=1000))
    return classifier.fit(sparse.vstack([base, teacher]), [0] * base.shape[0] + [1] * teacher.shape[0])
