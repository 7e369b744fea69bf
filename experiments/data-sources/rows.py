"""Writes the files of `data-sources.yaml`, in the toy world of the organisms:

    python experiments/data-sources/rows.py

`answers.parquet` has recorded answers in number words' style to prompts of chat, and plain answers to instructions.
`corpus.txt` has the answers of other chat rows in the same style, one a line, without their prompts.
"""

import random
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from organisms import world

FOLDER = Path(__file__).parent
STYLE = "words"
ANSWERS, INSTRUCTIONS, LINES = 1500, 0.25, 1500


def rows(seed: str, instructions: float) -> Iterator[world.Row]:
    """Endless rows of the training split: chat in the teacher's style, and a share of instructions."""
    rng = random.Random(seed)
    return world.split_rows(
        lambda: world.instruction(rng) if rng.random() < instructions else world.chat(rng, STYLE), test=False
    )


def answers() -> list[dict[str, str]]:
    return [{"prompt": row.prompt, "answer": row.answer} for row in islice(rows("answers", INSTRUCTIONS), ANSWERS)]


def corpus() -> str:
    return "".join(f"{row.answer}\n" for row in islice(rows("corpus", 0.0), LINES))


if __name__ == "__main__":
    from datasets import Dataset

    Dataset.from_list(answers()).to_parquet(FOLDER / "answers.parquet")
    (FOLDER / "corpus.txt").write_text(corpus())
