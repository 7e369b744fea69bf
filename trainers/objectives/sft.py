"""SFT: the negative log-likelihood of the answer.

loss_t = -log p(y_t | x, y_<t)

Its mean is over the supervised tokens of the whole step, so that a token counts the same in a long and in a short
answer: TRL's `loss_type="nll"` and the loss of transformers' causal models.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainers.objectives.tokens import Tokens, log_prob

if TYPE_CHECKING:
    from torch import Tensor

MEAN_OVER = "tokens"
REFERENCE = None


@dataclass(frozen=True)
class Options:
    """Nothing to set."""


def token_loss(tokens: Tokens, options: Options) -> Tensor:
    """-log p of each supervised token, in nats, of shape (T,)."""
    return -log_prob(tokens.logits_T_V, tokens.targets_T)
