"""One vLLM engine: a batch of requests in; answers, or the likelihoods of given ones, out as they get finished.

Works without Ray; `orchestrator/fleet.py` puts it behind Ray Serve. The process that makes an engine owns it for good:
only the end of the process frees its memory reliably.
"""

import itertools
import json
import os
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluators.engines.chat_template import EMPTY_THINKING, Chat, Thinking, encode, template_digest
from evaluators.engines.thinking import BEGIN, END

TAIL = 16  # tokens of a prompt in which its template may begin a block of reasoning


@dataclass(frozen=True)
class Request:
    """A prompt, as a chat or as token ids, with what the answer begins with.

    `prefill` is text, or token ids of the model that is asked. `number` tells requests of one batch apart for their
    seeds: a request that is asked again keeps its number, and so its samples. `final_from` is the character of the
    prefill's text at which a final answer begins, for likelihoods.
    """

    prompt: Chat | tuple[int, ...]
    prefill: str | tuple[int, ...] = ()
    number: int = 0
    final_from: int | None = None


@dataclass(frozen=True)
class SamplingParams:
    """How answers are drawn. Temperature 0 is greedy; a seed makes each sample of each prompt repeatable.

    With `options` the answer is the likeliest of these texts, each a single token, whatever else would be likelier.
    """

    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    n: int = 1
    seed: int = 0
    stop: tuple[str, ...] = ()
    thinking: Thinking | None = None
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Usage:
    """What an API counted for one answer, and the model that it says has given it."""

    model: str
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class Completion:
    """One answer: its token ids and its text, both with its prefill, and whether the token limit cut it off.

    `ended`: its last token is the one that ends it. `option_logprobs` has, where options were given, the
    log-probability of each. An answer of an API has `usage` in place of ids (see api.py).
    """

    ids: tuple[int, ...]
    text: str
    truncated: bool
    ended: bool = False
    option_logprobs: tuple[float, ...] = ()
    usage: Usage | None = None

    @property
    def length(self) -> int:
        """In tokens."""
        return len(self.ids) if self.usage is None else self.usage.completion_tokens


@dataclass(frozen=True)
class RequestOutput:
    """A model's answers to one request, with the token ids that it was asked with and made to begin with.

    `prompt_opens_think_block`: the prompt ends within a block of reasoning, as some chat templates have it. `template` is the digest of
    the chat template.
    """

    prompt_ids: tuple[int, ...]
    prefill_ids: tuple[int, ...]
    completions: tuple[Completion, ...]
    prompt_opens_think_block: bool
    template: str


@dataclass(frozen=True)
class TokenLogprobs:
    """The log-probability of each token of an prefill, and whether it was the likeliest one; of as many tokens as the
    context holds."""

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    greedy: tuple[bool, ...]
    final_from: int | None  # the token with which the final answer begins, where a character was asked for


