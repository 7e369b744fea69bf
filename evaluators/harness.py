"""Any task of lm-eval (https://github.com/EleutherAI/lm-evaluation-harness), asked of our own engines.

lm-eval makes the prompts and grades the answers; `FleetLM` is its model interface over `Engine.answer` and
`Engine.likelihood`. It follows lm-eval's own vLLM model and departs from it in these points:

- a task that sets neither `do_sample` nor `temperature` is asked greedily, as by lm-eval's Hugging Face model; its vLLM
  model would sample at temperature 1;
- an answer's text is decoded as by lm-eval's Hugging Face model, without special tokens and without the blank that some
  tokenizers put before a first word; a special token among a task's stop strings ends an answer all the same;
- a prompt or option that can only be cut to nothing is refused, as is a setting that `Decoding` does not have
  (`num_beams`).

`run_task` gives lm-eval a process of its own: it seeds and logs as it likes, and the time limits in which its tasks
grade are signals, which fail, some of them in silence and with wrong scores, anywhere but in a process's main thread.
"""

import difflib
import hashlib
import json
import math
import os
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache, cached_property
from importlib.metadata import version
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from evaluators.engine import Answer, Decoding, Likelihood, Reply, Request
from evaluators.rows import choose, read_rows

Answering = Callable[[list[Request], Decoding], Iterable[tuple[int, Reply]]]
Weighing = Callable[[list[Request]], Iterable[tuple[int, Likelihood]]]

MAX_TOKENS = 256  # of an answer, where a task does not say; lm-eval's own default
SEEDS = {"random": 0, "numpy": 1234, "torch": 1234, "fewshot": 1234}  # lm-eval's own
QUIET = {
    "TQDM_DISABLE": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TOKENIZERS_PARALLELISM": "false",
    "CUDA_VISIBLE_DEVICES": "",  # The GPUs are the engines'.
    "PYTHONHASHSEED": "0",  # The order of sympy's sets follows hashes, and a grade shall not.
}


@dataclass(frozen=True)
class HarnessTask:
    """A task of lm-eval, or a group of them, and how it is asked.

    `tokenizer` is a folder or hub id, `context` the engine's (None: what the checkpoint's configuration says). `rows`
    is a JSONL file in the task's own schema, in the place of its data set. `n` rows are drawn by `seed`, which also
    seeds samples. `shots` and `generation` override the task's `num_fewshot` and `generation_kwargs`.
    """

    name: str
    tokenizer: str
    context: int | None = None
    chat: bool = True
    rows: str | None = None
    n: int | None = None
    seed: int = 0
    shots: int | None = None
    generation: dict[str, Any] | None = None


@dataclass(frozen=True)
class HarnessExample:
    """One example as it was asked, answered, and graded by lm-eval.

    `id` belongs to the content of the row. `answers` are what was generated, with all repeats; where a task compares
    the likelihoods of given texts it is the likeliest one, with those of all as its `option_logprobs`. `truncated`: the
    prompt lost its beginning to fit into the context. `score` is the example's value of its task's main metric
    (`HarnessResult.metric`), and `metrics` has all that are numbers, by "name,filter".
    """

    id: str
    task: str
    prompt: str
    prompt_ids: tuple[int, ...]
    truncated: bool
    answers: tuple[Answer, ...]
    score: float
    metrics: dict[str, float]


@dataclass(frozen=True)
class HarnessResult:
    """The examples, in the order in which they were drawn, and what lm-eval makes of them all.

    The other fields are by task: lm-eval's metrics (groups have theirs too), the main metric, whether more of it is
    better, the number of examples in the prompt, and the task's version.
    """

    examples: list[HarnessExample]
    results: dict[str, dict[str, Any]]
    metric: dict[str, str]
    higher_is_better: dict[str, bool]
    shots: dict[str, int]
    versions: dict[str, Any]
    lm_eval: str


