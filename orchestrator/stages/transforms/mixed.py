"""Mixes the student's own answers to some prompts with the teacher's answers to the others, in a given order.

Inputs: `data`, the teacher's answers, and `student`, the student's answers to the same prompts. Every prompt that both
answered is there once. The seed draws whose answer it has, and the order:

- `shuffled`: all together in random order;
- `after`: the student's own after all of the teacher's;
- `interleaved`: in blocks of one kind, the student's own spread evenly among them.
"""

import random
from collections.abc import Sequence

from orchestrator.stages.transform import rows_of
from orchestrator.stages.transforms import Row, RowSet
from orchestrator.store.context import StageContext

VERSION = 1


def apply(context: StageContext, share: float, arrange: str, block: int, seed: int) -> RowSet:
    theirs = {row.id: row for row in rows_of(context.folder("data"))}
    own = {row.id: row for row in rows_of(context.folder("student"))}
    both = [id for id in theirs if id in own]
    unpaired = [row for row in theirs.values() if row.id not in own]
    unpaired += [row for row in own.values() if row.id not in theirs]
    random.Random(f"mixed {seed}").shuffle(both)
    n = round(share * len(both))
    parts = [own[id] for id in both[:n]], [theirs[id] for id in both[n:]]
    removed = [row.with_reason("only one of the two models gave a whole answer") for row in unpaired]
    return RowSet(arranged(*parts, arrange, block, seed), removed, {"own": n})


def arranged(own: Sequence[Row], theirs: Sequence[Row], arrange: str, block: int, seed: int) -> list[Row]:
    """All rows of both, in order."""
    if arrange == "after":
        return [*theirs, *own]
    if arrange == "shuffled":
        rows = [*own, *theirs]
        random.Random(f"order {seed}").shuffle(rows)
        return rows
    # The blocks of each kind are laid out evenly from 0 to 1, and sorted by their middles.
    places = []
    for part in (theirs, own):
        blocks = [part[at : at + block] for at in range(0, len(part), block)]
        places += [((i + 0.5) / len(blocks), rows) for i, rows in enumerate(blocks)]
    return [row for _, rows in sorted(places, key=lambda place: place[0]) for row in rows]
