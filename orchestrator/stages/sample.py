"""The stage `sample`: a model generates completions for the training prompts or a benchmark.

Completions are stored as they arrive, so an interrupted attempt resumes instead of restarting.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, Self

from evaluators.benchmarks import BENCHMARKS
from evaluators.engines.chat_template import Chat
from evaluators.engines.generations import Generation, content_ids, failed, from_jsonl, sampled_tokens, to_jsonl
from evaluators.engines.prefill import AnyPrefill, PrefillText
from evaluators.engines.requests import Request, SamplingParams
from evaluators.engines.thinking import strip_reasoning
from evaluators.evaluate import chats_of, example_ids
from evaluators.imports import IMPORTS
from evaluators.lm_eval_tasks.task import TaskSampling
from orchestrator.stages import api_models, data
from orchestrator.store.checkpoints import checkpoint_of, local_path
from orchestrator.store.context import StageContext
from orchestrator.store.partial import read_partial
from orchestrator.store.stage import Runtime, Stage
from orchestrator.study.benchmarks import Benchmark, GradedBenchmark, LmEvalBenchmark
from orchestrator.study.prompts import Problems
from orchestrator.study.schema import Study

VERSION = 2
GENERATIONS = "generations.jsonl"
SHOWN_FAILURES = 5  # in the message of a stage of which too many requests failed


@dataclass(frozen=True, kw_only=True)
class BenchmarkPrompts:
    """A benchmark's examples, each put into the template `prompt`, after a message `system`."""

    examples: data.ExampleData
    prompt: str
    system: str | None

    @classmethod
    def of(cls, declared: GradedBenchmark | Problems, examples: data.ExampleData) -> Self:
        prompt = declared.prompt or BENCHMARKS.module(declared.kind).PROMPT
        return cls(examples=examples, prompt=prompt, system=declared.system)


@dataclass(frozen=True, kw_only=True)
class TaskPrompts:
    """A task of lm-eval, which writes its own prompts and grades its own completions.

    `source` identifies a file of rows in place of the task's own data set. `sampling` takes the place of the task's own
    settings. `version` is lm-eval's.
    """

    task: str
    source: str | None
    n: int | None
    seed: int
    chat: bool
    shots: int | None
    sampling: TaskSampling
    version: str


@dataclass(frozen=True, kw_only=True)
class RephrasePrompts:
    """Prompts made of the completions of another sample by a template that names {prompt} and {answer}."""

    template: str


@dataclass(frozen=True, kw_only=True)
class DatasetPrompts:
    """The prompts of the input `prompts`, a data set with answers of its own."""


Prompts = data.PromptData | BenchmarkPrompts | TaskPrompts | RephrasePrompts | DatasetPrompts


@dataclass(frozen=True, kw_only=True)
class SampleSettings:
    """What decides a sample. `sampling_params` is None for a task of lm-eval, whose prompts have its sampling.

    With `prefill`, completions begin with the start of those of the input `prefill`, a sample of the same benchmark.
    `dtype` and `max_model_len` belong to vLLM engines and are None for a model behind an API.
    """

    prompts: Prompts
    sampling_params: SamplingParams | None
    prefill: AnyPrefill | None = None
    dtype: str | None
    max_model_len: int | None


@dataclass(frozen=True, kw_only=True)
class SampleRuntime(Runtime):
    """`location` is where the data set is; `benchmark` is the study's name for it, None for training prompts.

    `max_failed` is the share of the completions that may fail.
    """

    location: str | None = None
    benchmark: str | None = None
    max_failed: float = 0.0


def of_prompts(model: Stage, study: Study, dataset: Stage | None = None) -> Stage:
    """Completions of an untrained model for the study's training prompts, or for those of a data set."""
    api_models.check_answers(model, study.sampling, "sampling")
    sampling_params = SamplingParams(**study.sampling.model_dump())
    name, inputs = f"{model.name}-answers", {"base": model}
    if dataset is not None:
        inputs["prompts"] = dataset
        return _stage(f"{name}-to-{dataset.name}", study, inputs, DatasetPrompts(), sampling_params)
    prompts = data.prompt_data(study.prompts)
    return _stage(name, study, inputs, prompts, sampling_params, location=study.prompts.source)


def of_problems(model: Stage, study: Study, problems: Problems, samples: int) -> Stage:
    """Completions of an untrained model, `samples` for each, for the study's problems with a grader."""
    own = {"max_tokens": problems.max_tokens, "thinking": problems.thinking}
    declared = study.sampling.model_copy(update=own)
    api_models.check_answers(model, declared, "sampling")
    prompts = BenchmarkPrompts.of(problems, data.problem_data(problems))
    params = SamplingParams(**declared.model_dump(), n=samples)
    name = f"{model.name}-{problems.kind}-problems"
    return _stage(name, study, {"base": model}, prompts, params, location=problems.source)


