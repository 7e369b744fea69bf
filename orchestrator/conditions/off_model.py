"""Off-model training: the student is trained on the teacher's completions of the training prompts, as the study or this
condition's `train` says: SFT, SDFT, on-policy distillation, full weights, another LoRA rank.

Source: "Why does off-model SFT degrade capabilities?" (LessWrong, May 2026), the main experiment. Options select or
change the completions: fewer of them, those to prompts that another source answered too, or without their reasoning.
"""

from pydantic import Field

from orchestrator.stages.builder import Builder, ConditionSpec
from orchestrator.stages.modified_sampling import SamplingOptions, modified_sample
from orchestrator.stages.transforms import same_prompts, without_reasoning
from orchestrator.study.train import TrainChanges


class Options(SamplingOptions):
    rows: int | None = Field(
        None, gt=0, description="train on that many completions, drawn with the seed; give train.max_steps too"
    )
    same_prompts_as: str | None = Field(
        None, description="a key of models or data: keep completions whose prompt that source has answered too"
    )
    reasoning: bool = Field(True, description="false: remove the reasoning from each completion")
    train: TrainChanges


def build(builder: Builder, options: Options) -> ConditionSpec:
    recipe = builder.recipe(**options.train)
    if options.rows is not None and recipe.max_steps is None:
        raise ValueError("rows: fewer rows would also mean fewer steps: give train.max_steps, the same for all sizes")
    data = modified_sample(builder, builder.teacher, options.prompts, options.sampling)
    if options.same_prompts_as is not None or not options.reasoning:
        data = data or builder.sample(builder.teacher)
        if options.same_prompts_as is not None:
            other = builder.sample(options.same_prompts_as)
            data = builder.transform(same_prompts.apply, {"data": data, "other": other})
        if not options.reasoning:
            data = builder.transform(without_reasoning.apply, {"data": data})
    return ConditionSpec(builder.train(builder.teacher, recipe, data=data, rows=options.rows))
