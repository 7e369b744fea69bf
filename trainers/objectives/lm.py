"""LM: plain language modelling, on text without a chat template.

loss_t = -log p(x_t | x_<t)

The formula is that of SFT. The rows differ: there is no prompt, and every token after the first is supervised. The
literature calls this continued pre-training (CPT).
"""

from trainers.objective import Objective
from trainers.objectives.sft import token_loss

OBJECTIVE = Objective(token_loss=token_loss, data="token_streams")
