"""Runs a task of lm-eval in this process."""

import json
from collections import defaultdict
from dataclasses import replace
from statistics import fmean
from typing import Any

import lm_eval

from evaluators.engines.generations import Generation, LmEvalGrade, content_ids
from evaluators.lm_eval_tasks.load import load, seed_few_shot
from evaluators.lm_eval_tasks.model import EngineLM, Output, Text
from evaluators.lm_eval_tasks.scores import scores
from evaluators.lm_eval_tasks.task import Generate, LmEvalResult, LmEvalTask, Score
from evaluators.rows import choose


def evaluate(task: LmEvalTask, generate: Generate, score: Score) -> LmEvalResult:
    """Run a task; other code calls `run_task`, which does this in a child process."""
    model = EngineLM(task, generate, score)
    loaded = load(task)
    sizes = {name: len(one.eval_docs) for name, one in loaded["tasks"].items()}
    pool = [{"task": name, "index": index} for name, size in sizes.items() for index in range(size)]
    if task.n is not None and task.n > len(pool):
        raise ValueError(f"n: lm_eval:{task.name} has {len(pool)} rows, fewer than {task.n}: lower n")
    drawn = [(row["task"], row["index"]) for row in choose(pool, task.n, task.seed)]
    # lm-eval needs sorted indices: it confuses the examples otherwise.
    indices = {name: sorted(index for one, index in drawn if one == name) for name in sizes}
    loaded["tasks"] = {name: one for name, one in loaded["tasks"].items() if indices[name]}
    evaluations = []
    for model.graded_sample in range(task.sampling.samples):
        seed_few_shot(loaded)
        evaluations.append(
            lm_eval.evaluate(
                model,
                loaded,
                samples=None if task.n is None else indices,
                bootstrap_iters=0,
                apply_chat_template=task.chat,
                fewshot_as_multiturn=task.chat,
            )
        )
    return _result(evaluations, loaded["tasks"], drawn)


def _result(evaluations: list[dict[str, Any]], tasks: dict[str, Any], drawn: list[tuple[str, int]]) -> LmEvalResult:
    """The result for the drawn examples, each given by its task and its index in the data set. lm-eval has evaluated
    each sample of them by itself."""
    samples: dict[tuple[str, int], list[dict[str, Any]]] = defaultdict(list)
    metrics, main = {}, {}
    for name, task in tasks.items():
        by_sample = [one["samples"][name] for one in evaluations]
        main[name], metrics[name] = scores(name, task, by_sample)
        for graded in by_sample:
            # There is one for each filter.
            for index, sample in {sample["doc_id"]: sample for sample in reversed(graded)}.items():
                samples[name, index].append(sample)
    ids = content_ids([key[0], json.dumps(samples[key][0]["doc"], sort_keys=True, default=str)] for key in drawn)
    generations, truncated_prompts = [], 0
    for id, (name, index) in zip(ids, drawn, strict=True):
        prompt, outputs = _outputs(tasks[name], samples[name, index])
        truncated_prompts += outputs[0].prompt_truncated
        own = metrics[name][index]
        generations.append(
            Generation(
                id=id,
                prompt=[{"role": "user", "content": prompt}],
                prompt_token_ids=outputs[0].prompt_token_ids,
                prefill_token_ids=outputs[0].prefill_token_ids,
                prompt_opens_think_block=outputs[0].prompt_opens_think_block,
                completions=tuple(output.completion for output in outputs),
                lm_eval=LmEvalGrade(task=name, score=own[main[name]], metrics=own),
            )
        )
    return LmEvalResult(
        generations=generations,
        truncated_prompts=truncated_prompts,
        results={name: _mean([one["results"][name] for one in evaluations]) for name in evaluations[0]["results"]},
        metric=main,
        versions=evaluations[0]["versions"],
    )


def _mean(metrics: list[dict[str, Any]]) -> dict[str, Any]:
    """Metrics averaged, where they are numbers; all else of the first."""
    return {
        key: fmean(one[key] for one in metrics) if isinstance(value, float) else value
        for key, value in metrics[0].items()
    }


def _outputs(task: Any, samples: list[dict[str, Any]]) -> tuple[str, list[Output]]:
    """The prompt, and the outputs that were generated; or the most likely option as the only output."""
    sample = samples[0]
    generated = [text.output for one in samples for texts in one["resps"] for text in texts if isinstance(text, Text)]
    if generated:
        return sample["arguments"][0][0], generated
    scored = [repeats[0] for repeats in sample["resps"]]
    options = [text for _, text in sample["arguments"]]
    if task.OUTPUT_TYPE == "multiple_choice":
        options = task.doc_to_choice(sample["doc"])
        scored = scored[: len(options)]  # Some tasks also score the options without the question.
    logprobs = tuple(float(logprob) for logprob, _ in scored)
    best = logprobs.index(max(logprobs))
    output = scored[best].output
    completion = replace(output.completion, text=options[best], option_logprobs=logprobs)
    return sample["arguments"][best][0], [replace(output, completion=completion)]
