"""Which rows make up each step, their micro-batches, and their tensors."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from trainers.rows import Row

SHORTEST_IN_BLOCK = 0.7  # as a share of the block's longest row: padding costs attention more than further blocks


@dataclass(frozen=True)
class StepBatch:
    """The rows of a step, how messages name them, and metrics of them. Completions that the student samples itself have
    their mean length, truncated share, rewards, and staleness: the steps since the weights that sampled them."""

    rows: list[Row]
    name: str
    metrics: dict[str, float]


def row_order(
    rows: int, batch_size: int, steps: int, seed: int, order: Literal["shuffled", "fixed"] = "shuffled"
) -> Iterator[list[int]]:
    """The row numbers of each step. Each epoch has every row once, in a new order drawn from the seed."""
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


def microbatches(lengths: Sequence[int], workers: int, limit: int, packed: bool) -> list[list[list[int]]]:
    """A step's rows by worker and micro-batch, as indices of `lengths`. All workers have the same number of
    micro-batches, of which some may be empty.

    Rows of similar length go together, and every worker gets long and short ones. A micro-batch has at most `limit`
    tokens, padding included where rows are not packed. A longer row makes a micro-batch of its own.
    """
    by_length = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    shares = []
    for worker in range(workers):
        batches: list[list[int]] = []
        tokens = 0
        for place in by_length[worker::workers]:
            # Longest first: the other rows of a micro-batch are padded to the length of its first.
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
class BlockLayout:
    """How attention regroups a packed sequence of P tokens: into blocks of padded rows with N tokens in all.

    `blocks` has the number of rows and the longest row of each block. `gather_N` are the indices in the sequence of the
    blocks' tokens (0 for padding), and `scatter_P` the indices in the blocks of the sequence's tokens.
    """

    blocks: tuple[tuple[int, int], ...]
    gather_N: Any
    scatter_P: Any


@dataclass(frozen=True)
class Batch:
    """A micro-batch: rows packed into one sequence (1, P), or padded on the right (R, L).

    The other tensors have one entry for each supervised token (T): the index in the flattened sequence of the logits
    that predict it, the token itself, the index of its row, and the numbers of the row's columns.
    """

    ids: Any
    positions: Any
    layout: BlockLayout | None
    places_T: Any
    targets_T: Any
    rows_T: Any
    columns: dict[str, Any]


def block_layout(lengths: Sequence[int], starts: Sequence[int], device: Any = None) -> BlockLayout:
    """Blocks of rows of similar length. The rows start at `starts` in the packed sequence."""
    blocks: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if not blocks or lengths[i] < SHORTEST_IN_BLOCK * lengths[blocks[-1][0]]:
            blocks.append([])
        blocks[-1].append(i)
    shapes = tuple((len(block), lengths[block[0]]) for block in blocks)
    gather = torch.zeros(sum(rows * longest for rows, longest in shapes), dtype=torch.long)
    scatter = torch.zeros(sum(lengths), dtype=torch.long)
    at = 0
    for block, (_, longest) in zip(blocks, shapes, strict=True):
        for i in block:
            places = torch.arange(lengths[i])
            gather[at : at + lengths[i]] = starts[i] + places
            scatter[starts[i] : starts[i] + lengths[i]] = at + places
            at += longest
    return BlockLayout(shapes, gather.to(device), scatter.to(device))


def collate(rows: Sequence[Row], pad_id: int, packed: bool, device: Any = None) -> Batch:
    """The tensors of one micro-batch."""
    assert rows
    lengths = [len(row.ids) for row in rows]
    longest = max(lengths)
    if packed:
        starts = [sum(lengths[:i]) for i in range(len(rows))]
        ids = torch.tensor([[token for row in rows for token in row.ids]])
        positions = torch.cat([torch.arange(n) for n in lengths])[None]
        layout = block_layout(lengths, starts, device)
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
