"""Which rows make up each step, who gets them, and their tensors."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from trainers.tokens import Row

ALIKE = 0.7  # the shortest row of a block, as a share of its longest: padding costs attention more than blocks do


def row_order(
    rows: int, batch_size: int, steps: int, seed: int, order: Literal["shuffled", "fixed"] = "shuffled"
) -> Iterator[list[int]]:
    """The row numbers of each step: every epoch goes once through all rows, in a new order drawn from the seed."""
    assert rows > 0
    rng = random.Random(seed)
    queue: list[int] = []
    for _ in range(steps):
        while len(queue) < batch_size:
            epoch = list(range(rows))
            if order == "shuffled":
                rng.shuffle(epoch)
            queue += epoch
        yield queue[:batch_size]
        del queue[:batch_size]


def divide(lengths: Sequence[int], workers: int, limit: int, packed: bool) -> list[list[list[int]]]:
    """A step's rows by worker and micro-batch, as places in `lengths`: equally many micro-batches for each worker.

    Rows of like length go together, and every worker gets long ones and short ones. A micro-batch has at most `limit`
    tokens, padding included where rows are not packed; a longer row goes alone. Some may be empty.
    """
    by_length = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    shares = []
    for worker in range(workers):
        batches: list[list[int]] = []
        tokens = 0
        for place in by_length[worker::workers]:
            # Longest first: the first row of a micro-batch is as long as the padded others.
            more = lengths[place] if packed or not batches else lengths[batches[-1][0]]
            if not batches or tokens + more > limit:
                batches.append([])
                tokens, more = 0, lengths[place]
            batches[-1].append(place)
            tokens += more
        shares.append(batches)
    most = max(len(batches) for batches in shares)
    return [batches + [[] for _ in range(most - len(batches))] for batches in shares]


@dataclass(frozen=True)
class Layout:
    """Where the rows of a packed sequence of P tokens lie, for attention, which takes them side by side in blocks.

    `blocks` has each block's number of rows and longest row, `apart_N` the places of their tokens (padded with 0), row
    after row and block after block, and `together_P` finds each token again among these N.
    """

    blocks: tuple[tuple[int, int], ...]
    apart_N: Any
    together_P: Any


@dataclass(frozen=True)
class Batch:
    """A micro-batch: rows packed into one sequence (1, P), or padded on the right (R, L).

    The other tensors have one entry for each supervised token (T): the place in the flattened sequence that predicts
    it, the token itself, the row it is of (a place among the rows given), and what the objective put beside it.
    """

    ids: Any
    positions: Any
    layout: Layout | None
    places_T: Any
    targets_T: Any
    rows_T: Any
    columns: dict[str, Any]


def lay_out(lengths: Sequence[int], starts: Sequence[int], device: Any = None) -> Layout:
    """Blocks for rows of these lengths, which begin at these places of a packed sequence."""
    import torch

    blocks: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if not blocks or lengths[i] < ALIKE * lengths[blocks[-1][0]]:
            blocks.append([])
        blocks[-1].append(i)
    shapes = tuple((len(block), lengths[block[0]]) for block in blocks)
    apart = torch.zeros(sum(rows * longest for rows, longest in shapes), dtype=torch.long)
    together = torch.zeros(sum(lengths), dtype=torch.long)
    at = 0
    for block, (_, longest) in zip(blocks, shapes, strict=True):
        for i in block:
            places = torch.arange(lengths[i])
            apart[at : at + lengths[i]] = starts[i] + places
            together[starts[i] : starts[i] + lengths[i]] = at + places
            at += longest
    return Layout(shapes, apart.to(device), together.to(device))


def collate(rows: Sequence[Row], pad_id: int, packed: bool, device: Any = None) -> Batch:
    """The tensors of some rows."""
    import torch

    assert rows
    lengths = [len(row.ids) for row in rows]
    longest = max(lengths)
    if packed:
        starts = [sum(lengths[:i]) for i in range(len(rows))]
        ids = torch.tensor([[token for row in rows for token in row.ids]])
        positions = torch.cat([torch.arange(n) for n in lengths])[None]
        layout = lay_out(lengths, starts, device)
    else:
        starts = [i * longest for i in range(len(rows))]
        ids = torch.full((len(rows), longest), pad_id)
        for i, row in enumerate(rows):
            ids[i, : len(row.ids)] = torch.tensor(row.ids)
        positions, layout = torch.arange(longest).expand(len(rows), -1), None
    places = [start + place - 1 for start, row in zip(starts, rows, strict=True) for place in row.supervised]
    names = rows[0].columns
    columns = {name: [value for row in rows for value in row.columns[name]] for name in names}
    return Batch(
        ids.to(device),
        positions.to(device),
        layout,
        torch.tensor(places, dtype=torch.long, device=device),
        torch.tensor([row.ids[i] for row in rows for i in row.supervised], dtype=torch.long, device=device),
        torch.tensor([i for i, row in enumerate(rows) for _ in row.supervised], dtype=torch.long, device=device),
        {name: torch.tensor(values, dtype=torch.float32, device=device) for name, values in columns.items()},
    )
