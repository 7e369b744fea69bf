"""One vLLM engine, which runs the requests of many batches at once (continuous batching).

A batch is the requests of one call, with one adapter or none. It may begin at any time between two steps; requests with
different adapters share a step. Only a change of base weights needs an idle engine.

The engine works without Ray; `orchestrator/run/engines.py` deploys it behind Ray Serve. Only the end of the process
reliably frees an engine's memory, so a process keeps its engine until it ends.
"""

import contextlib
import itertools
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

from evaluators.engines.chat_template import (
    EMPTY_THINKING,
    Thinking,
    encode,
    encode_answer,
    opens_think_block,
    template_digest,
)
from evaluators.engines.requests import Completion, Request, RequestOutput, SamplingParams, TokenLogprobs
from evaluators.engines.split import ALONE, Split, settings_of_vllm
from evaluators.engines.thinking import BEGIN, END, token_at

TAIL = 16  # the last tokens of a prompt, in which a chat template may open a think block
CACHED_PROMPTS = 20_000


class EngineFailed(RuntimeError):
    """vLLM has failed in a load or a step. The engine's state is unknown, and it takes no more batches."""

    @property
    def out_of_memory(self) -> bool:
        import torch

        cause = self.__cause__
        is_one = isinstance(cause, MemoryError | torch.OutOfMemoryError)
        # PyTorch has no class of its own for the memory of a CPU.
        return is_one or (isinstance(cause, RuntimeError) and "can't allocate memory" in str(cause))


class Encoded(NamedTuple):
    """The token ids of a request. `opens_think_block`: the prompt ends inside a `<think>` block."""

    prompt: tuple[int, ...]
    prefill: tuple[int, ...]
    opens_think_block: bool

    @property
    def ids(self) -> list[int]:
        return [*self.prompt, *self.prefill]


class Batch:
    """The requests of one call, which the engine runs beside those of other batches."""

    def __init__(self, result: Callable[[int, Any], Any]):
        self.left: dict[int, str] = {}  # vLLM's own id of each request that is not finished, by its index in the call
        self.error: RuntimeError | None = None  # why the engine gave the batch up
        self.held: list[tuple[int, Any]] | None = None  # results that wait until the adapter is known to have an effect
        self.result = result  # of (index, vLLM's output)

    @property
    def done(self) -> bool:
        return not self.left and self.held is None


@dataclass(eq=False)
class Probe:
    """One token of a prompt without and with an adapter, which must differ, and the batches that wait for this."""

    adapter: Any
    batches: list[Batch]
    outputs: list[Any] = field(default_factory=list)


