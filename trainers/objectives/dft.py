"""DFT: dynamic fine-tuning, SFT in which each token's loss is weighted by the token's own probability.

loss_t = -sg(p_t) log p_t,   p_t = p(y_t | x, y_<t), sg: no gradient

The weight cancels the factor 1 / p_t in SFT's gradient, so unlikely tokens do not dominate it. Source: "On the
Generalization of SFT" (arXiv 2508.05629). The mean is over tokens, as in TRL's `loss_type="dft"`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainers.losses import Tokens, log_prob
from trainers.objective import NoOptions, Objective

if TYPE_CHECKING:
    from torch import Tensor


def token_loss(tokens: Tokens, options: NoOptions) -> Tensor:
    """-sg(p) log p of each supervised token, of shape (T,); between 0 and 1 / e."""
    logp_T = log_prob(tokens.logits_T_V, tokens.targets_T)
    return -logp_T.detach().exp() * logp_T


OBJECTIVE = Objective(token_loss=token_loss)
