"""The model as it is trained: a pass over a micro-batch that makes logits only where a token is supervised."""

import torch
from torch import nn

from trainers import packing
from trainers.batches import Batch, collate
from trainers.tokens import Row

APART = 3e-2  # of the logits' size: what two ways of computing them in bfloat16 differ by at most


class Student(nn.Module):
    """A causal language model with its loss. `packed` tells whether its rows may lie in one sequence."""

    def __init__(self, model):
        super().__init__()
        self.model = model
        self.packed = False

    def forward(self, batch: Batch, loss=None):
        """The logits (T, V) of a micro-batch's supervised tokens in float32, or what `loss` makes of them."""
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
    """Have the student's rows packed if its layers see no further than a row's ends: measured, not read off its config.

    Some models mix tokens by other means than attention (linear attention, convolutions), or by attention with more to
    it than the common kind. Two rows in one sequence must give what one of them gives by itself, and what they give
    must not depend on the other. That one is short, and then as long as the `longest` that will be seen: what is near
    hides in a long row, and some models look otherwise at what is far. `forward(batch)` calls the student by way of
    whatever wraps it.
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
            except (AssertionError, TypeError, ValueError, RuntimeError):  # It has no use for such an attention.
                after = []
    finally:
        student.train(was_training)
    student.packed = bool(after) and all(
        torch.equal(one, other) and (one - by_itself).abs().max() < APART * by_itself.abs().max()
        for (one, other), by_itself in zip(after, alone, strict=True)
    )
    if not student.packed:
        student.model.set_attn_implementation(own)
    return student.packed