def of_benchmark(
    name: str,
    benchmark: Benchmark,
    study: Study,
    model: Stage,
    student: Stage | None,
    prefill: AnyPrefill | None = None,
    prefill_from: Stage | None = None,
) -> Stage:
    """Completions of a model, or of `student`, trained from it, for a benchmark that the study calls `name`.

    Completions begin with a `prefill` cut from `prefill_from`, a sample of the same benchmark.
    """
    api_models.check_asked(model, name, benchmark)
    if prefill is not None and prefill_from is not None:
        prefill = replace(prefill, from_model=prefill_from.inputs["base"].name)  # An alias is no part of the identity.
    inputs = {"base": model, "student": student, "prefill": prefill_from}
    return _stage(
        f"{(student or model).name}-{benchmark.task or benchmark.kind}{'-prefilled' if prefill else ''}",
        study,
        {role: needed for role, needed in inputs.items() if needed is not None},
        _benchmark_prompts(benchmark),
        _sampling_params(benchmark),
        prefill,
        location=benchmark.source,
        benchmark=name,
    )


def of_rephrased(model: Stage, study: Study, generations: Stage, template: str) -> Stage:
    """The completions of the sample `generations`, rephrased by a model: `template` names {prompt} and {answer}."""
    prompts, sampling_params = RephrasePrompts(template=template), SamplingParams(**study.sampling.model_dump())
    inputs = {"base": model, "generations": generations}
    return _stage(f"{generations.name}-rephrased", study, inputs, prompts, sampling_params)


def _stage(
    name: str,
    study: Study,
    inputs: dict[str, Stage],
    prompts: Prompts,
    sampling_params: SamplingParams | None,
    prefill: AnyPrefill | None = None,
    **runtime: Any,
) -> Stage:
    model = inputs["base"]
    is_api = api_models.is_api(model)
    settings = SampleSettings(
        prompts=prompts,
        sampling_params=sampling_params,
        prefill=prefill,
        dtype=None if is_api else study.dtype,
        max_model_len=None if is_api else study.max_model_len,
    )
    resources = study.resources
    runtime |= {"retries": resources.retries, "max_failed": resources.max_failed}
    runtime |= {"engine": model.runtime.engine, "uses_engine": True}
    return Stage("sample", VERSION, name, settings, inputs, SampleRuntime(**runtime))


def _benchmark_prompts(benchmark: Benchmark) -> BenchmarkPrompts | TaskPrompts:
    if isinstance(benchmark, LmEvalBenchmark):
        return TaskPrompts(
            task=benchmark.task,
            source=None if benchmark.source is None else data.identity(benchmark.source),
            n=benchmark.n,
            seed=benchmark.seed,
            chat=benchmark.chat,
            shots=benchmark.shots,
            sampling=benchmark.sampling,
            version=data.version_of("lm_eval"),
        )
    assert isinstance(benchmark, GradedBenchmark)
    return BenchmarkPrompts.of(benchmark, data.benchmark_data(benchmark))


def _sampling_params(benchmark: Benchmark) -> SamplingParams | None:
    if not isinstance(benchmark, GradedBenchmark):
        return None
    return SamplingParams(
        max_tokens=benchmark.longest,
        temperature=benchmark.temperature,
        top_p=benchmark.top_p,
        top_k=benchmark.top_k,
        min_p=benchmark.min_p,
        n=benchmark.samples,
        thinking=benchmark.thinking,
        options=BENCHMARKS.module(benchmark.kind).OPTIONS if benchmark.answer_by == "logprob" else (),
    )


def run(context: StageContext) -> dict[str, Any]:
    settings: SampleSettings = context.stage.settings
    prompts, location = settings.prompts, context.stage.runtime.location
    if isinstance(prompts, TaskPrompts):
        return _run_task(context, prompts)
    if isinstance(prompts, RephrasePrompts):
        ids, chats = _rephrased(context, prompts.template)
    elif isinstance(prompts, DatasetPrompts):
        recorded = generations_of(context.folder("prompts"))
        ids, chats = [one.id for one in recorded], [one.prompt for one in recorded]
    elif isinstance(prompts, BenchmarkPrompts):
        kind, rows = prompts.examples.kind, data.read_examples(prompts.examples, location, context.store)
        ids, chats = example_ids(kind, rows), chats_of(kind, rows, prompts.prompt, prompts.system)
    else:
        chats = data.read_prompts(prompts, location, context.store)
        ids = content_ids(chats)
    generations, template = _generate(context, ids, chats, _prefill_texts(context))
    return _write(context, generations, template=template)


def _rephrased(context: StageContext, template: str) -> tuple[list[str], list[Chat]]:
    """The prompts for whole completions without their reasoning, under the ids of the prompts that these complete."""
    ids, chats = [], []
    for one in generations_of(context.folder("generations")):
        answer = strip_reasoning(one.completions[0].text, one.prompt_opens_think_block)
        if answer and not one.completions[0].truncated:
            ids.append(one.id)
            text = template.format(prompt=one.prompt[-1]["content"], answer=answer)
            chats.append([{"role": "user", "content": text}])
    if not ids:
        raise ValueError("every completion is empty or truncated, so none can be rephrased: raise sampling.max_tokens")
    return ids, chats


