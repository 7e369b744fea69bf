"""What a measure found: a value for each example, their mean over seeds with its interval, and differences of two.

Two kinds have values for each example. `Shares` have one in [0, 1]; two of them are compared example by example.
`Ratios` have a sum over tokens and the number of tokens, by class of token; their mean per token is a ratio of totals,
and two of them are compared as independent estimates. A `Figure` is one number of a trained student.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from evaluators.analysis.statistics import (
    Interval,
    difference,
    mcnemar,
    mean_of_seeds,
    mean_score,
    paired_change,
    paired_difference,
    ratio,
    smallest_effect,
)
from evaluators.grading.aggregate import group_means

Groups = dict[str, dict[str, float]]  # a mean by part of the benchmark: {"level": {"1": 0.9, ...}}
ALL = "all"  # the class of all tokens


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The values of all seeds in numbers.

    `n` counts the examples of one seed. `value` is the mean over seeds and examples; of ratios, `classes` has it by
    class of token. `untrained` and `teacher` are the means of the untrained models. Only shares have the rest: `change`
    from the untrained student on the same examples; `p` of the exact paired test of no change; `detectable`, the
    smallest change that this test finds in four of five such studies (None where it could find none, and where values
    are not all 0 or 1); and means by part of the benchmark.
    """

    n: int
    value: Interval
    untrained: float | None = None
    teacher: float | None = None
    change: Interval | None = None
    p: float | None = None
    detectable: float | None = None
    groups: Groups = field(default_factory=dict)
    untrained_groups: Groups = field(default_factory=dict)
    classes: dict[str, Interval] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Shares:
    """A value in [0, 1] for each example, and the parts of the benchmark that the example belongs to."""

    ids: list[str]
    values: list[float]
    parts: list[Mapping[str, str | int]] = field(default_factory=list)

    @staticmethod
    def summary(values_S: Sequence["Shares"], untrained: "Shares | None", teacher: "Shares | None") -> Summary:
        """Raises AssertionError unless all are of the same examples in the same order."""
        after_S_E = _stack(values_S)
        found = {
            "n": after_S_E.shape[1],
            "value": mean_score(after_S_E),
            "groups": _by_group(values_S),
            "teacher": None if teacher is None else teacher.mean,
        }
        if untrained is None:
            return Summary(**found)
        assert untrained.ids == values_S[0].ids, "examples do not pair"
        before_E = np.array(untrained.values, dtype=float)
        return Summary(
            **found,
            untrained=untrained.mean,
            change=paired_change(before_E, after_S_E),
            p=mcnemar(before_E, after_S_E),
            detectable=_detectable(before_E, after_S_E),
            untrained_groups=_by_group([untrained]),
        )

    @staticmethod
    def difference(first_S: Sequence["Shares"], second_S: Sequence["Shares"]) -> Interval:
        """First minus second, on the same examples in any order."""
        ids = set(first_S[0].ids)
        assert ids == set(second_S[0].ids), "examples do not pair"
        return paired_difference(
            _stack([one.only(ids) for one in first_S]), _stack([one.only(ids) for one in second_S])
        )

    @staticmethod
    def mean_of(values_S: Sequence["Shares"]) -> float:
        """The mean over seeds and examples."""
        return float(_stack(values_S).mean())

    @property
    def mean(self) -> float:
        return float(np.array(self.values, dtype=float).mean())

    def only(self, ids: Set[str]) -> "Shares":
        """Only these examples, in the order of their ids."""
        kept = sorted((i for i, id in enumerate(self.ids) if id in ids), key=lambda i: self.ids[i])
        parts = [self.parts[i] for i in kept] if self.parts else []
        return Shares(ids=[self.ids[i] for i in kept], values=[self.values[i] for i in kept], parts=parts)