def check(name: str) -> None:
    """Raise ValueError for a task that lm-eval does not have, or that is not run here. Loads no data set."""
    index = _manager().task_index
    if name not in index:
        near = difflib.get_close_matches(name, index, 5)
        raise ValueError(
            f'lm-eval {version("lm_eval")} has no task "{name}"'
            + (f"; the nearest are {', '.join(near)}" if near else "; `lm-eval ls tasks` lists them")
        )
    for task, config in _parts(name):
        metrics = config.get("metric_list") or []
        if config.get("unsafe_code"):
            raise ValueError(f"lm_eval:{task} runs code that the model writes (confirm_run_unsafe_code): not run here")
        if any(isinstance(metric, dict) and metric.get("hf_evaluate") for metric in metrics):
            raise ValueError(f"lm_eval:{task} downloads the code of its metric (hf_evaluate): not run here")
        if config.get("doc_to_image") or config.get("doc_to_audio"):
            raise ValueError(f"lm_eval:{task} shows images or sounds, which the engines do not take")


def run_task(task: HarnessTask, answer: Answering, likelihood: Weighing) -> HarnessResult:
    """Run a task of lm-eval in a process of its own, which asks the callables here. Any thread may call it.

    Raises ValueError for what the task or its settings do not allow.
    """
    here, there = Pipe()
    path = os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
    child = subprocess.Popen(
        [sys.executable, "-c", f"from evaluators import harness; harness._serve({there.fileno()})"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,  # Some tasks print.
        pass_fds=[there.fileno()],
        env={**os.environ, **QUIET, "PYTHONPATH": path},
    )
    there.close()
    with child, here:
        try:
            here.send(task)
            while True:
                kind, *content = here.recv()
                if kind == "answer":
                    here.send(list(answer(*content)))
                elif kind == "likelihood":
                    here.send(list(likelihood(*content)))
                elif kind == "result":
                    return content[0]
                else:
                    raise (ValueError if kind == "refused" else RuntimeError)(content[0])
        except (EOFError, ConnectionError) as error:
            raise RuntimeError(f"lm-eval ended with exit status {child.wait()}; its last words are above") from error
        finally:
            child.kill()


def _serve(descriptor: int) -> None:
    """The other end of `run_task`."""
    import logging
    import random
    import traceback

    import evaluate as hf_evaluate
    import numpy
    import torch

    logging.basicConfig(level=logging.WARNING)
    logging.getLogger("lm_eval").setLevel(logging.WARNING)
    random.seed(SEEDS["random"])
    numpy.random.seed(SEEDS["numpy"])
    torch.manual_seed(SEEDS["torch"])
    hf_evaluate.load = _no_remote_code
    there = Connection(descriptor)

    def ask(*question: Any) -> Any:
        there.send(question)
        return there.recv()

    try:
        result = evaluate(there.recv(), lambda *asked: ask("answer", *asked), lambda *asked: ask("likelihood", *asked))
        there.send(("result", result))
    except ValueError as error:
        there.send(("refused", str(error)))
    except Exception:  # noqa: BLE001  # Raised again in whoever asked for the task.
        there.send(("failed", traceback.format_exc()))


def _no_remote_code(name: str, *_: Any, **__: Any) -> None:
    raise ValueError(f"the metric {name} is code that would be downloaded: not run here")


def evaluate(task: HarnessTask, answer: Answering, likelihood: Weighing) -> HarnessResult:
    """Run a task of lm-eval in this process; see `run_task`, which is the way to do it beside other things."""
    import lm_eval

    model = _model(task, answer, likelihood)
    check(task.name)
    loaded = _load(task)
    drawn = _draw(task, loaded["tasks"])
    samples = {name: sorted(places) for name, places in drawn.items()}  # lm-eval mixes up unsorted ones.
    loaded["tasks"] = {name: one for name, one in loaded["tasks"].items() if samples[name]}
    found = lm_eval.evaluate(
        model,
        loaded,
        samples=samples if task.n is not None else None,
        bootstrap_iters=0,
        apply_chat_template=task.chat,
        fewshot_as_multiturn=task.chat,
    )
    examples: dict[tuple[str, int], HarnessExample] = {}
    metric = {}
    for name, one in loaded["tasks"].items():
        metric[name], own = _examples(name, one, model, found["samples"][name], samples[name])
        examples |= {(name, place): example for place, example in own.items()}
    order = sorted(examples, key=lambda key: drawn[key[0]][key[1]])
    return HarnessResult(
        examples=_with_ids_apart([examples[key] for key in order]),
        results={name: _plain(values) for name, values in found["results"].items()},
        metric=metric,
        higher_is_better={
            name: bool(found["higher_is_better"][name].get(key.partition(",")[0], True)) for name, key in metric.items()
        },
        shots={name: found["n-shot"][name] for name in metric},
        versions=found["versions"],
        lm_eval=version("lm_eval"),
    )


@cache
def _manager():
    from lm_eval.tasks import TaskManager

    return TaskManager()


def _parts(name: str, config: dict[str, Any] | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
    """The tasks of a task, group or tag, with their configurations."""
    entry = _manager().task_index.get(name)
    config = {**((entry and entry.cfg) or {}), **(config or {})}
    if entry and entry.kind.name == "TAG":
        for one in entry.tags:
            yield from _parts(one)
    elif isinstance(config.get("task"), list):
        for one in config["task"]:
            if isinstance(one, str):
                yield from _parts(one)
            else:
                yield from _parts(one["group"] if "group" in one else one["task"], one)
    else:
        yield name, config


def _load(task: HarnessTask) -> Any:
    """The task, or the tasks of a group, with data sets; as lm-eval's simple_evaluate makes them ready."""
    import logging

    from jinja2 import TemplateError

    logger = logging.getLogger("lm_eval")
    level = logger.level
    logger.setLevel(logging.ERROR)  # Its warnings now are about how tasks are written.
    try:
        loaded = _manager().load([task.name if task.rows is None else _with_rows(task, task.rows)])
    except (OSError, RuntimeError, ImportError) as error:
        raise ValueError(
            f"lm_eval:{task.name}: its data, or a package that it needs, is not at hand: {error}"
        ) from error
    except (LookupError, TypeError, AttributeError, TemplateError) as error:
        if task.rows is None:
            raise
        raise ValueError(
            f"{task.rows}: the rows do not have the schema of lm_eval:{task.name} ({type(error).__name__}: {error})"
        ) from error
    finally:
        logger.setLevel(level)
    for one in loaded["tasks"].values():
        if task.generation and one.get_config("output_type") == "generate_until":
            one.set_config("generation_kwargs", task.generation, update=True)
        one.set_config("num_fewshot", _shots(task, one.get_config("num_fewshot")))
        one.set_fewshot_seed(SEEDS["fewshot"])
    return loaded


def _shots(task: HarnessTask, own: int | None) -> int:
    """A task that says 0 is never asked otherwise, as in lm-eval."""
    if own == 0 or task.shots is None:
        return own or 0
    return task.shots


def _with_rows(task: HarnessTask, rows: str) -> dict[str, Any]:
    """The task's configuration, with these rows for its data set."""
    import datasets
    from lm_eval.tasks._yaml_loader import load_yaml

    entry = _manager().task_index[task.name]
    if entry.kind.name != "TASK":
        raise ValueError(
            f"lm_eval:{task.name} is a {entry.kind.name.lower()}, so rows cannot take the place of its data set"
        )
    config = load_yaml(entry.yaml_path)
    split = config.get("test_split") or config.get("validation_split")
    fewshot = dict(config.get("fewshot_config") or {})
    shown = fewshot.pop("split", None) or config.get("fewshot_split")
    shots = _shots(task, config.get("num_fewshot"))
    if shots and shown != split and not fewshot.get("samples"):
        raise ValueError(
            f"lm_eval:{task.name} shows {shots} examples from another split of its data set, which rows do not have: "
            f"set shots to 0, or leave rows out"
        )
    data = datasets.Dataset.from_list(read_rows(rows))
    if not data:
        raise ValueError(f"{rows}: no rows")
    return config | {
        "custom_dataset": lambda **_: {split: data},
        "training_split": None,
        "validation_split": None if config.get("test_split") else split,
        "fewshot_split": split if shown == split else None,
        "fewshot_config": fewshot or None,
    }


def _draw(task: HarnessTask, tasks: dict[str, Any]) -> dict[str, dict[int, int]]:
    """The places of the chosen rows in each task's data set, with their places among all that are drawn."""
    pool = [{"task": name, "place": place} for name, one in tasks.items() for place in range(len(one.eval_docs))]
    drawn: dict[str, dict[int, int]] = {name: {} for name in tasks}
    for order, row in enumerate(choose(pool, task.n, task.seed)):
        drawn[row["task"]][row["place"]] = order
    return drawn


def _examples(
    name: str, task: Any, model: "FleetLM", samples: list[dict[str, Any]], places: list[int]
) -> tuple[str, dict[int, HarnessExample]]:
    """The task's main metric, and its examples by their places in the data set.

    The main metric is the first one of the task's list that is a number for every example, with the first filter.
    """
    metrics: dict[int, dict[str, float]] = defaultdict(dict)
    keys: dict[str, None] = {}
    for sample in samples:
        for metric in sample["metrics"]:
            key = f"{metric},{sample['filter']}"
            keys[key] = None
            value = _number(sample[metric], task.aggregation().get(metric))
            if value is not None:
                metrics[sample["doc_id"]][key] = value
    listed = [metric["metric"] for metric in task.get_config("metric_list") or []]
    first = samples[0]["filter"]
    wanted = [f"{one.__name__ if callable(one) else one},{first}" for one in listed]
    main = next((key for key in [*wanted, *keys] if all(key in metrics[s["doc_id"]] for s in samples)), None)
    if main is None:
        raise ValueError(f"lm_eval:{name} has no metric that is a number for every example ({', '.join(keys)})")
    numbers = {place: number for number, place in enumerate(places)}  # lm-eval's own of the documents
    examples = {}
    for sample in samples:
        if sample["filter"] == first:
            place = sample["doc_id"]
            given = model.generated.get((name, numbers[place])) or [_likeliest(task, model, sample)]
            examples[place] = HarnessExample(
                id=_content_id(name, sample["doc"]),
                task=name,
                prompt=given[0].prompt,
                prompt_ids=given[0].prompt_ids,
                truncated=given[0].truncated,
                answers=tuple(one.answer for one in given),
                score=metrics[place][main],
                metrics=metrics[place],
            )
    return main, examples


def _likeliest(task: Any, model: "FleetLM", sample: dict[str, Any]) -> "Given":
    """The likeliest of the texts that an example gives."""
    texts = task.doc_to_choice(sample["doc"]) if task.OUTPUT_TYPE == "multiple_choice" else None
    asked = sample["arguments"]
    if texts is not None:
        asked = asked[: len(texts)]  # There may be more, without the question, to compare with.
    chances = [resps[0][0] if isinstance(resps[0], tuple) else resps[0] for resps in sample["resps"]][: len(asked)]
    best = max(range(len(asked)), key=chances.__getitem__)
    given = model.weighed[asked[best]]
    text = given.answer.text if texts is None else texts[best]
    return replace(given, answer=replace(given.answer, text=text, option_logprobs=tuple(map(float, chances))))


def _number(value: Any, aggregate: Callable[[list], Any] | None) -> float | None:
    """A metric's value for one example; of what is no number, as (log-likelihood, words), what lm-eval makes of it."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        if aggregate is None:
            return None
        try:
            number = float(aggregate([value]))
        except (TypeError, ValueError, IndexError, ArithmeticError):
            return None
    return number if math.isfinite(number) else None


def _content_id(task: str, row: Any) -> str:
    content = f"lm_eval:{task} {json.dumps(row, sort_keys=True, default=str)}"
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _with_ids_apart(examples: list[HarnessExample]) -> list[HarnessExample]:
    """A row that a data set has twice has its place among those that are equal added to its id."""
    seen: Counter[str] = Counter()
    apart = []
    for example in examples:
        seen[example.id] += 1
        same = seen[example.id]
        apart.append(example if same == 1 else replace(example, id=f"{example.id}-{same}"))
    return apart


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Without numpy's types."""
    return {key: value.item() if hasattr(value, "item") else value for key, value in values.items()}


@dataclass(frozen=True)
class Given:
    """What one request came to."""

    prompt: str
    prompt_ids: tuple[int, ...]
    truncated: bool
    answer: Answer


def _model(task: HarnessTask, answer: Answering, likelihood: Weighing) -> "FleetLM":
    from lm_eval.api.model import TemplateLM

    return type("FleetLM", (FleetLM, TemplateLM), {})(task, answer, likelihood)


class FleetLM:
    """What a model has to bring to lm-eval's TemplateLM. `_model` puts the two together: lm-eval is slow to import.

    Keeps what it was asked: `generated` by task and lm-eval's number of the document, `weighed` by lm-eval's arguments.
    """

    def __init__(self, task: HarnessTask, answer: Answering, likelihood: Weighing):
        from transformers import AutoTokenizer

        super().__init__()
        self._task, self._answer, self._likelihood = task, answer, likelihood
        self.tokenizer = AutoTokenizer.from_pretrained(task.tokenizer)
        self.generated: dict[tuple[str, int], list[Given]] = defaultdict(list)
        self.weighed: dict[tuple[str, ...], Given] = {}
        if task.chat and not self.tokenizer.chat_template:
            raise ValueError(f"{task.tokenizer} has no chat template: set chat to false")

    @cached_property
    def max_length(self) -> int:
        from lm_eval.models.utils import resolve_max_length
        from transformers import AutoConfig

        return self._task.context or resolve_max_length(AutoConfig.from_pretrained(self._task.tokenizer))

    @property
    def eot_token_id(self) -> int:
        return self.tokenizer.eos_token_id

    @property
    def prefix_token_id(self) -> int:
        bos = self.tokenizer.bos_token_id
        return self.eot_token_id if bos is None else bos

    @property
    def tokenizer_name(self) -> str:
        return self.tokenizer.name_or_path.replace("/", "__")

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        from jinja2 import TemplateError

        def text(chat: list[dict[str, str]]) -> str:
            return self.tokenizer.apply_chat_template(
                chat,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                continue_final_message=not add_generation_prompt,
            )

        try:
            prompt = text(chat_history)
        except TemplateError:  # Some templates know no system message, and lm-eval's models then leave it out.
            prompt = text([message for message in chat_history if message["role"] != "system"])
        if self.tokenizer.bos_token and prompt.startswith(2 * self.tokenizer.bos_token):
            raise ValueError("the model's chat template writes its BOS token twice: mend the template")
        return prompt

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        if add_special_tokens is None:
            begin = self.tokenizer.bos_token
            add_special_tokens = not (begin and string.startswith(begin))
        return self.tokenizer(string, add_special_tokens=add_special_tokens).input_ids

    def _loglikelihood_tokens(
        self, requests: list[tuple[Any, list[int], list[int]]], **_: Any
    ) -> list[tuple[float, bool]]:
        asked: list[Request] = []
        for arguments, prompt, text in requests:
            room = self.max_length - 1 - len(text)  # vLLM always makes one token.
            if room < 1:
                raise ValueError(
                    f"a text of {len(text)} tokens whose likelihood lm_eval:{self._task.name} asks for does not fit "
                    f"into the context of {self.max_length}"
                )
            kept = tuple(prompt or [self.prefix_token_id])[-room:]
            asked.append(Request(kept, tuple(text), len(asked)))
            if arguments is not None:
                answer = Answer(tuple(text), arguments[1], False)
                self.weighed[arguments] = Given(arguments[0], kept, len(prompt) > room, answer)
        found = dict(self._likelihood(asked))
        return [(sum(found[i].logprobs), all(found[i].greedy)) for i in range(len(asked))]

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = True) -> list[float]:
        from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

        windows, owners = [], []
        for owner, request in enumerate(requests):
            ids = self.tok_encode(request.args[0])
            for window in get_rolling_token_windows(ids, self.prefix_token_id, self.max_length - 2, 1):
                windows.append((None, *make_disjoint_window(window)))
                owners.append(owner)
            answer = Answer(tuple(ids), request.args[0], False)
            self.weighed[request.args] = Given("", (self.prefix_token_id,), False, answer)
        sums = [0.0] * len(requests)
        for owner, (logprob, _) in zip(owners, self._loglikelihood_tokens(windows), strict=True):
            sums[owner] += logprob
        return sums

    def generate_until(self, requests: list[Any], disable_tqdm: bool = True) -> list[str]:
        """The whole task at once; a batch has all requests of the same sampling settings.

        A request's place is its number, so that repeats of an example differ where they are sampled.
        """
        batches: dict[Decoding, list[Request]] = defaultdict(list)
        special: dict[int, set[int]] = {}
        truncated: dict[int, bool] = {}
        for place, request in enumerate(requests):
            context, settings = request.args[:2]
            decoding, special[place] = self._decoding(settings)
            ids, room = self.tok_encode(context), self.max_length - decoding.max_tokens
            truncated[place] = len(ids) > room
            batches[decoding].append(Request(tuple(ids[-room:]), (), place))
        answers: dict[int, Answer] = {}
        for decoding, batch in batches.items():
            for i, reply in self._answer(batch, decoding):
                place = batch[i].number
                answers[place] = self._ended(reply.answers[0], special[place], decoding.stop)
        prompts = {request.number: request.prompt for batch in batches.values() for request in batch}
        for place, request in enumerate(requests):
            given = Given(request.args[0], tuple(prompts[place]), truncated[place], answers[place])  # type: ignore[arg-type]
            self.generated[request.task_name, request.doc_id].append(given)
        return [answers[place].text for place in range(len(requests))]

    def _decoding(self, settings: dict[str, Any]) -> tuple[Decoding, set[int]]:
        """A task's settings, and the special tokens among its stop strings."""
        from lm_eval.models.utils import normalize_gen_kwargs

        told = dict(normalize_gen_kwargs(settings, MAX_TOKENS))
        max_tokens, until, sampled = told.pop("max_gen_toks"), told.pop("until"), told.pop("do_sample", False)
        temperature = float(told.pop("temperature", 1.0 if sampled else 0.0))
        top_p = float(told.pop("top_p", None) or 1.0)
        if told.get("num_beams") == 1:
            del told["num_beams"]
        if told:
            raise ValueError(f"lm_eval:{self._task.name} sets {', '.join(told)}, which the engines do not take")
        if max_tokens >= self.max_length:
            raise ValueError(
                f"lm_eval:{self._task.name} asks for answers of {max_tokens} tokens, which leave no room for a prompt "
                f"in the context of {self.max_length}: set generation max_gen_toks"
            )
        stop = tuple(text for text in until if text and text not in self._special)
        special = {self._special[text] for text in until if text in self._special} | {self.eot_token_id}
        return Decoding(
            max_tokens, temperature, top_p if temperature else 1.0, seed=self._task.seed, stop=stop
        ), special

    @cached_property
    def _special(self) -> dict[str, int]:
        return {str(token): id for id, token in self.tokenizer.added_tokens_decoder.items() if token.special}

    def _ended(self, answer: Answer, special: set[int], stop: tuple[str, ...]) -> Answer:
        """The answer up to its first special token that ends it: an engine only looks for the stops that are text."""
        at = next((i for i, token in enumerate(answer.ids) if token in special), len(answer.ids))
        if at >= len(answer.ids) - 1:
            return answer
        ids = answer.ids[: at + 1]
        text = self.tokenizer.decode(ids, skip_special_tokens=True)
        for end in stop:
            text = text.partition(end)[0]
        return Answer(ids, text, False)
