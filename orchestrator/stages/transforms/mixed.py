"""The student's own answers to some prompts among the teacher's to the others, in an order that may be kept.

Inputs: `data`, the teacher's answers, and `own`, the student's to the same prompts. Every prompt that both answered is
there once; whose answer it has is drawn from the seed, and so is the order:

- `shuffled`: both among each other;
- `after`: the student's own after all of the teacher's;
- `interleaved`: in blocks of one kind, the student's own spread evenly among them.
"""

import random
from collections.abc import Sequence

from orchestrator.stages.transform import rows_of
from orchestrator.stages.transforms import Row, RowSet
from orchestrator.store.context import StageContext

VERSION = 1


def make(work: StageContext, share: float, arrange: str, block: int, seed: int) -> RowSet:
    theirs = {row.id: row for row in rows_of(work.folder("data"))}
    own = {row.id: row for row in rows_of(work.folder("own"))}
    both = [id for id in theirs if id in own]
    alone = [row.because("only one of the two gave a whole answer") for row in theirs.values() if row.id not in own]
    alone += [row.because("only one of the two gave a whole answer") for row in own.values() if row.id not in theirs]
    random.Random(f"mixed {seed}").shuffle(both)
    n = round(share * len(both))
    parts = [own[id] for id in both[:n]], [theirs[id] for id in both[n:]]
    return RowSet(arranged(*parts, arrange, block, seed), alone, {"own": n})


def arranged(own: Sequence[Row], theirs: Sequence[Row], arrange: str, block: int, seed: int) -> list[Row]:
    """All rows of both, in order."""
    if arrange == "after":
        return [*theirs, *own]
    if arrange == "shuffled":
        rows = [*own, *theirs]
        random.Random(f"order {seed}").shuffle(rows)
        return rows
    # A block stands where its middle falls when the blocks of either kind are laid out evenly from 0 to 1.
    places = []
    for part in (theirs, own):
        blocks = [part[at : at + block] for at in range(0, len(part), block)]
        places += [((i + 0.5) / len(blocks), rows) for i, rows in enumerate(blocks)]
    return [row for _, rows in sorted(places, key=lambda place: place[0]) for row in rows]
