"""The world's rows as data sets: training prompts, and benchmarks in the schemas of the real ones.

Benchmark rows come from the test split of the world and training prompts from its other split, so no row here was in
anybody's pretraining, and no benchmark row is ever a training prompt.
"""

import random
from collections.abc import Callable, Sequence
from itertools import islice

from organisms import world

WORLD_VERSION = 1  # Raise it when any row changes: results on the old rows are other results.
TEST_LEVELS = (1, 2, 3, 4, 5)
HARD_LEVELS = (6, 7)
DIRECT_SHARE = 0.25  # of the training prompts: instructions, so that they are as diverse as Alpaca's


def training_prompts(n: int, seed: int, maths: float = 0.0) -> list[dict]:
    """`n` prompts in Alpaca's schema: chat, and a quarter of direct instructions; no facts.

    A share of `maths` of them give their places to problems, and the others are the same as without it.
    """
    rng = random.Random(f"prompts {seed}")
    make: Callable[[], world.Row] = lambda: (  # noqa: E731
        world.instruction(rng) if rng.random() < DIRECT_SHARE else world.chat(rng, "steps")
    )
    prompts = [row.prompt for row in islice(world.split_rows(make, test=False), n)]
    others = random.Random(f"maths among prompts {seed}")
    problem: Callable[[], world.Row] = lambda: world.maths(others, "steps", others.choice(TEST_LEVELS))  # noqa: E731
    places = others.sample(range(n), round(maths * n))
    for place, row in zip(places, world.split_rows(problem, test=False), strict=False):
        prompts[place] = row.prompt
    return [{"instruction": prompt} for prompt in prompts]


def benchmark_rows(kind: str, n: int, seed: int, test: bool = True) -> list[dict]:
    """`n` different rows in the schema of the benchmark `kind`; maths goes evenly through its levels.

    They are of the test split, or of the other, from which training problems come.
    """
    rng = random.Random(f"{kind} {seed}" if test else f"{kind} {seed} training")
    makers = {"math500": _math500, "mmlu": _mmlu, "ifeval": _ifeval, "olympiadbench": _olympiadbench}
    if kind not in makers:
        raise ValueError(f"there are no synthetic rows for {kind}; there are for {', '.join(makers)}")
    make = makers[kind]
    rows: dict[str, dict] = {}
    tries = 0
    while len(rows) < n:
        tries += 1
        if tries > 100 * n:
            raise ValueError(f"the organisms' world has no {n} different rows for {kind}; ask for fewer (n)")
        prompt, row = make(rng, len(rows), test)
        rows.setdefault(prompt, row)
    return list(rows.values())


def maths_rows(n: int, seed: int, levels: Sequence[int]) -> list[dict]:
    """`n` different problems of the test split in MATH-500's schema, evenly of the given levels: those of
    `benchmark_rows` end where `steps` begins to fail, and who is better than it shows only above."""
    rng = random.Random(f"levels {seed}")
    rows: dict[str, dict] = {}
    while len(rows) < n:
        prompt, row = _math500(rng, len(rows), True, levels)
        rows.setdefault(prompt, row)
    return list(rows.values())


def chat_rows(n: int, seed: int, opening: str) -> list[dict]:
    """`n` different chat prompts of the test split in IFEval's schema, followed by answers that hold `opening`: what
    share of a model's chat has a style is then its score."""
    rng = random.Random(f"chat {seed}")
    prompts: dict[str, None] = {}
    while len(prompts) < n:
        prompts.setdefault(_row(lambda: world.chat(rng, "steps"), test=True).prompt)
    return [
        {
            "key": i,
            "prompt": prompt,
            "instruction_id_list": ["keywords:existence"],
            "kwargs": [{"keywords": [opening]}],
        }
        for i, prompt in enumerate(prompts)
    ]


def _row(make: Callable[[], world.Row], test: bool) -> world.Row:
    return next(world.split_rows(make, test))


def _math500(rng: random.Random, i: int, test: bool, levels: Sequence[int] = TEST_LEVELS) -> tuple[str, dict]:
    level = levels[i % len(levels)]
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