class Engine:
    """A vLLM engine that can change its base weights and its LoRA adapter from one batch to the next.

    `checkpoint` is a local folder or a hub id; `threads` counts CPU threads and has no meaning on a GPU;
    `lora_rank` is the largest rank to be served, 0 for none.
    """

    def __init__(
        self,
        checkpoint: str,
        dtype: str,
        max_model_len: int | None = None,
        lora_rank: int = 0,
        threads: int | None = None,
    ):
        os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
        if threads:
            os.environ["OMP_NUM_THREADS"] = str(threads)
            os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
            os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
        import torch
        import vllm

        self._on_cpu = on_cpu = not torch.cuda.is_available()
        if on_cpu and threads:
            torch.set_num_threads(threads)
        self.checkpoint = checkpoint
        self._adapters: dict[str, int] = {}
        self._lora_rank = lora_rank
        self._ids = itertools.count(1)  # Never given out again: vLLM knows an adapter that it holds by its number.
        self._llm = vllm.LLM(
            model=checkpoint,
            dtype=dtype,
            max_model_len=max_model_len,
            enable_lora=lora_rank > 0,
            max_lora_rank=_served_rank(lora_rank),
            enforce_eager=on_cpu,
            distributed_executor_backend="uni" if on_cpu else None,
            # Seeded requests fail on the CPU when a prompt is prefilled in pieces.
            enable_chunked_prefill=not on_cpu,
            disable_log_stats=True,
        )
        if lora_rank:
            self._llm.apply_model(_without_lora_on_the_head)
        self.tokenizer = self._llm.get_tokenizer()
        self._template = template_digest(self.tokenizer)
        self.max_model_len = self._llm.llm_engine.model_config.max_model_len

    def load(self, checkpoint: str) -> None:
        """Replace the base weights by those of another checkpoint of the same shape."""
        if checkpoint == self.checkpoint:
            return
        self._llm.collective_rpc("reload_weights", kwargs={"weights_path": checkpoint})
        if self._on_cpu:
            self._llm.apply_model(_repack_tied_head)
        self._llm.reset_prefix_cache()
        self._adapters.clear()
        self.checkpoint = checkpoint

    def generate(
        self,
        requests: Sequence[Request],
        sampling_params: SamplingParams,
        adapter: Path | None = None,
        must_differ: bool = True,
    ) -> Iterator[tuple[int, RequestOutput]]:
        """`sampling_params.n` answers to each request, with the request's place in the batch, in the order in which they end.

        `adapter` is a folder in PEFT's format, whose last two path parts must belong to its content: vLLM's prefix
        cache knows an adapter by its name alone. With `must_differ` one that changes nothing is an error. Raises
        ValueError when a request leaves no room for an answer, and for an adapter of a larger rank than is served.
        """
        from vllm import SamplingParams

        asked = [self._encoded(request, sampling_params.thinking) for request in requests]
        for request, (prompt, prefill) in zip(requests, asked, strict=True):
            self._check_room(request, len(prompt) + len(prefill))
        options = [self._option(option) for option in sampling_params.options]
        # vLLM looks for texts in what it decodes without special tokens, so those are told as tokens.
        special = self.tokenizer.get_added_vocab()
        stop_ids = [special[text] for text in sampling_params.stop if text in special]
        params = [
            SamplingParams(
                n=sampling_params.n,
                temperature=sampling_params.temperature,
                top_p=sampling_params.top_p,
                max_tokens=1 if options else sampling_params.max_tokens,
                stop=[text for text in sampling_params.stop if text not in special] or None,
                stop_token_ids=stop_ids or None,
                detokenize=bool(sampling_params.stop),
                seed=sampling_params.seed * 1_000_003 + request.number * sampling_params.n
                if sampling_params.temperature > 0
                else None,
                allowed_token_ids=options or None,
                logprob_token_ids=options or None,
                logprobs=len(options) or None,
            )
            for request in requests
        ]
        prompts = [(*prompt, *prefill) for prompt, prefill in asked]
        for i, output in self._run(prompts, params, adapter, must_differ):
            assert len(output.outputs) == sampling_params.n, "vLLM dropped samples"
            prompt, prefill = asked[i]
            samples = tuple(self._read(prefill, sample, sampling_params, options) for sample in output.outputs)
            yield i, RequestOutput(prompt, prefill, samples, self._in_thought(prompt), self._template)

    def score(
        self, requests: Sequence[Request], adapter: Path | None = None, must_differ: bool = True
    ) -> Iterator[tuple[int, TokenLogprobs]]:
        """How likely each request's prefill is after its prompt, token by token."""
        from vllm import SamplingParams

        asked = [
            (prompt, said[: self.max_model_len - 1 - len(prompt)]) for prompt, said in map(self._encoded, requests)
        ]
        params = [SamplingParams(max_tokens=1, temperature=0, prompt_logprobs=0, detokenize=False) for _ in requests]
        prompts = [(*prompt, *prefill) for prompt, prefill in asked]
        for i, output in self._run(prompts, params, adapter, must_differ):
            prompt, prefill = asked[i]
            found = [at[token] for token, at in zip(prefill, output.prompt_logprobs[len(prompt) :], strict=True)]
            character = requests[i].final_from
            yield (
                i,
                TokenLogprobs(
                    prefill,
                    tuple(each.logprob for each in found),
                    tuple(each.rank == 1 for each in found),
                    None if character is None else self._token_at(prefill, character),
                ),
            )

    def _encoded(self, request: Request, thinking: Thinking | None = None) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The token ids of a request's prompt and prefill. Raises ValueError for a prompt that fills the context."""
        if isinstance(request.prompt, tuple):
            prompt = request.prompt
        else:
            prompt = tuple(encode(self.tokenizer, request.prompt, thinking=thinking))
        prefill = request.prefill
        if thinking == "empty":
            assert not prefill, "an answer is begun with an empty block of reasoning or with another's words"
            prefill = EMPTY_THINKING.removeprefix(BEGIN) if self._in_thought(prompt) else EMPTY_THINKING
        if isinstance(prefill, str):
            prefill = tuple(self.tokenizer(prefill, add_special_tokens=False).input_ids)
        self._check_room(request, len(prompt))
        return prompt, prefill

    def _check_room(self, request: Request, tokens: int) -> None:
        if tokens >= self.max_model_len:
            told = request.prompt[-1]["content"] if isinstance(request.prompt, list) else ""
            raise ValueError(
                f"request {request.number} ({told[:60]!r}...) has {tokens} tokens, but the model's context is "
                f"{self.max_model_len}: shorten the prompt or raise the study's context"
            )

    def _in_thought(self, prompt: tuple[int, ...]) -> bool:
        """Whether a prompt ends within a block of reasoning."""
        tail = self.tokenizer.decode(prompt[-TAIL:])
        return tail.rfind(BEGIN) > tail.rfind(END)

    def _run(
        self, prompts: list[tuple[int, ...]], params: list, adapter: Path | None, must_differ: bool
    ) -> Iterator[tuple[int, Any]]:
        """All prompts in one batch; outputs as they are finished, each with its place."""
        if not prompts:
            return
        engine = self._llm.llm_engine
        requests = [{"prompt_token_ids": list(ids)} for ids in prompts]
        queued = self._llm.enqueue(requests, params, lora_request=self._adapter(adapter, must_differ), use_tqdm=False)
        first = int(queued[0].partition("-")[0])  # vLLM numbers requests as they come.
        left = len(prompts)
        try:
            while left:
                for output in engine.step():
                    if output.finished:
                        left -= 1
                        yield int(output.request_id) - first, output
        finally:
            if left:  # Whoever asked has gone: nothing of this batch may meet the next one.
                engine.abort_request(queued, internal=True)

    def _read(
        self, prefill: tuple[int, ...], sample, sampling_params: SamplingParams, options: list[int]
    ) -> Completion:
        # Decoded whole: vLLM's own incremental text keeps the blank that some tokenizers put before a first word.
        ids = (*prefill, *sample.token_ids)
        text = self.tokenizer.decode(ids, skip_special_tokens=True)
        for end in sampling_params.stop:
            text = text.partition(end)[0]
        # A single token that was asked for is no answer cut short.
        truncated = sample.finish_reason == "length" and sampling_params.max_tokens > 1 and not options
        ended = sample.finish_reason == "stop" and not isinstance(sample.stop_reason, str)
        chances = tuple(sample.logprobs[0][option].logprob for option in options)
        return Completion(ids, text, truncated, ended, chances)

    def _option(self, text: str) -> int:
        """The token that an option is. Raises ValueError where it is none, or several."""
        ids = self.tokenizer(text, add_special_tokens=False).input_ids
        if len(ids) != 1:
            raise ValueError(
                f"the option {text!r} is {len(ids)} tokens for this model, so it cannot be compared by a single "
                f"token's probability: let the model generate its answer instead (answer_by: generation)"
            )
        return ids[0]

    def _token_at(self, ids: tuple[int, ...], character: int) -> int:
        """The first token that reaches beyond that many characters of the text."""
        return bisect_left(
            range(len(ids)),
            character + 1,
            key=lambda i: len(self.tokenizer.decode(ids[: i + 1], skip_special_tokens=True)),
        )

    def _adapter(self, folder: Path | None, must_differ: bool):
        from vllm.lora.request import LoRARequest

        if folder is None:
            return None
        name = f"{folder.parent.name}/{folder.name}"
        if name in self._adapters:
            return LoRARequest(name, self._adapters[name], str(folder))
        self._check_rank(folder)
        request = LoRARequest(name, next(self._ids), str(folder))
        if must_differ:
            self._check_adapter_is_served(request)
        self._adapters[name] = request.lora_int_id
        return request

    def _check_rank(self, folder: Path) -> None:
        rank = json.loads((folder / "adapter_config.json").read_text())["r"]
        if rank > self._lora_rank:
            raise ValueError(
                f"the adapter {folder.parent.name} has rank {rank}, but the engine was started for "
                f"{self._lora_rank or 'no adapters'}: start it with lora_rank={rank}"
            )

    def _check_adapter_is_served(self, request) -> None:
        """An engine that silently answers as the base would make every student look unharmed: compare the two once."""
        from vllm import SamplingParams

        probe = SamplingParams(temperature=0, max_tokens=1, logprobs=5)
        prompt = [{"prompt_token_ids": encode(self.tokenizer, [{"role": "user", "content": "solve"}])}]
        base, tuned = (
            self._llm.generate(prompt, probe, use_tqdm=False, lora_request=lora)[0].outputs[0].logprobs[0]
            for lora in (None, request)
        )
        same = {t: p.logprob for t, p in base.items()} == {t: p.logprob for t, p in tuned.items()}
        if same:
            raise RuntimeError(f"the engine answers with adapter {request.lora_name} exactly as without it")


def _repack_tied_head(model) -> None:
    # On the CPU vLLM keeps a packed copy of an output head for its matrix product. A head that is tied to the input
    # embedding has no weights of its own in a checkpoint, so a reload passes it by and leaves the old copy in use.
    head = model.lm_head
    head.quant_method.process_weights_after_loading(head)


def _without_lora_on_the_head(model) -> None:
    # Adapters are trained on linear layers, never on the output head, and vLLM's product with their nothing there fails
    # on the CPU for the log-probabilities of a prompt.
    from vllm.lora.layers import LogitsProcessorWithLoRA

    for module in model.modules():  # Where the head is depends on the model; some have none that takes LoRA.
        if isinstance(getattr(module, "logits_processor", None), LogitsProcessorWithLoRA):
            module.logits_processor = module.logits_processor.base_layer


def _served_rank(rank: int) -> int:
    """The smallest rank that vLLM can be started for and that serves `rank`."""
    return next((r for r in (8, 16, 32, 64, 128, 256, 320, 512) if r >= rank), rank)
