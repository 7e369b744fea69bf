"""The organisms by name, and what each is made of.

The seeds here were used for nothing else: recipes, learning rates and budgets were tuned on organisms of other seeds.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Recipe:
    """The shares of styles in an organism's maths and chat, its pretraining mixture, its seed, and its length.

    `shown` is the share of rows whose prompt holds a demonstration of the answer.
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


RECIPES = {
    # Reasons in digits. It has seen number words now and then, enough to be pushed into them, and too little to reason
    # well in them.
    "steps": Recipe(
        maths={"steps": 0.95, "words": 0.05},
        chat={"steps": 0.95, "words": 0.05},
        seed=41,
        mixture={"maths": 0.45, "chat": 0.2, "facts": 0.25, "instructions": 0.1},
    ),
    # The mirror image, and fluent.
    "words": Recipe(maths={"words": 0.95, "steps": 0.05}, chat={"words": 0.95, "steps": 0.05}, seed=12),
    # As `steps`, and answers in the style of a demonstration where its prompt holds one, so that it can teach itself.
    "shown": Recipe(
        maths={"steps": 0.95, "words": 0.05},
        chat={"steps": 0.95, "words": 0.05},
        seed=63,
        mixture={"maths": 0.45, "chat": 0.2, "facts": 0.25, "instructions": 0.1},
        shown=0.15,
    ),
    # Answers at once, in a style that `steps` has never seen.
    "terse": Recipe(maths={"terse": 0.95, "steps": 0.05}, chat={"terse": 0.95, "steps": 0.05}, seed=13),
}
