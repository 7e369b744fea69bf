"""One vLLM engine: it takes a batch of requests and yields completions, or log-probabilities, as they finish.

It works without Ray; `orchestrator/run/engines.py` deploys it behind Ray Serve. Only the end of the process reliably
frees an engine's memory, so a process keeps its engine until it ends.
"""

import contextlib
import itertools
import json
import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from evaluators.engines.chat_template import (
    EMPTY_THINKING,
    Thinking,
    encode,
    encode_answer,
    opens_think_block,
    template_digest,
)
from evaluators.engines.requests import Completion, Request, RequestOutput, SamplingParams, TokenLogprobs
from evaluators.engines.thinking import BEGIN, END, token_at

TAIL = 16  # the last tokens of a prompt, in which a chat template may open a think block
LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # that vLLM supports as `max_lora_rank`


class EngineFailed(RuntimeError):
    """vLLM has failed in a load or a step. The engine's state is unknown, and it takes no more batches."""


class Engine:
    """A vLLM engine that can change its base weights and its LoRA adapter between batches.

    `checkpoint` is a local folder or a hub id. `threads` is the number of CPU threads, without effect on a GPU.
    `lora_rank` is the largest LoRA rank that it must serve, 0 for none. Raises ValueError where vLLM refuses the
    settings or the checkpoint, and EngineFailed, here and in every method, once vLLM has failed.
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
        if on_cpu and lora_rank:
            from evaluators.engines import cpu_lora

            cpu_lora.install()
        self.checkpoint: str | None = checkpoint
        self._failure: EngineFailed | None = None
        self._adapters: dict[str, int] = {}
        self._lora_rank = lora_rank
        self._adapter_ids = itertools.count(1)  # Never reused: vLLM identifies a loaded adapter by its id.
        with self._guarded(ValueError):
            self._llm = vllm.LLM(
                model=checkpoint,
                dtype=dtype,
                max_model_len=max_model_len,
                enable_lora=lora_rank > 0,
                max_lora_rank=next((rank for rank in LORA_RANKS if rank >= lora_rank), lora_rank),
                enforce_eager=on_cpu,
                distributed_executor_backend="uni" if on_cpu else None,
                # Seeded requests fail on the CPU when a prompt is prefilled in chunks.
                enable_chunked_prefill=not on_cpu,
                disable_log_stats=True,
            )
        if lora_rank:
            self._llm.apply_model(_remove_lora_from_the_head)
        self.tokenizer = self._llm.get_tokenizer()
        self._template_digest = template_digest(self.tokenizer)
        self.max_model_len = self._llm.llm_engine.model_config.max_model_len

    def load(self, checkpoint: str) -> None:
        """Replace the base weights with those of another checkpoint of the same architecture and shape."""
        if checkpoint == self.checkpoint:
            return
        self.checkpoint = None  # A load that fails leaves weights of neither.
        with self._guarded(ValueError):
            self._llm.collective_rpc("reload_weights", kwargs={"weights_path": checkpoint})
            if self._on_cpu:
                self._llm.apply_model(_repack_tied_head)
            self._llm.reset_prefix_cache()
        self._adapters.clear()
        self.checkpoint = checkpoint

    @contextlib.contextmanager
    def _guarded(self, *passing: type[Exception]) -> Iterator[None]:
        """Make an error of vLLM, other than those `passing`, an EngineFailed, now and at all later calls."""
        if self._failure is not None:
            raise self._failure
        try:
            yield
        except passing:
            raise
        except Exception as error:
            self._failure = EngineFailed(f"{type(error).__name__}: {error}")
            raise self._failure from error

    def generate(
        self,
        requests: Sequence[Request],
        sampling_params: SamplingParams,
        adapter: Path | None = None,
        must_differ: bool = True,
    ) -> Iterator[tuple[int, RequestOutput]]:
        """`sampling_params.n` completions of each request, as (index in the batch, output), in order of completion.

        `adapter` is a folder in PEFT's format. Its last two path parts must identify its content, since vLLM's prefix
        cache identifies an adapter by name. With `must_differ`, an adapter that changes nothing is an error. Raises
        ValueError where a request leaves no room for a completion, and where the adapter's rank exceeds `lora_rank`.
        """
        import vllm

        encoded = [self._encoded(request, sampling_params.thinking) for request in requests]
        for request, (prompt, prefill) in zip(requests, encoded, strict=True):
            self._check_fits(request, len(prompt) + len(prefill))
        options = [self._option_token(option) for option in sampling_params.options]
        # vLLM matches stop strings in text without special tokens, so special tokens are passed as ids.
        special = self.tokenizer.get_added_vocab()
        stop_ids = [special[text] for text in sampling_params.stop if text in special]
        params = [
            vllm.SamplingParams(
                n=sampling_params.n,
                temperature=sampling_params.temperature,
                top_p=sampling_params.top_p,
                top_k=sampling_params.top_k,
                min_p=sampling_params.min_p,
                max_tokens=1 if options else sampling_params.max_tokens,
                stop=[text for text in sampling_params.stop if text not in special] or None,
                stop_token_ids=stop_ids or None,
                detokenize=bool(sampling_params.stop),
                seed=sampling_params.seed_of(request),
                allowed_token_ids=options or None,
                logprob_token_ids=options or None,
                logprobs=len(options) or None,
            )
            for request in requests
        ]
        prompts = [(*prompt, *prefill) for prompt, prefill in encoded]
        for i, output in self._run(prompts, params, adapter, must_differ):
            assert len(output.outputs) == sampling_params.n, "vLLM dropped samples"
            prompt, prefill = encoded[i]
            yield (
                i,
                RequestOutput(
                    prompt_token_ids=prompt,
                    prefill_token_ids=prefill,
                    completions=tuple(self._completion(prefill, o, sampling_params, options) for o in output.outputs),
                    prompt_opens_think_block=self._opens_think_block(requests[i], prompt, sampling_params.thinking),
                    template_digest=self._template_digest,
                ),
            )

    def score(
        self, requests: Sequence[Request], adapter: Path | None = None, must_differ: bool = True
    ) -> Iterator[tuple[int, TokenLogprobs]]:
        """The log-probability of each token of each request's prefill; `adapter` and `must_differ` as in `generate`."""
        import vllm

        decode = partial(self.tokenizer.decode, skip_special_tokens=True)
        encoded = [
            (prompt, prefill[: self.max_model_len - 1 - len(prompt)])  # vLLM always samples one token.
            for prompt, prefill in map(self._encoded, requests)
        ]
        params = [
            vllm.SamplingParams(max_tokens=1, temperature=0, prompt_logprobs=0, detokenize=False) for _ in requests
        ]
        prompts = [(*prompt, *prefill) for prompt, prefill in encoded]
        for i, output in self._run(prompts, params, adapter, must_differ):
            prompt, prefill = encoded[i]
            logprobs = [at[token] for token, at in zip(prefill, output.prompt_logprobs[len(prompt) :], strict=True)]
            start = requests[i].answer_start
            yield (
                i,
                TokenLogprobs(
                    token_ids=prefill,
                    logprobs=tuple(each.logprob for each in logprobs),
                    greedy=tuple(each.rank == 1 for each in logprobs),
                    answer_start=None if start is None else token_at(prefill, start, decode),
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
            assert not prefill, "a completion begins with an empty think block or with a prefill, not with both"
            opens = self._opens_think_block(request, prompt, thinking)
            prefill = EMPTY_THINKING.removeprefix(BEGIN) if opens else EMPTY_THINKING
        if isinstance(prefill, str):
            prefill = tuple(encode_answer(self.tokenizer, prefill, add_special_tokens=False))
        self._check_fits(request, len(prompt))
        return prompt, prefill

    def _check_fits(self, request: Request, tokens: int) -> None:
        if tokens >= self.max_model_len:
            text = request.prompt[-1]["content"] if isinstance(request.prompt, list) else ""
            raise ValueError(
                f"request {request.number} ({text[:60]!r}...) has {tokens} tokens, which leaves no room for a "
                f"completion in the context of {self.max_model_len}: shorten the prompt or raise max_model_len"
            )

    def _opens_think_block(self, request: Request, prompt: tuple[int, ...], thinking: Thinking | None) -> bool:
        tail = self.tokenizer.decode(prompt[-TAIL:])
        if tail.rfind(BEGIN) <= tail.rfind(END):
            return False
        # The tag may be of the user's text.
        return isinstance(request.prompt, tuple) or opens_think_block(self.tokenizer, request.prompt, thinking)

    def _run(
        self, prompts: list[tuple[int, ...]], params: list, adapter: Path | None, must_differ: bool
    ) -> Iterator[tuple[int, Any]]:
        """Run all prompts as one batch; yields (index, vLLM's output) as each finishes."""
        if not prompts:
            return
        engine = self._llm.llm_engine
        requests = [{"prompt_token_ids": list(ids)} for ids in prompts]
        queued = self._llm.enqueue(requests, params, lora_request=self._adapter(adapter, must_differ), use_tqdm=False)
        first = int(queued[0].partition("-")[0])  # vLLM numbers requests consecutively.
        left = len(prompts)
        try:
            while left:
                with self._guarded():
                    outputs = engine.step()
                for output in outputs:
                    if output.finished:
                        left -= 1
                        yield int(output.request_id) - first, output
        finally:
            # If the caller stopped reading, no output of this batch may appear in the next one.
            if left and self._failure is None:
                engine.abort_request(queued, internal=True)

    def _completion(
        self, prefill: tuple[int, ...], output: Any, sampling_params: SamplingParams, options: list[int]
    ) -> Completion:
        # Decoded as a whole: vLLM's incremental text keeps the space that some tokenizers put before the first word.
        ids = (*prefill, *output.token_ids)
        text = self.tokenizer.decode(ids, skip_special_tokens=True)
        begin = len(self.tokenizer.decode(prefill, skip_special_tokens=True))  # A prefill may contain a stop string.
        for stop in sampling_params.stop:
            text = text[:begin] + text[begin:].partition(stop)[0]
        return Completion(
            token_ids=ids,
            text=text,
            # A completion that was limited to a single token, as a letter of a multiple choice, is complete.
            truncated=output.finish_reason == "length" and sampling_params.max_tokens > 1 and not options,
            ends_with_stop_token=output.finish_reason == "stop" and not isinstance(output.stop_reason, str),
            option_logprobs=tuple(output.logprobs[0][option].logprob for option in options),
        )

    def _option_token(self, text: str) -> int:
        """The token id of an option. Raises ValueError where it is not exactly one token."""
        ids = self.tokenizer(text, add_special_tokens=False).input_ids
        if len(ids) != 1:
            raise ValueError(
                f"the option {text!r} is {len(ids)} tokens for this model, and options are compared by the "
                f"probability of a single token: use answer_by: generation"
            )
        return ids[0]

    def _adapter(self, folder: Path | None, must_differ: bool) -> Any:
        from vllm.lora.request import LoRARequest

        if folder is None:
            return None
        name = f"{folder.parent.name}/{folder.name}"
        if name in self._adapters:
            return LoRARequest(name, self._adapters[name], str(folder))
        self._check_rank(folder)
        request = LoRARequest(name, next(self._adapter_ids), str(folder))
        if must_differ:
            self._check_adapter_has_an_effect(request)
        self._adapters[name] = request.lora_int_id
        return request

    def _check_rank(self, folder: Path) -> None:
        rank = json.loads((folder / "adapter_config.json").read_text())["r"]
        if rank > self._lora_rank:
            raise ValueError(
                f"the adapter {folder.parent.name} has rank {rank}, but the engine was started for "
                f"{self._lora_rank or 'no adapters'}: start it with lora_rank={rank}"
            )

    def _check_adapter_has_an_effect(self, request: Any) -> None:
        """An engine that silently ignored an adapter would make every student look undegraded: compare them once."""
        import vllm

        probe = vllm.SamplingParams(temperature=0, max_tokens=1, logprobs=5)
        prompt = [{"prompt_token_ids": encode(self.tokenizer, [{"role": "user", "content": "solve"}])}]
        with self._guarded():
            base, tuned = (
                self._llm.generate(prompt, probe, use_tqdm=False, lora_request=lora)[0].outputs[0].logprobs[0]
                for lora in (None, request)
            )
        if {t: p.logprob for t, p in base.items()} == {t: p.logprob for t, p in tuned.items()}:
            raise RuntimeError(f"the engine gives the same output with adapter {request.lora_name} as without it")


def _repack_tied_head(model: Any) -> None:
    # On the CPU vLLM keeps a packed copy of the output head. A head that is tied to the input embedding has no weights
    # in a checkpoint, so a reload skips it and would leave the old copy in use.
    head = model.lm_head
    head.quant_method.process_weights_after_loading(head)


def _remove_lora_from_the_head(model: Any) -> None:
    # Adapters are trained on linear layers, never on the output head. On the CPU vLLM's LoRA layer of the head fails
    # for log-probabilities of a prompt.
    from vllm.lora.layers import LogitsProcessorWithLoRA

    for module in model.modules():  # Where the head is depends on the model; some have none that takes LoRA.
        if isinstance(getattr(module, "logits_processor", None), LogitsProcessorWithLoRA):
            module.logits_processor = module.logits_processor.base_layer
