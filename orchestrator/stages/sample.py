"""The stage `sample`: a model answers the training prompts, or a benchmark.

Answers are kept as they come, so that an attempt that is cut short is gone on with, not begun again.
"""

from collections.abc import Iterable, Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from evaluators.benchmarks import BENCHMARKS
from evaluators.engines.chat_template import Chat
from evaluators.engines.generations import (
    Generation,
    LmEvalGrade,
    content_ids,
    from_jsonl,
    read_generations,
    sampled_tokens,
    to_jsonl,
)
from evaluators.engines.prefill import Prefill, PrefillText
from evaluators.engines.requests import Request, SamplingParams
from evaluators.engines.thinking import strip_reasoning
from evaluators.evaluate import chats_of, example_ids
from orchestrator.stages import api_models, data
from orchestrator.store.context import StageContext, checkpoint_of
from orchestrator.store.stage import Stage
from orchestrator.study.benchmarks import Benchmark, GradedBenchmark, LmEvalBenchmark, benchmark_of
from orchestrator.study.prompts import Prompts
from orchestrator.study.schema import Study

VERSION = 2
ANSWERS = "answers.jsonl"


def of_prompts(model: Stage, study: Study) -> Stage:
    """The answers of a model, as it is, to the study's prompts."""
    api_models.check_answers(model, study.sampling.thinking)
    return Stage(
        "sample",
        VERSION,
        f"{model.name}-answers",
        {
            "prompts": data.prompts_identity(study.prompts),
            "sampling_params": study.sampling.model_dump(),
            **_numerics(model, study),
        },
        {"base": model},
        {"prompts": study.prompts.model_dump(), **_runtime(model, study)},
    )


def of_benchmark(
    name: str,
    benchmark: Benchmark,
    study: Study,
    model: Stage,
    student: Stage | None,
    prefill: Prefill | None = None,
    prefill_from: Stage | None = None,
) -> Stage:
    """A model's completions, or those of `student`, trained from it, of a benchmark that the study calls `name`.

    With `prefill` they begin with the start of those of `prefill_from`, a `sample` of the same benchmark.
    """
    api_models.check_asked(model, name, benchmark)
    inputs = {"base": model}
    if student is not None:
        inputs["student"] = student
    settings = {
        "benchmark": {"kind": benchmark.kind, "rows": data.rows_identity(benchmark), **_how(benchmark)},
        **_numerics(model, study),
    }
    if prefill is not None:
        assert prefill_from is not None
        inputs["prefill"] = prefill_from
        settings["prefill"] = {"tokens": prefill.tokens, "until": prefill.until}
    return Stage(
        "sample",
        VERSION,
        f"{(student or model).name}-{benchmark.task or benchmark.kind}{'-prefilled' if prefill else ''}",
        settings,
        inputs,
        {"name": name, "benchmark": benchmark.model_dump(), **_runtime(model, study)},
    )


def of_rephrased(model: Stage, study: Study, answers: Stage, template: str) -> Stage:
    """A model asked again about the answers of a sample: `template` names {prompt} and {answer}."""
    settings = {
        "rephrase": template,
        "sampling_params": study.sampling.model_dump(),
        **_numerics(model, study),
    }
    inputs = {"base": model, "answers": answers}
    return Stage("sample", VERSION, f"{answers.name}-rephrased", settings, inputs, _runtime(model, study))


def _numerics(model: Stage, study: Study) -> dict[str, Any]:
    """What decides an engine's answers; those of an API it does not."""
    return {} if api_models.is_api(model) else {"dtype": study.dtype, "max_model_len": study.max_model_len}


def _runtime(model: Stage, study: Study) -> dict[str, Any]:
    return {"retries": study.resources.retries, "engine": model.runtime.engine}


def _how(benchmark: Benchmark) -> dict[str, Any]:
    """All that decides how a benchmark is asked."""
    if isinstance(benchmark, LmEvalBenchmark):
        return {"chat": benchmark.chat, "shots": benchmark.shots, "version": data.version_of("lm_eval")}
    assert isinstance(benchmark, GradedBenchmark)
    module = BENCHMARKS.module(benchmark.kind)
    return {
        "prompt": benchmark.prompt or module.PROMPT,
        "system": benchmark.system,
        "sampling_params": {
            "max_tokens": benchmark.max_tokens or module.MAX_TOKENS,
            "temperature": benchmark.temperature,
            "top_p": benchmark.top_p,
            "n": benchmark.samples,
            "thinking": benchmark.thinking,
            "options": list(BENCHMARKS.module(benchmark.kind).OPTIONS) if benchmark.answer_by == "logprob" else [],
        },
    }


def run(work: StageContext) -> dict[str, Any]:
    if "benchmark" not in work.stage.runtime:
        ids, chats = _rephrased(work) if "rephrase" in work.stage.settings else _prompts(work)
        sampling_params = SamplingParams(**work.stage.settings["sampling_params"])
        return _leave(work, _ask(work, ids, chats, sampling_params, None))
    benchmark = benchmark_of(work.stage.runtime["benchmark"])
    if isinstance(benchmark, LmEvalBenchmark):
        return _run_task(work, benchmark)
    rows = data.read_benchmark(benchmark)
    how = work.stage.settings["benchmark"]
    sampling_params = SamplingParams(**{**how["sampling_params"], "options": tuple(how["sampling_params"]["options"])})
    ids = example_ids(benchmark.kind, rows)
    chats = chats_of(benchmark.kind, rows, how["prompt"], how["system"])
    return _leave(work, _ask(work, ids, chats, sampling_params, _prefills(work)))


