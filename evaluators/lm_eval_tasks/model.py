"""lm-eval's model interface, implemented with an engine's `generate` and `score`."""

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Any

from jinja2 import TemplateError
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import normalize_gen_kwargs, resolve_max_length
from transformers import AutoConfig, AutoTokenizer

from evaluators.engines.chat_template import may_reason, switch
from evaluators.engines.requests import Completion, Request, RequestOutput, SamplingParams
from evaluators.engines.thinking import strip_reasoning
from evaluators.lm_eval_tasks.index import MAX_TOKENS
from evaluators.lm_eval_tasks.task import Generate, LmEvalTask, Score


@dataclass(frozen=True, kw_only=True)
class Output:
    """The engine's output for one request of lm-eval."""

    prompt_token_ids: tuple[int, ...]
    prompt_truncated: bool
    completion: Completion
    prefill_token_ids: tuple[int, ...] = ()
    prompt_opens_think_block: bool = False


class Text(str):
    """What is graded of a completion, with its output: lm-eval stores the object itself in its samples."""

    output: Output


class Logprob(tuple[float, bool]):
    """A continuation's log-probability, and whether it is the greedy one; with its output, like `Text`."""

    output: Output


class EngineLM(TemplateLM):
    """The model that lm-eval evaluates.

    All samples of a task are generated when lm-eval asks for completions the first time. It gets those of the number
    `graded_sample`, and evaluates the task once for each.
    """

    tokenizer_name = ""  # for a cache that is not used
    graded_sample = 0

    def __init__(self, task: LmEvalTask, generate: Generate, score: Score):
        super().__init__()
        self._task, self._generate, self._score = task, generate, score
        self._requests: list[Any] = []  # the arguments of those that lm-eval has made
        self._texts: list[list[Text]] = []  # by request and sample
        self.tokenizer = AutoTokenizer.from_pretrained(task.tokenizer)
        self.max_length = task.max_model_len or resolve_max_length(AutoConfig.from_pretrained(task.tokenizer))
        if task.chat and not self.tokenizer.chat_template:
            raise ValueError(f"{task.tokenizer} has no chat template: set chat to false")
        self._may_reason = task.chat and may_reason(self.tokenizer, task.sampling.thinking)

    @property
    def eot_token_id(self) -> int:
        return self.tokenizer.eos_token_id

    @property
    def prefix_token_id(self) -> int:
        bos = self.tokenizer.bos_token_id
        return self.eot_token_id if bos is None else bos

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        thinking = self._task.sampling.thinking
        if not add_generation_prompt and thinking in ("on", "empty"):
            raise ValueError(
                f"lm_eval:{self._task.name} begins each completion with a text of its own (gen_prefix), so none can "
                f"begin with reasoning: leave thinking out, or use thinking: off"
            )
        options = {
            "add_generation_prompt": add_generation_prompt,
            "continue_final_message": not add_generation_prompt,
            **switch(self.tokenizer, thinking),
        }
        try:
            return self.tokenizer.apply_chat_template(chat_history, tokenize=False, **options)
        except TemplateError:  # Some templates refuse a system message; lm-eval's own models then remove it.
            chat = [message for message in chat_history if message["role"] != "system"]
            return self.tokenizer.apply_chat_template(chat, tokenize=False, **options)

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        if add_special_tokens is None:
            bos = self.tokenizer.bos_token
            add_special_tokens = not (bos and string.startswith(bos))
        return self.tokenizer(string, add_special_tokens=add_special_tokens).input_ids

    def _loglikelihood_tokens(
        self, requests: list[tuple[tuple[str, str], list[int], list[int]]], **_: Any
    ) -> list[tuple[float, bool]]:
        scored, outputs = [], []
        for number, ((_context, text), prompt, ids) in enumerate(requests):
            room = self.max_length - 1 - len(ids)  # vLLM always samples one token.
            if room < 1:
                raise ValueError(
                    f"lm_eval:{self._task.name} scores a continuation of {len(ids)} tokens, which does not fit in the "
                    f"context of {self.max_length}: raise max_model_len"
                )
            kept = tuple(prompt or [self.prefix_token_id])[-room:]
            scored.append(Request(prompt=kept, prefill=tuple(ids), number=number))
            outputs.append(
                Output(
                    prompt_token_ids=kept,
                    prompt_truncated=len(prompt) > room,
                    completion=Completion(token_ids=tuple(ids), text=text, truncated=False),
                )
            )
        logprobs: dict[int, tuple[float, bool]] = {}
        for i, result in self._score(scored):
            logprobs[i] = logprob = Logprob((sum(result.logprobs), all(result.greedy)))
            logprob.output = outputs[i]
        return [logprobs[i] for i in range(len(requests))]

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        raise ValueError(
            f"lm_eval:{self._task.name} measures perplexity, and scores must be from 0 to 1: choose another task"
        )

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        arguments = [request.args for request in requests]
        if not self._texts:
            self._requests, self._texts = arguments, self._generated(arguments)
        if arguments != self._requests:
            raise ValueError(
                f"lm_eval:{self._task.name} makes other prompts each time, so that several samples of one cannot be "
                f"graded: leave samples out"
            )
        return [texts[self.graded_sample] for texts in self._texts]

    def _generated(self, requests: list[tuple[str, dict[str, Any]]]) -> list[list[Text]]:
        """Generate for the whole task, with one batch for all requests of the same sampling parameters.

        A request's index is its number, so that sampled repeats of an example differ.
        """
        batches: dict[SamplingParams, list[Request]] = defaultdict(list)
        prompt_truncated = []
        stops: list[tuple[str, ...]] = []
        for number, (context, settings) in enumerate(requests):
            sampling_params = self._sampling_params(settings)
            stops.append(sampling_params.stop)
            if self._may_reason:
                sampling_params = replace(sampling_params, stop=self._special(sampling_params.stop))
            ids, room = self.tok_encode(context), self.max_length - sampling_params.max_tokens
            prompt_truncated.append(len(ids) > room)
            batches[sampling_params].append(Request(prompt=tuple(ids[-room:]), number=number))
        texts: dict[int, list[Text]] = {}
        for sampling_params, batch in batches.items():
            for i, output in self._generate(batch, sampling_params):
                number = batch[i].number
                texts[number] = [
                    _graded(one, output, prompt_truncated[number], stops[number]) for one in output.completions
                ]
        return [texts[number] for number in range(len(requests))]

    def _special(self, stop: tuple[str, ...]) -> tuple[str, ...]:
        """The stop strings that are special tokens. Any other may occur in reasoning, which it must not end."""
        special = self.tokenizer.get_added_vocab()
        return tuple(text for text in stop if text in special)

    def _sampling_params(self, settings: dict[str, Any]) -> SamplingParams:
        left, given = dict(normalize_gen_kwargs(settings, MAX_TOKENS)), self._task.sampling
        max_tokens, until, do_sample = left.pop("max_gen_toks"), left.pop("until"), left.pop("do_sample")
        max_tokens = given.max_tokens or max_tokens
        temperature = _first(given.temperature, left.pop("temperature", 1.0 if do_sample else 0.0))
        top_p = _first(given.top_p, left.pop("top_p", None) or 1.0)
        top_k = _first(given.top_k, max(left.pop("top_k", None) or 0, 0))  # -1 is off, as 0.
        min_p = _first(given.min_p, left.pop("min_p", None) or 0.0)
        unsupported = [setting for setting, value in left.items() if (setting, value) != ("num_beams", 1)]
        if unsupported:
            raise ValueError(
                f"lm_eval:{self._task.name} sets {', '.join(unsupported)}, which is not supported: choose another task"
            )
        if max_tokens >= self.max_length:
            raise ValueError(
                f"lm_eval:{self._task.name} generates up to {max_tokens} tokens, which leaves no room for a prompt in "
                f"the context of {self.max_length}: raise max_model_len, or lower max_tokens"
            )
        greedy = not temperature
        return SamplingParams(
            max_tokens=max_tokens,
            temperature=float(temperature),
            top_p=1.0 if greedy else float(top_p),
            top_k=0 if greedy else int(top_k),
            min_p=0.0 if greedy else float(min_p),
            n=given.samples,
            seed=self._task.seed,
            stop=tuple(text for text in until if text),
            thinking=given.thinking,
        )


def _first(given: float | None, own: float) -> float:
    return own if given is None else given


def _graded(completion: Completion, output: RequestOutput, prompt_truncated: bool, stop: tuple[str, ...]) -> Text:
    """What lm-eval grades: the completion without its reasoning, up to the first stop string."""
    answer = found = strip_reasoning(completion.text, output.prompt_opens_think_block)
    for one in stop:
        found = found.partition(one)[0]
    if found != answer:  # What follows is not graded, whether or not it is complete.
        completion = replace(completion, truncated=False)
    text = Text(found)
    text.output = Output(
        prompt_token_ids=output.prompt_token_ids,
        prompt_truncated=prompt_truncated,
        completion=completion,
        prefill_token_ids=output.prefill_token_ids,
        prompt_opens_think_block=output.prompt_opens_think_block,
    )
    return text
