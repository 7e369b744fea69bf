"""Whose style an answer is in: a probe that tells the original student's answers from the teacher's.

Logistic regression on TF-IDF of words and marks, one to three in a row (scikit-learn), is fitted on the answers of both
to the same prompts and applied to the answers of a trained student. Examples are dealt into folds, and every answer,
the trained student's too, is judged by a probe that has seen no answer to its example: it cannot know an answer by what
it is about. So that right and wrong answers do not give the two away, what is in a box is left out, and every number is
written as 0. What the two do differently all over (words, marks, layout, language) is left, and is what we call style.
The probe's accuracy on the answers of these two says whether there is a difference to be seen: near one half a share
means nothing.

Our own design: the studies that offmodel repeats tell styles apart by reading.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from evaluators.engines.generations import Generation
from evaluators.grading.boxed import without_boxed

FOLDS = 5
CLEAR = 0.75  # the held-out accuracy from which on the two styles count as told apart
END = "\n"  # of every answer, so that none is empty
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_WORDS_AND_MARKS = r"\w+|[^\w\s]|\n"


@dataclass(frozen=True)
class Read:
    """Of one example, the share of answers that read like the teacher's: of the original student's, the teacher's, and
    the trained student's answers."""

    id: str
    original: float
    teacher: float
    student: float

    def share_of(self, whose: str) -> float:
        return {"original": self.original, "teacher": self.teacher, "student": self.student}[whose]


def read(original: Sequence[Generation], teacher: Sequence[Generation], student: Sequence[Generation]) -> list[Read]:
    """Whom the answers to each example read like. Raises ValueError for fewer than two examples."""
    ids = [one.id for one in original]
    assert ids == [one.id for one in teacher] == [one.id for one in student], "examples do not pair"
    if len(ids) < 2:
        raise ValueError("a probe of style needs two examples or more, to be tried on one that it has not seen")
    three = (original, teacher, student)
    counts = _counted([[answer.text for one in each for answer in one.completions] for each in three])
    of = [
        np.repeat(range(len(ids)), [len(one.completions) for one in each]) for each in three
    ]  # which example's each is
    found: dict[int, Read] = {}
    # Dealt by id, which is a hash: rows may come in an order, as of levels.
    dealt = sorted(range(len(ids)), key=lambda i: ids[i])
    for fold in range(min(FOLDS, len(ids))):
        held_out = dealt[fold::FOLDS]
        seen = [~np.isin(each, held_out) for each in of]
        probe = _fitted(counts[0][seen[0]], counts[1][seen[1]])
        verdicts = [probe.predict(each) for each in counts]
        for i in held_out:
            found[i] = Read(ids[i], *(float(said[each == i].mean()) for said, each in zip(verdicts, of, strict=True)))
    return [found[i] for i in range(len(ids))]


def accuracy(read: Sequence[Read]) -> float:
    """How often the probe tells the original student's and the teacher's answers apart; one half is chance."""
    return fmean([1 - one.original for one in read] + [one.teacher for one in read])


def read_file(path: Path) -> list[Read]:
    return [Read(**json.loads(line)) for line in path.read_text().splitlines()]


def _counted(texts: list[list[str]]) -> list[Any]:
    """How often each text has each sequence of words and marks, for the three of them."""
    from sklearn.feature_extraction.text import CountVectorizer

    worded = [[_NUMBER.sub("0", without_boxed(text)) + END for text in each] for each in texts]
    counter = CountVectorizer(token_pattern=_WORDS_AND_MARKS, ngram_range=(1, 3)).fit([*worded[0], *worded[1]])
    return [counter.transform(each) for each in worded]


def _fitted(original: Any, teacher: Any) -> Any:
    """A probe whose `predict` is 1 for counts that read like the teacher's."""
    from scipy import sparse
    from sklearn.feature_extraction.text import TfidfTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    probe = make_pipeline(TfidfTransformer(sublinear_tf=True), LogisticRegression(C=10.0, max_iter=1000))
    return probe.fit(sparse.vstack([original, teacher]), [0] * original.shape[0] + [1] * teacher.shape[0])
