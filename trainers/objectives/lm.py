"""LM: plain language modelling, on text without a chat template.

loss_t = -log p(x_t | x_<t)

The formula is that of SFT. The rows differ: there is no prompt, and every token after the first is supervised. The
literature calls this continued pre-training (CPT).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainers.losses.tokens import Tokens, log_prob
from trainers.objective import Objective

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Options:
    """Nothing to set."""


def token_loss(tokens: Tokens, options: Options) -> Tensor:
    """-log p of each token, in nats, of shape (T,)."""
    return -log_prob(tokens.logits_T_V, tokens.targets_T)


OBJECTIVE = Objective(options=Options, token_loss=token_loss, data="token_streams")
