"""Keeps rows by how likely the base student finds their answers: those between two quantiles.

Inputs: `data`, and `logprobs` of the same data. Rows are ranked by the mean negative log-likelihood per token of the
answer, lowest first, so that [0, 0.5] and [0.5, 1] are exact halves. They keep their order.

With `match`, a regular expression, they are ranked among the rows in whose prompts it matches the same text, so that
all parts have the same kinds of prompts.
"""

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace

from evaluators.analysis.logprobs import ALL
from orchestrator.stages.logprobs import logprobs_of
from orchestrator.stages.transform import rows_of
from orchestrator.stages.transforms import RowSet
from orchestrator.store.context import StageContext

VERSION = 1


def apply(context: StageContext, low: float, high: float, match: str | None = None) -> RowSet:
    nll = {
        one.id: -one.logprob[ALL] / one.tokens[ALL]
        for one in logprobs_of(context.folder("logprobs"))
        if one.tokens[ALL]
    }
    given = rows_of(context.folder("data"))
    kinds = {row.id: kind_of(row.prompt[-1]["content"], match) for row in given}
    chosen = between_quantiles(nll, low, high, kinds)
    rows = []
    for row in given:
        reason = f"{nll[row.id]:.4f} nats a token" if row.id in nll else "its answer is empty"
        rows.append(row if row.id in chosen else row.with_reason(reason))
    made = RowSet.by_reason(rows)
    # Rows, not tokens, have equal weight here: a row is what is kept or not.
    means = {
        name: sum(nll[row.id] for row in part) / len(part)
        for name, part in (
            ("nll_kept", made.kept),
            ("nll_removed", [row for row in made.removed if row.id in nll]),
        )
        if part
    }
    return replace(made, facts=means)


def kind_of(prompt: str, match: str | None) -> str:
    """The text that `match` finds in a prompt; empty where it finds none."""
    found = re.search(match, prompt) if match is not None else None
    return found[0].lower() if found else ""


def between_quantiles(nll: Mapping[str, float], low: float, high: float, kinds: Mapping[str, str]) -> set[str]:
    """The ids whose ranks are between two quantiles; of equal values the order of the ids decides.

    Ids are ranked by where they lie within their kind, so that rare kinds are divided by their values.
    """
    by_kind: dict[str, list[str]] = defaultdict(list)
    for id in sorted(nll, key=lambda id: (nll[id], id)):
        by_kind[kinds[id]].append(id)
    place = {id: (i + 0.5) / len(ids) for ids in by_kind.values() for i, id in enumerate(ids)}
    ranked = sorted(nll, key=lambda id: (place[id], nll[id], id))
    return set(ranked[round(low * len(ranked)) : round(high * len(ranked))])
