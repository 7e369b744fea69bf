"""The model in training: a forward pass over a micro-batch that computes logits for supervised tokens only."""

import torch
from torch import nn

from trainers import packing
from trainers.batches import Batch, collate
from trainers.rows import Row

TOLERANCE = 3e-2  # of the largest logit: two ways of computing them in bfloat16 differ by less


class Student(nn.Module):
    """A causal language model with its loss. `packed`: whether rows may be packed into one sequence."""

    def __init__(self, model):
        super().__init__()
        self.model = model
        self.packed = False

    def forward(self, batch: Batch, loss=None):
        """The logits (T, V) of a micro-batch's supervised tokens in float32, or `loss(logits)`."""
        logits = self._logits(batch).float()
        return logits if loss is None else loss(logits)

    def _logits(self, batch: Batch):
        given = {"input_ids": batch.ids, "position_ids": batch.positions, "use_cache": False}
        if batch.layout is not None:
            return self.model(**given, rows=batch.layout, logits_to_keep=batch.places_T).logits[0]
        length = batch.ids.shape[1]
        columns, at = torch.unique(batch.places_T % length, return_inverse=True)
        return self.model(**given, logits_to_keep=columns).logits[batch.places_T // length, at]


def try_packing(student: Student, forward, longest: int, pad_id: int, device) -> bool:
    """Enable packing if the student's layers do not mix rows of one sequence, which is measured.

    Some models mix tokens by other means than attention (linear attention, convolutions), or by attention with special
    features. A row after another in one sequence must give the logits that it gives alone, and they must not depend on
    the other row. This is measured for a short row, where effects of neighbouring tokens are large, and for one of
    `longest` tokens, since some models treat distant tokens differently. `forward(batch)` calls the student through its
    wrapper.
    """
    config = student.model.config
    own = config._attn_implementation
    text = config.get_text_config()
    longest = min(longest, getattr(text, "max_position_embeddings", longest))

    def row(first: int, n: int) -> Row:
        return Row([(first + 7 * i) % text.vocab_size for i in range(n)], [n - 1])

    def seen(rows: list[Row], packed: bool):
        return forward(collate(rows, pad_id, packed=packed, device=device))[-1]

    measured = [row(3, n) for n in {9, max(9, longest)}]
    was_training = student.training
    student.eval()
    try:
        with torch.no_grad():
            alone = [seen([one], packed=False) for one in measured]
            try:
                student.model.set_attn_implementation(packing.register())
                after = [[seen([row(other, 5), one], packed=True) for other in (1, 2)] for one in measured]
            except (AssertionError, TypeError, ValueError, RuntimeError):  # The model does not support this attention.
                after = []
    finally:
        student.train(was_training)
    student.packed = bool(after) and all(
        torch.equal(one, other) and (one - expected).abs().max() < TOLERANCE * expected.abs().max()
        for (one, other), expected in zip(after, alone, strict=True)
    )
    if not student.packed:
        student.model.set_attn_implementation(own)
    return student.packed
