"""A task of lm-eval, run in this process."""

import json
from dataclasses import replace
from typing import Any

import lm_eval

from evaluators.engines.generations import content_ids
from evaluators.lm_eval_tasks.load import load
from evaluators.lm_eval_tasks.model import EngineLM, Given, Text
from evaluators.lm_eval_tasks.scores import scores
from evaluators.lm_eval_tasks.task import Answering, LmEvalExample, LmEvalResult, LmEvalTask, Weighing
from evaluators.rows import choose


def evaluate(task: LmEvalTask, answer: Answering, likelihood: Weighing) -> LmEvalResult:
    """See `run_task`, which is the way to do it beside other things."""
    model = EngineLM(task, answer, likelihood)
    loaded = load(task)
    sizes = {name: len(one.eval_docs) for name, one in loaded["tasks"].items()}
    pool = [{"task": name, "place": place} for name, size in sizes.items() for place in range(size)]
    if task.n is not None and task.n > len(pool):
        raise ValueError(f"n: {task.n} rows are asked for, but lm_eval:{task.name} has {len(pool)}")
    drawn = [(row["task"], row["place"]) for row in choose(pool, task.n, task.seed)]
    # lm-eval mixes up places that are not sorted.
    places = {name: sorted(place for one, place in drawn if one == name) for name in sizes}
    loaded["tasks"] = {name: one for name, one in loaded["tasks"].items() if places[name]}
    found = lm_eval.evaluate(
        model,
        loaded,
        samples=None if task.n is None else places,
        bootstrap_iters=0,
        apply_chat_template=task.chat,
        fewshot_as_multiturn=task.chat,
    )
    return _result(found, loaded["tasks"], drawn)


def _result(found: dict[str, Any], tasks: dict[str, Any], drawn: list[tuple[str, int]]) -> LmEvalResult:
    """Of what lm-eval found, for the drawn examples: each one's task, and its place in the data set."""
    samples: dict[tuple[str, int], dict[str, Any]] = {}
    metrics, main = {}, {}
    for name, task in tasks.items():
        main[name], metrics[name] = scores(name, task, found["samples"][name])
        for sample in found["samples"][name]:
            samples.setdefault((name, sample["doc_id"]), sample)  # There is one by each filter.
    ids = content_ids([key[0], json.dumps(samples[key]["doc"], sort_keys=True, default=str)] for key in drawn)
    examples = []
    for id, (name, place) in zip(ids, drawn, strict=True):
        prompt, given = _given(tasks[name], samples[name, place])
        first, answers, values = given[0], tuple(one.answer for one in given), metrics[name][place]
        score = values[main[name]]
        examples.append(
            LmEvalExample(id, name, prompt, first.prompt_token_ids, first.truncated, answers, score, values)
        )
    return LmEvalResult(examples, found["results"], main, found["versions"])


def _given(task: Any, sample: dict[str, Any]) -> tuple[str, list[Given]]:
    """The prompt, and what was generated, or the likeliest of the texts that the example gives."""
    generated = [text.given for texts in sample["resps"] for text in texts if isinstance(text, Text)]
    if generated:
        return sample["arguments"][0][0], generated
    chances = [repeats[0] for repeats in sample["resps"]]
    texts = [text for _, text in sample["arguments"]]
    if task.OUTPUT_TYPE == "multiple_choice":
        texts = task.doc_to_choice(sample["doc"])
        chances = chances[: len(texts)]  # There may be more, without the question, to compare with.
    logprobs = tuple(float(logprob) for logprob, _ in chances)
    best = logprobs.index(max(logprobs))
    given = chances[best].given
    likeliest = replace(given.answer, text=texts[best], option_logprobs=logprobs)
    return sample["arguments"][best][0], [replace(given, answer=likeliest)]
