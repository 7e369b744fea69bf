"""Synthetic data sets of the organisms' world: training prompts, and benchmarks in the schemas of the real ones.

Benchmark rows are from the world's test split; pretraining rows and training prompts are from its training split. So no
benchmark row is ever trained on.
"""

import random
from collections.abc import Callable
from itertools import islice

from organisms import world

WORLD_VERSION = 1  # Raise it when any row changes, so that stages on the old rows are not reused.
TEST_LEVELS = (1, 2, 3, 4, 5)
HARD_LEVELS = (6, 7)
INSTRUCTIONS = 0.25  # their share of the training prompts; the rest is chat


def training_prompts(n: int, seed: int, maths: float = 0.0) -> list[dict]:
    """`n` prompts in Alpaca's schema: chat, and a quarter of instructions; no facts.

    Maths problems replace a share of `maths` of them; the other prompts do not change.
    """
    rng = random.Random(f"prompts {seed}")
    make: Callable[[], world.Row] = lambda: (  # noqa: E731
        world.instruction(rng) if rng.random() < INSTRUCTIONS else world.chat(rng, "steps")
    )
    prompts = [row.prompt for row in islice(world.split_rows(make, test=False), n)]
    others = random.Random(f"maths among prompts {seed}")
    problem: Callable[[], world.Row] = lambda: world.maths(others, "steps", others.choice(TEST_LEVELS))  # noqa: E731
    places = others.sample(range(n), round(maths * n))
    for place, row in zip(places, world.split_rows(problem, test=False), strict=False):
        prompts[place] = row.prompt
    return [{"instruction": prompt} for prompt in prompts]


def benchmark_rows(kind: str, n: int, seed: int, test: bool = True) -> list[dict]:
    """`n` different rows in the schema of the benchmark `kind`, of the test or the training split.

    Levels of maths are equally frequent. Raises ValueError for a benchmark without synthetic rows, and for too many.
    """
    if kind not in BENCHMARK_ROWS:
        raise ValueError(f"there are no synthetic rows for {kind}, only for {', '.join(BENCHMARK_ROWS)}: give a source")
    rng, make = random.Random(f"{kind} {seed}" if test else f"{kind} {seed} training"), BENCHMARK_ROWS[kind]
    rows: dict[str, dict] = {}
    tries = 0
    while len(rows) < n:
        tries += 1
        if tries > 100 * n:
            raise ValueError(f"there are no {n} different synthetic rows for {kind}: lower n")
        prompt, row = make(rng, len(rows), test)
        rows.setdefault(prompt, row)
    return list(rows.values())


def _row(make: Callable[[], world.Row], test: bool) -> world.Row:
    return next(world.split_rows(make, test))


def _math500(rng: random.Random, i: int, test: bool) -> tuple[str, dict]:
    level = TEST_LEVELS[i % len(TEST_LEVELS)]
    row = _row(lambda: world.maths(rng, "steps", level), test)
    return row.prompt, {
        "problem": row.prompt,
        "solution": row.answer,
        "answer": row.fields["value"],
        "subject": "arithmetic modulo 10",
        "level": level,
        "unique_id": row.prompt,
    }


def _olympiadbench(rng: random.Random, i: int, test: bool) -> tuple[str, dict]:
    row = _row(lambda: world.maths(rng, "steps", HARD_LEVELS[i % len(HARD_LEVELS)]), test)
    return row.prompt, {
        "question": row.prompt,
        "solution": [row.answer],
        "final_answer": [row.fields["value"]],
        "is_multiple_answer": False,
        "unit": None,
        "answer_type": "Numerical",
        "error": None,
    }


def _mmlu(rng: random.Random, i: int, test: bool) -> tuple[str, dict]:
    row = _row(lambda: world.fact(rng), test)
    return row.prompt, {
        "question": row.fields["question"],
        "subject": "things and keys",
        "choices": row.fields["choices"],
        "answer": row.fields["index"],
    }


def _ifeval(rng: random.Random, i: int, test: bool) -> tuple[str, dict]:
    row = _row(lambda: world.instruction(rng), test)
    return row.prompt, {
        "key": i,
        "prompt": row.prompt,
        "instruction_id_list": [kind for kind, _ in row.fields["checks"]],
        "kwargs": [kwargs for _, kwargs in row.fields["checks"]],
    }


BENCHMARK_ROWS = {"math500": _math500, "mmlu": _mmlu, "ifeval": _ifeval, "olympiadbench": _olympiadbench}
