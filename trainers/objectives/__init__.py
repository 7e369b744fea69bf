"""What a training minimises, one file each.

An objective is a module of this package with `Options` (what a study file may set), `MEAN_OVER` ("tokens": the loss of
a step is the mean over its supervised tokens; "rows": the mean over its rows of each row's mean), `REFERENCE` (whose
logits it sees beside the student's: None, "base" for the original student, or "teacher"), and
`token_loss(tokens, options)`: the loss of each supervised token, unweighted, of shape (T,). Those of `ON_POLICY` learn
from the student's own answers (see `trainers/rollouts.py`).
"""

from functools import cache
from importlib import import_module
from types import ModuleType

OBJECTIVES = ("sft", "dft", "lm", "sft_kl", "sdft", "on_policy_distillation", "grpo")
ON_POLICY = ("sdft", "on_policy_distillation", "grpo")


@cache
def module(objective: str) -> ModuleType:
    return import_module(f"{__name__}.{objective}")
