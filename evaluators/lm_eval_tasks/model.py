"""lm-eval's model interface over an engine's `answer` and `likelihood`."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import normalize_gen_kwargs, resolve_max_length
from transformers import AutoConfig, AutoTokenizer

from evaluators.engines.requests import Completion, Request, SamplingParams
from evaluators.lm_eval_tasks.task import Answering, LmEvalTask, Weighing

MAX_TOKENS = 256  # of an answer, where a task does not say; lm-eval's own default


@dataclass(frozen=True)
class Given:
    """What one request came to."""

    prompt_token_ids: tuple[int, ...]
    truncated: bool
    answer: Completion


class Text(str):
    """An answer's text. lm-eval keeps the very object that it gets, and so what is given beside the text."""

    given: Given


class Chance(tuple[float, bool]):
    """A text's log-probability, and whether nothing is likelier; kept as `Text` is."""

    given: Given


class EngineLM(TemplateLM):
    tokenizer_name = ""  # names a cache that is not used

    def __init__(self, task: LmEvalTask, answer: Answering, likelihood: Weighing):
        super().__init__()
        self._task, self._answer, self._likelihood = task, answer, likelihood
        self.tokenizer = AutoTokenizer.from_pretrained(task.tokenizer)
        self.max_length = task.max_model_len or resolve_max_length(AutoConfig.from_pretrained(task.tokenizer))
        if task.chat and not self.tokenizer.chat_template:
            raise ValueError(f"{task.tokenizer} has no chat template: set chat to false")

    @property
    def eot_token_id(self) -> int:
        return self.tokenizer.eos_token_id

    @property
    def prefix_token_id(self) -> int:
        bos = self.tokenizer.bos_token_id
        return self.eot_token_id if bos is None else bos

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        how = {"add_generation_prompt": add_generation_prompt, "continue_final_message": not add_generation_prompt}
        try:
            return self.tokenizer.apply_chat_template(chat_history, tokenize=False, **how)
        except TemplateError:  # Some templates know no system message, and lm-eval's models then leave it out.
            chat = [message for message in chat_history if message["role"] != "system"]
            return self.tokenizer.apply_chat_template(chat, tokenize=False, **how)

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        if add_special_tokens is None:
            begin = self.tokenizer.bos_token
            add_special_tokens = not (begin and string.startswith(begin))
        return self.tokenizer(string, add_special_tokens=add_special_tokens).input_ids

    def _loglikelihood_tokens(
        self, requests: list[tuple[tuple[str, str], list[int], list[int]]], **_: Any
    ) -> list[tuple[float, bool]]:
        asked, given = [], []
        for number, ((_context, text), prompt, ids) in enumerate(requests):
            room = self.max_length - 1 - len(ids)  # vLLM always makes one token.
            if room < 1:
                raise ValueError(
                    f"a text of {len(ids)} tokens whose likelihood lm_eval:{self._task.name} asks for does not fit "
                    f"into the context of {self.max_length}"
                )
            kept = tuple(prompt or [self.prefix_token_id])[-room:]
            asked.append(Request(prompt=kept, prefill=tuple(ids), number=number))
            given.append(Given(kept, len(prompt) > room, Completion(token_ids=tuple(ids), text=text, truncated=False)))
        chances: dict[int, tuple[float, bool]] = {}
        for i, found in self._likelihood(asked):
            chances[i] = chance = Chance((sum(found.logprobs), all(found.greedy)))
            chance.given = given[i]
        return [chances[i] for i in range(len(requests))]

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        raise ValueError(
            f"lm_eval:{self._task.name} measures perplexity, and offmodel compares shares of right answers: choose "
            f"another task"
        )

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        """The whole task at once; a batch has all requests of the same sampling settings.

        A request's place is its number, so that repeats of an example differ where they are sampled.
        """
        batches: dict[SamplingParams, list[Request]] = defaultdict(list)
        truncated = []
        for number, request in enumerate(requests):
            context, settings = request.args
            sampling_params = self._decoding(settings)
            ids, room = self.tok_encode(context), self.max_length - sampling_params.max_tokens
            truncated.append(len(ids) > room)
            batches[sampling_params].append(Request(prompt=tuple(ids[-room:]), prefill=(), number=number))
        texts: dict[int, str] = {}
        for sampling_params, batch in batches.items():
            for i, reply in self._answer(batch, sampling_params):
                number, (answer,) = batch[i].number, reply.completions
                texts[number] = text = Text(answer.text)
                text.given = Given(reply.prompt_token_ids, truncated[number], answer)
        return [texts[number] for number in range(len(requests))]

    def _decoding(self, settings: dict[str, Any]) -> SamplingParams:
        told = dict(normalize_gen_kwargs(settings, MAX_TOKENS))
        max_tokens, until, sampled = told.pop("max_gen_toks"), told.pop("until"), told.pop("do_sample")
        temperature = float(told.pop("temperature", 1.0 if sampled else 0.0))
        top_p = float(told.pop("top_p", None) or 1.0)
        left = [setting for setting, value in told.items() if (setting, value) != ("num_beams", 1)]
        if left:
            raise ValueError(f"lm_eval:{self._task.name} sets {', '.join(left)}, which the engines do not take")
        if max_tokens >= self.max_length:
            raise ValueError(
                f"lm_eval:{self._task.name} asks for answers of {max_tokens} tokens, which leave no room for a prompt "
                f"in the context of {self.max_length}: raise the context, or choose another task"
            )
        stop = tuple(text for text in until if text)
        return SamplingParams(
            max_tokens=max_tokens,
            temperature=temperature,
            top_p=top_p if temperature else 1.0,
            seed=self._task.seed,
            stop=stop,
        )
