"""Verified samples: the student is trained on completions of `rl_problems` that the problems' grader finds correct.

Source: rejection sampling, as in "Scaling Relationship on Learning Mathematical Reasoning with LLMs" (RFT, 2023); the
number of samples and the problems are the study's choice. Of a data set use `data.NAME.verified_by`.
"""

from typing import Literal

from pydantic import Field

from orchestrator.stages import sample
from orchestrator.stages.builder import Builder, ConditionSpec
from orchestrator.stages.transforms import verified
from orchestrator.study.settings import Settings
from orchestrator.study.train import TrainChanges


class Options(Settings):
    sampled_from: Literal["teacher", "student"] = Field("teacher", description="the untrained model that samples")
    samples: int = Field(1, gt=0, description="completions of each problem")
    keep: Literal["one", "all"] = Field("one", description="correct completions of a problem to keep")
    train: TrainChanges


def build(builder: Builder, options: Options) -> ConditionSpec:
    problems = builder.study.rl_problems
    if problems is None:
        raise ValueError("verified samples are of problems with a grader: give the study rl_problems")
    if options.samples > 1 and builder.study.sampling.temperature == 0:
        raise ValueError("samples: greedy completions are all the same: set sampling.temperature, as to 1.0")
    alias = builder.teacher if options.sampled_from == "teacher" else builder.student
    if alias in builder.study.data:
        raise ValueError(f"{alias} is a data set: give it verified_by (data.{alias}), and use off_model")
    completions = sample.of_problems(builder.model(alias), builder.study, problems, options.samples)
    data = builder.transform(verified.apply, {"data": completions}, one=options.keep == "one")
    return ConditionSpec(builder.train(builder.teacher, builder.recipe(**options.train), data=data))
