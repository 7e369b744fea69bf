"""SFT: the negative log-likelihood of the answer.

loss_t = -log p(y_t | x, y_<t)

The mean is over the supervised tokens of the whole step, so tokens of long and of short answers have equal weights.
This is TRL's `loss_type="nll"`, and the loss of transformers' causal models.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainers.losses import Tokens, log_prob
from trainers.objective import NoOptions, Objective

if TYPE_CHECKING:
    from torch import Tensor


def token_loss(tokens: Tokens, options: NoOptions) -> Tensor:
    """-log p of each supervised token, in nats, of shape (T,)."""
    return -log_prob(tokens.logits_T_V, tokens.targets_T)


OBJECTIVE = Objective(token_loss=token_loss)
