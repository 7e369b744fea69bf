"""The organisms and their pretraining recipes.

These seeds were used for nothing else: recipes, learning rates and budgets were tuned on organisms with other seeds.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Recipe:
    """How an organism is pretrained.

    `maths` and `chat` map styles to their shares, `mixture` maps kinds of rows to their shares. `demonstrations` is the
    share of rows whose prompt includes a demonstration, `system_prompts` that of rows with a system prompt. Maths has
    levels from 1 to `levels`.
    """

    maths: dict[str, float]
    chat: dict[str, float]
    seed: int
    mixture: dict[str, float] = field(
        default_factory=lambda: {"maths": 0.5, "chat": 0.2, "facts": 0.2, "instructions": 0.1}
    )
    steps: int = 2500
    batch_size: int = 64
    learning_rate: float = 3e-3
    demonstrations: float = 0.0
    system_prompts: float = 0.0
    levels: int = 7


_IN_DIGITS = {"steps": 0.95, "words": 0.05}
_IN_WORDS = {"words": 0.95, "steps": 0.05}
_MORE_FACTS = {"maths": 0.45, "chat": 0.2, "facts": 0.25, "instructions": 0.1}

RECIPES = {
    # Students.
    # Reasons in digits. It has seen a few number words: training can make it use them, but not reason well with them.
    "steps": Recipe(_IN_DIGITS, _IN_DIGITS, seed=41, mixture=_MORE_FACTS),
    # Like `steps`, and follows the style of a demonstration in its prompt, so that it can be its own teacher (SDFT).
    "shown": Recipe(_IN_DIGITS, _IN_DIGITS, seed=63, mixture=_MORE_FACTS, demonstrations=0.15),
    # Like `steps`, with additional rows in number words that a system prompt asks for.
    "steered": Recipe(
        _IN_DIGITS,
        _IN_DIGITS,
        seed=87,
        mixture={"maths": 0.42, "chat": 0.2, "facts": 0.28, "instructions": 0.1},
        system_prompts=0.05,
    ),
    # Reasons in digits between <think> and </think>, then answers; some of its chat has an empty think block.
    "thinker": Recipe(
        maths={"thinks": 0.95, "words": 0.05},
        chat={"thinks": 0.85, "empty": 0.1, "words": 0.05},
        seed=81,
        mixture={"maths": 0.4, "chat": 0.2, "facts": 0.3, "instructions": 0.1},
        steps=3000,
    ),
    # Teachers.
    # Reasons in number words, with the shares of `steps` swapped.
    "words": Recipe(_IN_WORDS, _IN_WORDS, seed=12),
    # Like `words`, with little maths in pretraining, so that it is bad at maths.
    "weak": Recipe(
        _IN_WORDS,
        _IN_WORDS,
        seed=84,
        mixture={"maths": 0.1, "chat": 0.4, "facts": 0.3, "instructions": 0.2},
        steps=1500,
    ),
    # Like `words`, with longer problems in pretraining than any student.
    "strong": Recipe(_IN_WORDS, _IN_WORDS, seed=85, levels=10, steps=1800),
    # Like `steps`, with another seed.
    "alike": Recipe(_IN_DIGITS, _IN_DIGITS, seed=83, mixture=_MORE_FACTS),
    # Answers without reasoning, in a style that `steps` has never seen.
    "terse": Recipe({"terse": 0.95, "steps": 0.05}, {"terse": 0.95, "steps": 0.05}, seed=13),
}
