"""Completions that the student samples during its training, and their rewards."""

from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path

from evaluators.engines.chat_template import Chat
from evaluators.engines.generations import Generation
from evaluators.engines.requests import Request, RequestOutput, SamplingParams
from evaluators.evaluate import example_ids, grade
from orchestrator.stages import data
from orchestrator.store.context import StageContext, Weights
from orchestrator.store.temporary import delete_temporary, publish_temporary, temporary_path
from trainers import objectives


def generate(context: StageContext, folder: Path, step: int, prompts: Sequence[Chat]) -> list[RequestOutput]:
    """An output for each prompt by the weights in `folder`, which the store holds while the engines generate."""
    requests = [Request(prompt=prompt, number=number) for number, prompt in enumerate(prompts)]
    temporary = publish_temporary(context.store, folder, temporary_path(context.stage))
    weights, params = _weights(context, temporary, step), _sampling_params(context, step)
    try:
        chunks = context.engines(context.stage.runtime.engine, weights, "generate", requests, params)
        found = {i: output.answered() for i, output in chain.from_iterable(chunks)}
    finally:
        delete_temporary(context.store, temporary)
    return [found[i] for i in range(len(requests))]


def _weights(context: StageContext, temporary: str, step: int) -> Weights:
    if not context.stage.settings.leaves_adapter:
        return Weights(temporary, None, temporary=True)
    base = context.stage.inputs["base"]
    if step == 0 and "start" not in context.stage.inputs:
        # A new adapter changes nothing, and engines refuse adapters without an effect.
        return Weights.of(base)
    return Weights.of(base, temporary, temporary=True)


def _sampling_params(context: StageContext, step: int) -> SamplingParams:
    settings = context.stage.settings
    sampling = objectives.get(settings.train.objective).sampling(settings.train.objective_options)
    return SamplingParams(
        max_tokens=settings.sampling.max_tokens,
        temperature=sampling.temperature,
        n=sampling.num_generations,
        # Each step has other samples; the requests of a step have seeds of their own.
        seed=settings.train.seed * 1_000_003 + step,
        thinking=settings.sampling.thinking,
    )


def rewarding(context: StageContext) -> Callable[[Sequence[int], Sequence[RequestOutput]], list[list[float]]]:
    """A function that rewards completions by the benchmark that grades the problems of a stage."""
    examples = context.stage.settings.examples.prompts.examples
    kind, problems = examples.kind, data.read_examples(examples, context.stage.runtime.location, context.store)

    def reward(numbers: Sequence[int], outputs: Sequence[RequestOutput]) -> list[list[float]]:
        """The scores (P, N) of the completions of the problems with these numbers."""
        rows = [problems[number] for number in numbers]
        ids = example_ids(kind, rows)
        generations = [Generation.of(id, [], output) for id, output in zip(ids, outputs, strict=True)]
        return [[verdict.score for verdict in one.verdicts] for one in grade(kind, rows, generations)]

    return reward