def _prompts(work: StageContext) -> tuple[list[str], list[Chat]]:
    chats = data.read_prompts(Prompts(**work.stage.runtime["prompts"]))
    return content_ids(chats), chats


def _rephrased(work: StageContext) -> tuple[list[str], list[Chat]]:
    """What was said aloud in whole answers, to be said again; under the ids of the prompts that it answers."""
    ids, chats = [], []
    for one in answers_of(work.folder("answers")):
        answer = strip_reasoning(one.completions[0].text, one.prompt_opens_think_block)
        if answer and not one.completions[0].truncated:
            asked_for = work.stage.settings["rephrase"].format(prompt=one.prompt[-1]["content"], answer=answer)
            ids.append(one.id)
            chats.append([{"role": "user", "content": asked_for}])
    if not ids:
        raise ValueError("every answer is empty or was cut off, so none can be rephrased: raise sampling.max_tokens")
    return ids, chats


def _ask(
    work: StageContext,
    ids: list[str],
    chats: list,
    sampling_params: SamplingParams,
    begin: dict[str, PrefillText] | None,
) -> tuple[list[Generation], dict[str, Any]]:
    """The answers to each chat, of this and of earlier attempts, in order, and the digest of the template."""
    numbers = {id: number for number, id in enumerate(ids)}
    done = {one.id: one for one in from_jsonl(work.read_partial())}
    left = [i for i in ids if i not in done]
    requests = [Request(prompt=chats[numbers[i]], prefill=begin[i] if begin else (), number=numbers[i]) for i in left]
    template = None
    for chunk in work.ask("generate", requests, sampling_params):
        new = [Generation.of(left[place], chats[numbers[left[place]]], reply) for place, reply in chunk]
        template = chunk[0][1].template_digest
        done |= {one.id: one for one in new}
        if len(done) < len(ids):
            work.keep(to_jsonl(new))
    return [done[i] for i in ids], {"template": template}


def _leave(work: StageContext, result: tuple[list[Generation], dict[str, Any]]) -> dict[str, Any]:
    """Write the answers down; the facts for the record."""
    answered, facts = result
    (work.out / ANSWERS).write_text(to_jsonl(answered))
    answers = [answer for one in answered for answer in one.completions]
    return {
        "n": len(answered),
        "tokens": sampled_tokens(answered),
        "truncated": sum(answer.truncated for answer in answers) / len(answers),
        **api_models.counted(answers),
        **facts,
    }


def _prefills(work: StageContext) -> dict[str, PrefillText] | None:
    """The prefill of each example, by its id."""
    if "prefill" not in work.stage.inputs:
        return None
    source = work.stage.inputs["prefill"].inputs["base"]
    prefill = Prefill(from_model=source.name, **work.stage.settings["prefill"])
    tokenizer, same_model = _Tokenizer(work, source), source == work.stage.inputs["base"]
    return {one.id: prefill.cut(one, tokenizer, as_ids=same_model) for one in answers_of(work.folder("prefill"))}


class _Tokenizer:
    """The tokenizer of a model of the study, read when it is needed."""

    def __init__(self, work: StageContext, model: Stage):
        self._work, self._model = work, model

    @cached_property
    def _tokenizer(self):
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(checkpoint_of(self._work.store, self._model.address))

    def decode(self, ids: Iterable[int]) -> str:
        return self._tokenizer.decode(list(ids), skip_special_tokens=True)


def _run_task(work: StageContext, benchmark: LmEvalBenchmark) -> dict[str, Any]:
    """lm-eval asks by its own prompts, and grades; its answers are not kept before they are all there."""
    from evaluators.lm_eval_tasks import LmEvalTask, run_task

    checkpoint = checkpoint_of(work.store, work.stage.inputs["base"].address)
    task = LmEvalTask(
        name=str(benchmark.task),
        tokenizer=checkpoint,
        max_model_len=work.stage.settings["max_model_len"],
        chat=benchmark.chat,
        rows=benchmark.source,
        n=benchmark.n,
        seed=benchmark.seed,
        shots=benchmark.shots,
    )

    def flat(what: str, requests: list[Request], *how: Any) -> Iterator[tuple[int, Any]]:
        return (result for chunk in work.ask(what, requests, *how) for result in chunk)

    found = run_task(task, partial(flat, "generate"), partial(flat, "score"))
    answered = [
        Generation(
            id=one.id,
            prompt=[{"role": "user", "content": one.prompt}],
            prompt_token_ids=one.prompt_token_ids,
            prefill_token_ids=(),
            completions=one.completions,
            lm_eval=LmEvalGrade(task=one.task, score=one.score, metrics=one.metrics),
        )
        for one in found.examples
    ]
    figures = {
        f"{name} {metric}" if len(found.results) > 1 else metric: value
        for name, metrics in found.results.items()
        for metric, value in metrics.items()
        if isinstance(value, float)
    }
    truncated = sum(one.prompt_truncated for one in found.examples) / len(found.examples)
    facts = {"figures": figures, "metric": found.metric, "versions": found.versions, "truncated_prompts": truncated}
    return _leave(work, (answered, facts))


def answers_of(folder: Path) -> list[Generation]:
    return read_generations(folder / ANSWERS)
