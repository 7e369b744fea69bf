"""LM: plain language modelling, on text that is no chat.

loss_t = -log p(x_t | x_<t)

The formula is that of SFT; what differs are the rows: there is no prompt, every token after the first is supervised.
This is the continued pre-training (CPT) of the literature.
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
    """-log p of each token, in nats, of shape (T,)."""
    return -log_prob(tokens.logits_T_V, tokens.targets_T)
