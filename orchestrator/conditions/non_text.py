"""Non-text: the student learns streams of numbers, code-like statements or random tokens, by plain language modelling.

Source: "Why does off-model SFT degrade capabilities?" (LessWrong, May 2026), evidence 3: such training preserves
capabilities. Its distributions are not known: the three kinds, their number and their length are our choice. Each token
of a stream except the first is supervised, without prompt or chat template. `like_teacher` makes the control of
off-model SFT: as many rows, steps and supervised tokens. Otherwise the streams are the same for every teacher.
"""

from typing import Any, Literal

from pydantic import Field

from orchestrator.stages.builder import Builder, ConditionSpec
from orchestrator.stages.transforms import non_text
from orchestrator.study.settings import Settings
from orchestrator.study.train import TrainChanges

LENGTH = 64
BY_LM: dict[str, Any] = {"objective": "lm", "loss_on": "answer", "drop_least_likely": 0.0, "steps_per_generation": 1}


class Options(Settings):
    text: Literal["numbers", "code", "tokens"] = Field(
        description="content of the streams (see transforms/non_text.py)"
    )
    n: int | None = Field(
        None, gt=0, description="number of streams; that of the prompts, or of the teacher's samples, by default"
    )
    length: int | None = Field(None, gt=1, description=f"tokens of a stream; {LENGTH} by default")
    like_teacher: bool = Field(
        False, description="instead of length: a stream for each of the teacher's samples, with as many tokens"
    )
    seed: int = Field(0, description="seed of the streams")
    train: TrainChanges


def build(builder: Builder, options: Options) -> ConditionSpec:
    n = options.n if options.like_teacher else options.n or builder.study.prompts.n
    if n is None and not options.like_teacher:
        raise ValueError("n: give the number of streams, since the study takes all prompts (prompts.n)")
    recipe = builder.recipe(**{**BY_LM, **options.train})
    if recipe.traits.data != "token_streams":
        raise ValueError(
            f"train.objective: token streams have no prompt, and {recipe.objective['kind']} needs one; use lm"
        )
    if options.like_teacher and options.length is not None:
        raise ValueError("length has no effect with like_teacher: leave one of them out")
    length = None if options.like_teacher else options.length or LENGTH
    if length is not None and length > recipe.max_length:
        raise ValueError(f"length: {length} tokens are more than the {recipe.max_length} of train.max_length")
    inputs = {"model": builder.model(builder.student)}
    if options.like_teacher:
        inputs["like"] = builder.sample(builder.teacher)
    data = builder.transform(non_text.apply, inputs, text=options.text, n=n, length=length, seed=options.seed)
    return ConditionSpec(builder.train(builder.teacher, recipe, data=data))
