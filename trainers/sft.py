"""SFT: the mean negative log-likelihood of the supervised tokens, over all rows of a step.

loss = - sum_t log p(y_t | x, y_<t) / (number of supervised tokens in the step)

A token counts the same in a long and in a short answer.
"""


def sft_loss(model, ids, labels, supervised: int):
    """The share of a step's loss that these rows bring; `supervised` counts the tokens of the whole step."""
    import torch

    logits = model(input_ids=ids, use_cache=False).logits[:, :-1]
    targets = labels[:, 1:]
    keep = targets != -100
    return torch.nn.functional.cross_entropy(logits[keep].float(), targets[keep], reduction="sum") / supervised
