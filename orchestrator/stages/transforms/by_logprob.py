"""Keeps rows by how likely the base student finds their answers: those between two quantiles.

Inputs: `data`, and `logprobs` of the same data. Rows are ranked by the mean negative log-likelihood per token of the
answer, lowest first, so that [0, 0.5] and [0.5, 1] are exact halves. They keep their order.
"""

from dataclasses import replace

from evaluators.analysis.logprobs import ALL
from orchestrator.stages.logprobs import logprobs_of
from orchestrator.stages.transform import rows_of
from orchestrator.stages.transforms import RowSet
from orchestrator.store.context import StageContext

VERSION = 1


def apply(context: StageContext, low: float, high: float) -> RowSet:
    nll = {
        one.id: -one.logprob[ALL] / one.tokens[ALL]
        for one in logprobs_of(context.folder("logprobs"))
        if one.tokens[ALL]
    }
    chosen = between_quantiles(nll, low, high)
    rows = []
    for row in rows_of(context.folder("data")):
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


def between_quantiles(nll: dict[str, float], low: float, high: float) -> set[str]:
    """The ids whose ranks are between two quantiles; of equal values the order of the ids decides."""
    ranked = sorted(nll, key=lambda id: (nll[id], id))
    return set(ranked[round(low * len(ranked)) : round(high * len(ranked))])
