"""Rows by how likely the original student finds their answers: those between two quantiles are kept.

Inputs: `data`, and `likelihood` of the same data. Rows are ranked by the mean negative log-likelihood of a token of the
answer, 0 the least surprising, so that [0, 0.5] and [0.5, 1] halve them exactly. They keep their order.
"""

from evaluators.analysis.logprobs import ALL
from orchestrator.stages.logprobs import likelihoods_of
from orchestrator.stages.transform import rows_of
from orchestrator.stages.transforms import RowSet
from orchestrator.store.context import StageContext

VERSION = 1


def make(work: StageContext, low: float, high: float) -> RowSet:
    nll = {
        one.id: -one.logprob[ALL] / one.tokens[ALL]
        for one in likelihoods_of(work.folder("likelihood"))
        if one.tokens[ALL]
    }
    chosen = within(nll, low, high)
    kept, removed = [], []
    for row in rows_of(work.folder("data")):
        if row.id in chosen:
            kept.append(row)
        else:
            removed.append(row.because(f"{nll[row.id]:.4f} nats a token" if row.id in nll else "its answer is empty"))
    # Rows, not tokens, have equal weight here: a row is what is kept or not.
    means = {
        name: sum(each) / len(each)
        for name, each in (
            ("nll_kept", [nll[row.id] for row in kept]),
            ("nll_removed", [nll[row.id] for row in removed if row.id in nll]),
        )
        if each
    }
    return RowSet(kept, removed, means)


def within(nll: dict[str, float], low: float, high: float) -> set[str]:
    """The ids between two quantiles, by rank; of equal ones the order of the ids decides."""
    ranked = sorted(nll, key=lambda id: (nll[id], id))
    return set(ranked[round(low * len(ranked)) : round(high * len(ranked))])
