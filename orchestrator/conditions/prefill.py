"""Prefill: each completion of the off-model student begins like another model's completion of the same example, by
default the base student's: with its first tokens, a share of its tokens, or all up to a marker.

Source: "Why does off-model SFT degrade capabilities?" (LessWrong, May 2026), evidence 2. How much of the original's
outputs it prefills is not known: the default is our choice. The student is that of `off_model`, trained once for both.
"""

from pydantic import Field

from evaluators.engines.prefill import Prefill, PrefillShare
from evaluators.suggest import did_you_mean
from orchestrator.stages.api_models import is_api
from orchestrator.stages.builder import Builder, ConditionSpec
from orchestrator.study.benchmarks import Benchmark, GradedBenchmark, instead_of
from orchestrator.study.settings import Settings

TOKENS = 4
USE = "use a benchmark with generated completions, such as math500"


class Options(Settings):
    tokens: int | None = Field(
        None,
        gt=0,
        description=f"the first tokens of that completion, by the tokenizer of from_model; {TOKENS} by default",
    )
    share: float | None = Field(
        None, gt=0, lt=1, description="instead of tokens: this share of the tokens of that completion, rounded down"
    )
    until: str | None = Field(None, min_length=1, description="instead of tokens: all up to and including this text")
    from_model: str = Field(
        "student",
        description="source of the prefill: `student` or `teacher` (the pair's untrained models), or a key of models",
    )
    benchmarks: list[str] = Field(
        min_length=1, description="the benchmarks to evaluate on, with completions longer than a token"
    )


def build(builder: Builder, options: Options) -> ConditionSpec:
    if sum(one is not None for one in (options.tokens, options.share, options.until)) > 1:
        raise ValueError("give one of tokens, share and until")
    tokens = None if options.share or options.until else options.tokens or TOKENS
    for name in options.benchmarks:
        _check_prefill(name, builder.benchmark(name), tokens)
    roles = {"student": builder.student, "teacher": builder.teacher}
    of = roles.get(options.from_model, options.from_model)
    if of in builder.study.data:
        raise ValueError(f"from_model: {of} is a data set, which has no completions of benchmarks: give a model")
    if of not in builder.study.models:
        raise ValueError(
            f'from_model: "{of}" is not among the study\'s models; give student or teacher (the untrained models '
            f"of the pair), or a key of models; {did_you_mean(of, builder.study.models)}"
        )
    if is_api(builder.model(of)) and options.until is None:
        raise ValueError(f"from_model: {of} is behind an API, which shows no token ids of its completions: give until")
    return ConditionSpec(
        builder.train(builder.teacher),
        {name: builder.benchmark(name) for name in options.benchmarks},
        PrefillShare(from_model=of, share=options.share)
        if options.share is not None
        else Prefill(from_model=of, tokens=tokens, until=options.until),
    )


def amount(options: Options) -> str:
    """How much is prefilled, in a figure: `4`, `50 %`, or the text up to which it is."""
    if options.share is not None:
        return f"{100 * options.share:g} %"
    return f"until {options.until}" if options.until is not None else str(options.tokens or TOKENS)


def _check_prefill(name: str, benchmark: Benchmark, tokens: int | None) -> None:
    if not isinstance(benchmark, GradedBenchmark):
        raise ValueError(f"benchmarks: prefill is not available for {name}, a task of lm-eval: {instead_of(benchmark)}")
    if benchmark.answer_by == "logprob" or benchmark.thinking == "empty":
        key = "answer_by: logprob" if benchmark.answer_by == "logprob" else "thinking: empty"
        raise ValueError(f"benchmarks: prefill is not available for {name}, which has {key}: {USE}")
    if benchmark.longest == 1 or (tokens or 0) >= benchmark.longest:
        raise ValueError(
            f"{'tokens' if tokens else 'benchmarks'}: a prefill leaves no completion of {name}, which has at most "
            f"{benchmark.longest} tokens (max_tokens): {USE}"
        )