@dataclass(frozen=True, kw_only=True)
class Ratios:
    """For each example a sum over tokens and the number of tokens, by class of token."""

    ids: list[str]
    sums: list[dict[str, float]]
    tokens: list[dict[str, int]]

    @staticmethod
    def summary(values_S: Sequence["Ratios"], untrained: "Ratios | None", teacher: "Ratios | None") -> Summary:
        pooled = _pooled(values_S)
        classes = {name: pooled.per_token(name) for name in pooled.classes}
        return Summary(
            n=len(pooled.ids),
            value=classes[ALL],
            classes=classes,
            untrained=None if untrained is None else untrained.per_token().value,
            teacher=None if teacher is None else teacher.per_token().value,
        )

    @staticmethod
    def difference(first_S: Sequence["Ratios"], second_S: Sequence["Ratios"]) -> Interval:
        """First minus second of two independent estimates. Sets of completions of the same prompts rise and fall
        together, if at all, which makes this interval too wide and never too narrow."""
        return difference(_pooled(first_S).per_token(), _pooled(second_S).per_token())

    @staticmethod
    def mean_of(values_S: Sequence["Ratios"]) -> float:
        """The mean per token over seeds and examples."""
        return _pooled(values_S).per_token().value

    @property
    def classes(self) -> list[str]:
        """The classes of tokens that the examples have."""
        return list(dict.fromkeys(name for tokens in self.tokens for name, count in tokens.items() if count))

    def per_token(self, name: str = ALL) -> Interval:
        """The mean per token of a class, with its interval over examples. It is the interval of these trained students:
        how much others, trained with other seeds, differ is not in it."""
        kept = [i for i, tokens in enumerate(self.tokens) if tokens.get(name)]
        sums = np.array([self.sums[i][name] for i in kept])
        return ratio(sums, np.array([self.tokens[i][name] for i in kept], dtype=float))


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One number of a trained student."""

    value: float

    @staticmethod
    def summary(values_S: Sequence["Figure"], untrained: None, teacher: None) -> Summary:
        return Summary(n=len(values_S), value=mean_of_seeds([one.value for one in values_S]))


def halves(parts: Sequence[str | int], where: str = "group_by") -> tuple[set[str | int], set[str | int]]:
    """The lower and the higher half of the parts there are; of an odd number, the middle one is in neither."""
    if not all(str(part).isdigit() for part in parts):
        raise ValueError(f"{where}: its parts have no order; give one whose parts are numbers, as level")
    ordered = sorted(set(parts), key=int)
    if len(ordered) < 2:
        raise ValueError(f"{where}: there is one part only, so that there are no halves")
    half = len(ordered) // 2
    return set(ordered[:half]), set(ordered[-half:])


def text_of(interval: Interval, format: str = "{:.3f}") -> str:
    """`0.418 [0.361, 0.476]`."""
    return f"{format} [{format}, {format}]".format(interval.value, interval.low, interval.high)


def _stack(values_S: Sequence[Shares]) -> np.ndarray:
    """(seeds, examples)."""
    assert all(one.ids == values_S[0].ids for one in values_S), "examples do not pair"
    return np.array([one.values for one in values_S], dtype=float)


def _by_group(values_S: Sequence[Shares]) -> Groups:
    return group_means(pair for one in values_S if one.parts for pair in zip(one.parts, one.values, strict=True))


def _detectable(before_E: np.ndarray, after_S_E: np.ndarray) -> float | None:
    if not set(np.unique([before_E, *after_S_E])) <= {0.0, 1.0}:
        return None  # Means of several completions change by less than a verdict.
    n, discordant = len(before_E), float((after_S_E != before_E).mean())
    found = smallest_effect(n, discordant) if discordant else math.nan
    if math.isnan(found):  # A change that can be found changes more verdicts than these: all the same way, at best.
        found = smallest_effect(n)
    return None if math.isnan(found) else found


def _pooled(values_S: Sequence[Ratios]) -> Ratios:
    """The values of several seeds for an example as one, since they vary together."""
    if len(values_S) == 1:
        return values_S[0]
    sums: dict[str, dict[str, Any]] = defaultdict(lambda: defaultdict(float))
    tokens: dict[str, dict[str, Any]] = defaultdict(lambda: defaultdict(int))
    for one in values_S:
        for id, own_sums, own_tokens in zip(one.ids, one.sums, one.tokens, strict=True):
            for name in own_sums:
                sums[id][name] += own_sums[name]
                tokens[id][name] += own_tokens[name]
    return Ratios(ids=list(sums), sums=[dict(s) for s in sums.values()], tokens=[dict(t) for t in tokens.values()])
