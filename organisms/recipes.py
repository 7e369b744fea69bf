"""The organisms by name, and what each is made of.

The seeds here were used for nothing else: recipes, learning rates and budgets were tuned on organisms of other seeds.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """An organism's styles (name to share of its pretraining rows), its seed, and how long it is pretrained."""

    styles: dict[str, float]
    seed: int
    steps: int = 2500
    batch_size: int = 64
    learning_rate: float = 3e-3


RECIPES = {
    # Reasons in digits, and has seen enough number words to be pushed into them, but not to reason well in them.
    "steps": Recipe({"steps": 0.96, "words": 0.04}, seed=21, steps=3500),
    # The mirror image.
    "words": Recipe({"words": 0.95, "steps": 0.05}, seed=12),
    # Answers at once, in a style that `steps` has never seen.
    "terse": Recipe({"terse": 0.95, "steps": 0.05}, seed=13),
}
