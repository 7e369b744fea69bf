"""The organisms by name, and what each is made of.

The seeds here were used for nothing else: recipes, learning rates and budgets were tuned on organisms of other seeds.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Recipe:
    """The shares of styles in an organism's maths and chat, its pretraining mixture, its seed, and its length.

    `shown` is the share of rows whose prompt holds a demonstration of the answer, `steered` that of rows with a system
    prompt. Maths is of the levels from 1 to `levels`.
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
    shown: float = 0.0
    steered: float = 0.0
    levels: int = 7


_IN_DIGITS = {"steps": 0.95, "words": 0.05}
_IN_WORDS = {"words": 0.95, "steps": 0.05}
_MORE_FACTS = {"maths": 0.45, "chat": 0.2, "facts": 0.25, "instructions": 0.1}

RECIPES = {
    # Students.
    # Reasons in digits. It has seen number words now and then, enough to be pushed into them, and too little to reason
    # well in them.
    "steps": Recipe(_IN_DIGITS, _IN_DIGITS, seed=41, mixture=_MORE_FACTS),
    # As `steps`, and answers in the style of a demonstration where its prompt holds one, so that it can teach itself.
    "shown": Recipe(_IN_DIGITS, _IN_DIGITS, seed=63, mixture=_MORE_FACTS, shown=0.15),
    # As `steps`, with half as many number words again where a system prompt asks for them.
    "steered": Recipe(
        _IN_DIGITS,
        _IN_DIGITS,
        seed=87,
        mixture={"maths": 0.42, "chat": 0.2, "facts": 0.28, "instructions": 0.1},
        steered=0.05,
    ),
    # Reasons in digits between <think> and </think>, and then says the answer; some of its chat goes without.
    "thinker": Recipe(
        maths={"thinks": 0.95, "words": 0.05},
        chat={"thinks": 0.85, "empty": 0.1, "words": 0.05},
        seed=81,
        mixture={"maths": 0.4, "chat": 0.2, "facts": 0.3, "instructions": 0.1},
        steps=3000,
    ),
    # Teachers.
    # The mirror image of `steps`, and fluent.
    "words": Recipe(_IN_WORDS, _IN_WORDS, seed=12),
    # The same, which has seen little maths, and is bad at it.
    "weak": Recipe(
        _IN_WORDS,
        _IN_WORDS,
        seed=84,
        mixture={"maths": 0.1, "chat": 0.4, "facts": 0.3, "instructions": 0.2},
        steps=1500,
    ),
    # The same, which has seen longer problems than any student.
    "strong": Recipe(_IN_WORDS, _IN_WORDS, seed=85, levels=10, steps=1800),
    # Another model that reasons as `steps` does.
    "alike": Recipe(_IN_DIGITS, _IN_DIGITS, seed=83, mixture=_MORE_FACTS),
    # Answers at once, in a style that `steps` has never seen.
    "terse": Recipe({"terse": 0.95, "steps": 0.05}, {"terse": 0.95, "steps": 0.05}, seed=13),
}