class Engine:
    """A vLLM engine with base weights that can be replaced while it is idle, and a LoRA adapter for each batch.

    `checkpoint` is a local folder or a hub id. `threads` is the number of CPU threads, without effect on a GPU.
    `lora_rank` is the largest LoRA rank that it must serve, 0 for none. `split`: the processes, each with a GPU or with
    `threads`, that hold the model together. Each `memory_level` halves the limits of a step and leaves more of a GPU's
    memory free. Raises ValueError where vLLM refuses the settings or the checkpoint, and EngineFailed, here and in
    every method, once vLLM has failed.
    """

    def __init__(
        self,
        checkpoint: str,
        dtype: str,
        max_model_len: int | None = None,
        lora_rank: int = 0,
        threads: int | None = None,
        split: Split = ALONE,
        memory_level: int = 0,
    ):
        settings = settings_of_vllm(checkpoint, dtype, max_model_len, lora_rank, threads, split, memory_level)
        import torch
        import vllm

        self._on_cpu = not torch.cuda.is_available()
        self.checkpoint: str | None = checkpoint
        self._failure: EngineFailed | None = None
        self._running: dict[str, tuple[Batch, int] | Probe] = {}  # by the id that vLLM gives to a request's output
        self._adapters: dict[str, Any] = {}
        self._probes: dict[str, Probe] = {}  # by adapter
        self._with_effect: set[str] = set()
        self._lora_rank = lora_rank
        self._adapter_ids = itertools.count(1)  # Never reused: vLLM identifies a loaded adapter by its id.
        with self._guarded(ValueError):
            self._llm = vllm.LLM(**settings)
        if lora_rank:
            self._llm.collective_rpc("remove_lora_from_the_head")
        self.tokenizer = self._llm.get_tokenizer()
        self._prompt_of = lru_cache(CACHED_PROMPTS)(self._prompt)  # Students answer the same prompts.
        self._template_digest = template_digest(self.tokenizer)
        self.max_model_len = self._llm.llm_engine.model_config.max_model_len

    def load(self, checkpoint: str) -> None:
        """Replace the base weights with those of another checkpoint of the same architecture and shape, while idle."""
        if checkpoint == self.checkpoint:
            return
        assert self.idle, "running requests need the base weights they began with"
        self.checkpoint = None  # A load that fails leaves weights of neither.
        with self._guarded(ValueError):
            self._llm.collective_rpc("reload_weights", kwargs={"weights_path": checkpoint})
            if self._on_cpu:
                self._llm.collective_rpc("repack_tied_head")
            self._llm.reset_prefix_cache()
        self._adapters.clear()
        self._with_effect.clear()
        self.checkpoint = checkpoint

    @cached_property
    def settings(self) -> dict[str, Any]:
        """How the engine is set, as vLLM calls it."""
        import vllm
        from vllm.platforms import current_platform

        config = self._llm.llm_engine.vllm_config
        return {
            "vllm": vllm.__version__,
            "device": current_platform.get_device_name() or current_platform.device_name,
            "dtype": str(config.model_config.dtype).removeprefix("torch."),
            "quantization": config.model_config.quantization,
            "max_model_len": config.model_config.max_model_len,
            "max_num_seqs": config.scheduler_config.max_num_seqs,
            "max_num_batched_tokens": config.scheduler_config.max_num_batched_tokens,
            "tensor_parallel_size": config.parallel_config.tensor_parallel_size,
            "pipeline_parallel_size": config.parallel_config.pipeline_parallel_size,
            "batch_invariant": os.environ.get("VLLM_BATCH_INVARIANT", "0") == "1",
        }

    @property
    def idle(self) -> bool:
        return not self._running

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
        """The outputs of a batch that runs alone, as (index of the request, output), in order of completion."""
        yield from self._alone(self.begin_generate(requests, sampling_params, adapter, must_differ))

    def score(
        self, requests: Sequence[Request], adapter: Path | None = None, must_differ: bool = True
    ) -> Iterator[tuple[int, TokenLogprobs]]:
        """The same of `begin_score`."""
        yield from self._alone(self.begin_score(requests, adapter, must_differ))

    def _alone(self, batch: Batch) -> Iterator[tuple[int, Any]]:
        try:
            while not batch.done:
                yield from ((i, result) for owner, i, result in self.step() if owner is batch)
            if batch.error is not None:
                raise batch.error
        finally:
            self.abort(batch)  # If the caller stopped reading.

    def begin_generate(
        self,
        requests: Sequence[Request],
        sampling_params: SamplingParams,
        adapter: Path | None = None,
        must_differ: bool = True,
        priority: int = 0,
    ) -> Batch:
        """Begin `sampling_params.n` completions of each request; `step` returns a RequestOutput for each.

        `adapter` is a folder in PEFT's format, which must stay until the batch is done. Its last two path parts must
        identify its content, since vLLM's prefix cache identifies an adapter by name. With `must_differ`, an adapter
        that changes nothing makes the batch fail. A lower `priority` goes first. Raises ValueError where a request
        leaves no room for a completion, and where the adapter's rank exceeds `lora_rank`.
        """
        import vllm

        encoded = [self._encoded(request, sampling_params.thinking) for request in requests]
        for request, each in zip(requests, encoded, strict=True):
            self._check_fits(request, len(each.prompt) + len(each.prefill))
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

        def result(i: int, output: Any) -> RequestOutput:
            assert len(output.outputs) == sampling_params.n, "vLLM dropped samples"
            prompt, prefill, opens_think_block = encoded[i]
            return RequestOutput(
                prompt_token_ids=prompt,
                prefill_token_ids=prefill,
                completions=tuple(self._completion(prefill, o, sampling_params, options) for o in output.outputs),
                prompt_opens_think_block=opens_think_block,
                template_digest=self._template_digest,
            )

        return self._begin([each.ids for each in encoded], params, result, adapter, must_differ, priority)

    def begin_score(
        self, requests: Sequence[Request], adapter: Path | None = None, must_differ: bool = True, priority: int = 0
    ) -> Batch:
        """Begin to compute the log-probability of each token of each request's prefill; `step` returns TokenLogprobs.

        `adapter`, `must_differ`, `priority` and errors as in `begin_generate`.
        """
        import vllm

        decode = partial(self.tokenizer.decode, skip_special_tokens=True)
        encoded = [
            each._replace(prefill=each.prefill[: self.max_model_len - 1 - len(each.prompt)])  # It samples one token.
            for each in map(self._encoded, requests)
        ]
        params = [
            vllm.SamplingParams(max_tokens=1, temperature=0, prompt_logprobs=0, detokenize=False) for _ in requests
        ]

        def result(i: int, output: Any) -> TokenLogprobs:
            prompt, prefill, _ = encoded[i]
            logprobs = [at[token] for token, at in zip(prefill, output.prompt_logprobs[len(prompt) :], strict=True)]
            start = requests[i].answer_start
            return TokenLogprobs(
                token_ids=prefill,
                logprobs=tuple(each.logprob for each in logprobs),
                greedy=tuple(each.rank == 1 for each in logprobs),
                answer_start=None if start is None else token_at(prefill, start, decode),
            )

        return self._begin([each.ids for each in encoded], params, result, adapter, must_differ, priority)

    def _begin(
        self,
        prompts: list[list[int]],
        params: list,
        result: Callable[[int, Any], Any],
        adapter: Path | None,
        must_differ: bool,
        priority: int,
    ) -> Batch:
        batch = Batch(result)
        if not prompts:
            return batch
        lora = self._adapter(adapter)
        if lora is not None and must_differ and lora.lora_name not in self._with_effect:
            batch.held = []
            # In line with the batch: earlier, it would load an adapter that has to be loaded again for the batch.
            self._probe(lora, priority).batches.append(batch)
        ids = self._add(prompts, params, lora, priority)
        batch.left = dict(enumerate(ids))
        self._running |= {_of_output(each): (batch, i) for i, each in batch.left.items()}
        return batch

    def _add(self, prompts: list[list[int]], params: list, lora: Any, priority: int) -> list[str]:
        """Add requests to vLLM; returns vLLM's own id of each. `LLM.enqueue` takes about twice the time for this: it
        copies the parameters deeply, and renders prompts that are token ids already."""
        from vllm.inputs import tokens_input
        from vllm.sampling_params import RequestOutputKind

        if self._failure is not None:
            raise self._failure
        vllm_engine, ids = self._llm.llm_engine, list[str]()
        try:
            for prompt, each in zip(prompts, params, strict=True):
                each.output_kind, each.skip_clone = RequestOutputKind.FINAL_ONLY, True
                number = str(next(self._llm.request_counter))
                ids.append(
                    vllm_engine.add_request(number, tokens_input(prompt), each, lora_request=lora, priority=priority)
                )
        except Exception:
            vllm_engine.abort_request(ids, internal=True)
            raise
        return ids

    def step(self) -> Iterator[tuple[Batch, int, Any]]:
        """One step of all running requests; yields each that it finished as (batch, index in the batch, result)."""
        with self._guarded():
            outputs = self._llm.llm_engine.step()
        for output in outputs:
            owner = self._running.pop(output.request_id, None) if output.finished else None
            if isinstance(owner, Probe):
                owner.outputs.append(output)
                yield from self._resolve(owner)
            elif owner is not None:  # None if its batch was aborted after the same step
                batch, i = owner
                del batch.left[i]
                result = batch.result(i, output)
                if batch.held is None:
                    yield batch, i, result
                else:
                    batch.held.append((i, result))

    def abort(self, batch: Batch) -> None:
        """Drop what is left of a batch, so that it delays no other one."""
        for probe in self._probes.values():
            if batch in probe.batches:
                probe.batches.remove(batch)
        own = list(batch.left.values())
        for each in own:
            del self._running[_of_output(each)]
        batch.left.clear()
        batch.held = None
        if own and self._failure is None:
            self._llm.llm_engine.abort_request(own, internal=True)

    def _encoded(self, request: Request, thinking: Thinking | None = None) -> Encoded:
        """Raises ValueError for a prompt that fills the context."""
        if isinstance(request.prompt, tuple):
            prompt, opens = request.prompt, self._ends_in_think_block(request.prompt)
        else:
            chat = tuple(tuple(message.items()) for message in request.prompt)
            prompt, opens = self._prompt_of(chat, thinking, self.tokenizer.chat_template)
        prefill = request.prefill
        if thinking == "empty":
            assert not prefill, "a completion begins with an empty think block or with a prefill, not with both"
            prefill = EMPTY_THINKING.removeprefix(BEGIN) if opens else EMPTY_THINKING
        if isinstance(prefill, str):
            prefill = tuple(encode_answer(self.tokenizer, prefill, add_special_tokens=False))
        self._check_fits(request, len(prompt))
        return Encoded(prompt, prefill, opens)

    def _prompt(self, chat: tuple, thinking: Thinking | None, template: str) -> tuple[tuple[int, ...], bool]:
        """The token ids of a chat, given as the items of its messages, and whether they end inside a think block. The
        template is an argument since results are cached by their arguments."""
        messages = [dict(items) for items in chat]
        prompt = tuple(encode(self.tokenizer, messages, thinking=thinking))
        # A tag in these tokens may be of the user's text.
        opens = self._ends_in_think_block(prompt) and opens_think_block(self.tokenizer, messages, thinking)
        return prompt, opens

    def _ends_in_think_block(self, prompt: tuple[int, ...]) -> bool:
        tail = self.tokenizer.decode(prompt[-TAIL:])
        return bool(tail.rfind(BEGIN) > tail.rfind(END))

    def _check_fits(self, request: Request, tokens: int) -> None:
        if tokens >= self.max_model_len:
            text = request.prompt[-1]["content"] if isinstance(request.prompt, list) else ""
            raise ValueError(
                f"request {request.number} ({text[:60]!r}...) has {tokens} tokens, which leaves no room for a "
                f"completion in the context of {self.max_model_len}: shorten the prompt or raise max_model_len"
            )

    def _completion(
        self, prefill: tuple[int, ...], output: Any, sampling_params: SamplingParams, options: list[int]
    ) -> Completion:
        # Decoded as a whole: vLLM's incremental text keeps the space that some tokenizers put before the first word.
        ids = (*prefill, *output.token_ids)
        text = self.tokenizer.decode(ids, skip_special_tokens=True)
        for stop in sampling_params.stop:
            # A prefill may contain a stop string.
            begin = len(self.tokenizer.decode(prefill, skip_special_tokens=True))
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

    def _adapter(self, folder: Path | None) -> Any:
        from vllm.lora.request import LoRARequest

        if folder is None:
            return None
        name = f"{folder.parent.name}/{folder.name}"
        if name not in self._adapters:
            self._check_rank(folder)
            self._adapters[name] = LoRARequest(name, next(self._adapter_ids), str(folder))
        return self._adapters[name]

    def _check_rank(self, folder: Path) -> None:
        rank = json.loads((folder / "adapter_config.json").read_text())["r"]
        if rank > self._lora_rank:
            raise ValueError(
                f"the adapter {folder.parent.name} has rank {rank}, but the engine was started for "
                f"{self._lora_rank or 'no adapters'}: start it with lora_rank={rank}"
            )

    def _probe(self, adapter: Any, priority: int) -> Probe:
        """The running probe of an adapter: an engine that ignored it would make every student look undegraded."""
        import vllm

        if adapter.lora_name not in self._probes:
            probe = self._probes[adapter.lora_name] = Probe(adapter, [])
            params = vllm.SamplingParams(temperature=0, max_tokens=1, logprobs=5)
            prompt = encode(self.tokenizer, [{"role": "user", "content": "solve"}])
            for lora in (None, adapter):
                (own,) = self._add([prompt], [params], lora, priority)
                self._running[_of_output(own)] = probe
        return self._probes[adapter.lora_name]

    def _resolve(self, probe: Probe) -> Iterator[tuple[Batch, int, Any]]:
        """The results that waited for a probe, once both of its outputs are there. Its batches fail if they agree."""
        if len(probe.outputs) < 2:
            return
        name = probe.adapter.lora_name
        del self._probes[name]
        first, second = (
            {token: each.logprob for token, each in output.outputs[0].logprobs[0].items()} for output in probe.outputs
        )
        if first == second:
            self._adapters.pop(name, None)
            for batch in probe.batches:
                self.abort(batch)
                batch.error = RuntimeError(f"the engine gives the same output with adapter {name} as without it")
            return
        self._with_effect.add(name)
        for batch in probe.batches:
            held, batch.held = batch.held or [], None
            yield from ((batch, i, result) for i, result in held)


def _of_output(own: str) -> str:
    """The id that the output of a request has, from vLLM's own id."""
    return own.partition("-")[0]
