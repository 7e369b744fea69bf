"""Whether completions have room in the context of the engines that generate them."""

from collections.abc import Iterable, Iterator

from orchestrator.stages.sample import BenchmarkPrompts
from orchestrator.stages.train import RLProblems
from orchestrator.store.stage import Stage
from orchestrator.study.benchmarks import GradedBenchmark
from orchestrator.study.schema import Study


def without_room(stages: Iterable[Stage], study: Study, own: int | None = None) -> Iterator[str]:
    """A line for each max_tokens that leaves no room for a prompt. `own` is the limit of the stages' models, in tokens,
    where the study sets none."""
    for stage in stages:
        sampling = {"sample": "sampling_params", "train": "sampling"}.get(stage.kind)
        asked = getattr(stage.settings, sampling) if sampling is not None else None
        if asked is None or stage.runtime.published_by is not None:
            continue
        limit = stage.settings.max_model_len if stage.kind == "sample" else asked.max_model_len
        context = limit or own
        if context is not None and asked.max_tokens >= context:
            what = "max_model_len" if limit else "the context of the model"
            yield (
                f"{_place(stage, study, asked.max_tokens)} is {asked.max_tokens:,}, which leaves no room for a prompt "
                f"in {what} ({context:,} tokens): lower max_tokens{', or raise max_model_len' if limit else ''}"
            )


def _place(stage: Stage, study: Study, max_tokens: int) -> str:
    """Where the study says how long the completions of a stage may be."""
    where, declared, default = "sampling", study.sampling.max_tokens, ""
    rollouts = stage.kind == "train" and isinstance(stage.settings.examples, RLProblems)
    of_problems = stage.kind == "sample" and isinstance(stage.settings.prompts, BenchmarkPrompts)
    if rollouts or (of_problems and stage.runtime.benchmark is None):
        assert study.rl_problems is not None
        where, declared = "rl_problems", study.rl_problems.max_tokens
    elif stage.kind == "sample" and stage.runtime.benchmark is not None:
        benchmark = study.benchmarks[stage.runtime.benchmark]
        assert isinstance(benchmark, GradedBenchmark)
        where, declared = f"benchmarks.{stage.runtime.benchmark}", benchmark.longest
        default = "" if benchmark.max_tokens else f" (the default of {benchmark.kind})"
    return f"{where}.max_tokens{default}" if declared == max_tokens else f"max_tokens of {stage.address}"
