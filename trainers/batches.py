"""Which rows make up each step, and their tensors."""

import random
from collections.abc import Iterator

from trainers.tokens import Row


def row_order(rows: int, batch_size: int, steps: int, seed: int) -> Iterator[list[int]]:
    """The row numbers of each step: every epoch goes once through all rows, in a new order drawn from the seed."""
    assert rows > 0
    rng = random.Random(seed)
    queue: list[int] = []
    for _ in range(steps):
        while len(queue) < batch_size:
            epoch = list(range(rows))
            rng.shuffle(epoch)
            queue += epoch
        yield queue[:batch_size]
        del queue[:batch_size]


def pad(rows: list[Row], pad_id: int):
    """Tensors `ids` and `labels` of shape (rows, longest row), padded on the right; labels are -100 where unsupervised.

    A causal model cannot see what is to its right, so no attention mask is needed.
    """
    import torch

    longest = max(len(row.ids) for row in rows)
    ids = torch.full((len(rows), longest), pad_id)
    labels = torch.full((len(rows), longest), -100)
    for i, row in enumerate(rows):
        ids[i, : len(row.ids)] = torch.tensor(row.ids)
        labels[i, row.supervised_from : len(row.ids)] = torch.tensor(row.ids[row.supervised_from :])
    return ids, labels