def _generate(
    context: StageContext, ids: list[str], chats: list[Chat], prefill_texts: dict[str, PrefillText] | None
) -> tuple[list[Generation], str | None]:
    """A generation for each chat, in order, of this and earlier attempts; and the digest of the chat template, None if
    earlier attempts left nothing to generate.

    Raises RuntimeError if more of them failed than the study allows, after the others are stored.
    """
    numbers = {id: number for number, id in enumerate(ids)}
    done = {one.id: one for one in from_jsonl(read_partial(context.store, context.stage))}
    left = [i for i in ids if i not in done]
    requests = [
        Request(prompt=chats[numbers[i]], prefill=prefill_texts[i] if prefill_texts else (), number=numbers[i])
        for i in left
    ]
    template = None
    for chunk in context.generate(requests, context.stage.settings.sampling_params):
        new = [Generation.of(left[place], chats[numbers[left[place]]], output) for place, output in chunk]
        template = next((output.template_digest for _, output in chunk if output.error is None), template)
        done |= {one.id: one for one in new}
        context.advance(len(done), len(ids))
        kept = [one for one, (_, output) in zip(new, chunk, strict=True) if not output.ask_again]
        if kept and (len(done) < len(ids) or _too_many_failed(context, done.values())):
            context.append_partial(to_jsonl(kept))
    if problem := _too_many_failed(context, done.values()):
        raise RuntimeError(problem)
    return [done[i] for i in ids], template


def _too_many_failed(context: StageContext, generations: Collection[Generation]) -> str:
    """What to say if more completions failed than the study allows; otherwise empty."""
    failures, n = failed(generations), sum(len(one.completions) for one in generations)
    allowed = context.stage.runtime.max_failed
    if len(failures) <= allowed * n:
        return ""
    shown = "; ".join(f"{id}: {reason}" for id, reason in failures[:SHOWN_FAILURES])
    more = f"; and {len(failures) - SHOWN_FAILURES} more" if len(failures) > SHOWN_FAILURES else ""
    return (
        f"{len(failures)} of {n} requests failed, and resources.max_failed allows a share of {allowed:g}: raise it, or "
        f"mend the cause and run again, which keeps the other answers. Failed prompts: {shown}{more}"
    )


def _write(context: StageContext, generations: list[Generation], **facts: Any) -> dict[str, Any]:
    """Write the generations; returns the facts for the record."""
    (context.out / GENERATIONS).write_text(to_jsonl(generations))
    completions = [completion for one in generations for completion in one.completions]
    return {
        "n": len(generations),
        "tokens": sampled_tokens(generations),
        "truncated": sum(each.truncated for each in completions) / len(completions),
        **({"failed": missing} if (missing := len(failed(generations))) else {}),
        **api_models.counted(completions),
        **facts,
    }


def _prefill_texts(context: StageContext) -> dict[str, PrefillText] | None:
    """By example id, the text or token ids with which its completions begin."""
    if "prefill" not in context.stage.inputs:
        return None
    source, prefill = context.stage.inputs["prefill"].inputs["base"], context.stage.settings.prefill

    @cache
    def tokenizer() -> Any:
        """The source's tokenizer, loaded on first use: a model behind an API has none."""
        checkpoint = checkpoint_of(context.store, source.address, local_path(source))
        with IMPORTS:
            from transformers import AutoTokenizer

            return AutoTokenizer.from_pretrained(checkpoint)  # It imports the classes of this tokenizer.

    def decode(ids: Sequence[int]) -> str:
        return tokenizer().decode(list(ids), skip_special_tokens=True)

    same_model = source == context.stage.inputs["base"]
    return {one.id: prefill.cut(one, decode, as_ids=same_model) for one in generations_of(context.folder("prefill"))}


def _run_task(context: StageContext, prompts: TaskPrompts) -> dict[str, Any]:
    """Run a task of lm-eval. It stores no partial results: lm-eval returns all completions at the end."""
    with IMPORTS:
        from evaluators.lm_eval_tasks import LmEvalTask, run_task

    task = LmEvalTask(
        name=prompts.task,
        tokenizer=context.checkpoint("base"),
        max_model_len=context.stage.settings.max_model_len,
        chat=prompts.chat,
        rows=context.stage.runtime.location,
        sha256=data.sha256_of(prompts.source),
        n=prompts.n,
        seed=prompts.seed,
        shots=prompts.shots,
        sampling=prompts.sampling,
    )

    def generate(requests: list[Request], params: SamplingParams) -> Iterator[tuple[int, Any]]:
        outputs = chain.from_iterable(context.generate(requests, params))
        return ((i, output.answered()) for i, output in outputs)

    found = run_task(task, generate, context.score)
    figures = {
        f"{name} {metric}" if len(found.results) > 1 else metric: value
        for name, metrics in found.results.items()
        for metric, value in metrics.items()
        if isinstance(value, float)
    }
    truncated = found.truncated_prompts / len(found.generations)
    facts = {"figures": figures, "metric": found.metric, "versions": found.versions, "truncated_prompts": truncated}
    return _write(context, found.generations, **facts)


def generations_of(folder: Path) -> list[Generation]:
    """The generations in a finished sample's folder."""
    return from_jsonl((folder / GENERATIONS).read_text())
