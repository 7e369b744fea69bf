"""One vLLM engine: whole batches of token ids in, n answers a prompt out.

Works without Ray; `orchestrator/fleet.py` puts it behind Ray Serve. The process that makes an engine owns it for good:
only the end of the process frees its memory reliably.
"""

import itertools
import os
from dataclasses import dataclass
from pathlib import Path

Chat = list[dict[str, str]]  # messages of {"role": ..., "content": ...}


@dataclass(frozen=True)
class Decoding:
    """How answers are drawn. Temperature 0 is greedy; a seed makes each sample of each prompt repeatable."""

    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    n: int = 1
    seed: int = 0


@dataclass(frozen=True)
class Answer:
    """One answer: its token ids and its text, both with its opening, and whether the token limit cut it off."""

    ids: tuple[int, ...]
    text: str
    cut_off: bool


@dataclass(frozen=True)
class Reply:
    """A model's answers to one chat, with the token ids that it was asked with and made to begin with."""

    prompt_ids: tuple[int, ...]
    opening_ids: tuple[int, ...]
    answers: tuple[Answer, ...]


class Engine:
    """A vLLM engine that can change its base weights and its LoRA adapter from one batch to the next.

    `checkpoint` is a local folder or a hub id; `threads` counts CPU threads and has no meaning on a GPU;
    `lora_rank` is the largest rank to be served, 0 for none.
    """

    def __init__(
        self, checkpoint: str, dtype: str, context: int | None = None, lora_rank: int = 0, threads: int | None = None
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
        self._ids = itertools.count(1)  # Never given out again: vLLM knows an adapter that it holds by its number.
        self._llm = vllm.LLM(
            model=checkpoint,
            dtype=dtype,
            max_model_len=context,
            enable_lora=lora_rank > 0,
            max_lora_rank=_served_rank(lora_rank),
            enforce_eager=on_cpu,
            distributed_executor_backend="uni" if on_cpu else None,
            # Seeded requests fail on the CPU when a prompt is prefilled in pieces.
            enable_chunked_prefill=not on_cpu,
            disable_log_stats=True,
        )
        self._tokenizer = self._llm.get_tokenizer()
        self.context = self._llm.llm_engine.model_config.max_model_len

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

    def answer(
        self,
        chats: list[Chat],
        decoding: Decoding,
        openings: list[tuple[int, ...]] | None = None,
        adapter: Path | None = None,
    ) -> list[Reply]:
        """`decoding.n` answers to each chat, in the chats' order, in one batch.

        `openings` are token ids that the answers are made to begin with. `adapter` is a folder in PEFT's format, whose
        last two path parts must belong to its content: vLLM's prefix cache knows an adapter by its name alone. Raises
        ValueError when a chat leaves no room for an answer.
        """
        from vllm import SamplingParams

        prompts = self.encode(chats)
        begin = openings or [()] * len(chats)
        for i, prompt in enumerate(prompts):
            if len(prompt) + len(begin[i]) >= self.context:
                raise ValueError(
                    f"prompt {i} ({chats[i][-1]['content'][:60]!r}...) has {len(prompt) + len(begin[i])} tokens, but "
                    f"the model's context is {self.context}: shorten the prompt or raise the study's context"
                )
        params = [
            SamplingParams(
                n=decoding.n,
                temperature=decoding.temperature,
                top_p=decoding.top_p,
                max_tokens=decoding.max_tokens,
                detokenize=False,
                seed=decoding.seed * 1_000_003 + i * decoding.n if decoding.temperature > 0 else None,
            )
            for i in range(len(prompts))
        ]
        requests = [{"prompt_token_ids": [*prompt, *ids]} for prompt, ids in zip(prompts, begin, strict=True)]
        outputs = self._llm.generate(requests, params, use_tqdm=False, lora_request=self._adapter(adapter))
        assert all(len(output.outputs) == decoding.n for output in outputs), "vLLM dropped samples"
        return [
            Reply(
                tuple(prompt),
                tuple(ids),
                tuple(self._read(ids, sample) for sample in output.outputs),
            )
            for prompt, ids, output in zip(prompts, begin, outputs, strict=True)
        ]

    def encode(self, chats: list[Chat]) -> list[list[int]]:
        """Token ids of each chat, by the model's own template, up to where the assistant begins."""
        return [
            self._tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=True, return_dict=False)
            for chat in chats
        ]

    def _read(self, opening: tuple[int, ...], sample) -> Answer:
        # Decoded whole: vLLM's own incremental text keeps the blank that some tokenizers put before a first word.
        ids = (*opening, *sample.token_ids)
        return Answer(ids, self._tokenizer.decode(ids, skip_special_tokens=True), sample.finish_reason == "length")

    def _adapter(self, folder: Path | None):
        from vllm.lora.request import LoRARequest

        if folder is None:
            return None
        name = f"{folder.parent.name}/{folder.name}"
        known = name in self._adapters
        if not known:
            self._adapters[name] = next(self._ids)
        request = LoRARequest(name, self._adapters[name], str(folder))
        if not known:
            self._check_adapter_is_served(request)
        return request

    def _check_adapter_is_served(self, request) -> None:
        """An engine that silently answers as the base would make every student look unharmed: compare the two once."""
        from vllm import SamplingParams

        probe = SamplingParams(temperature=0, max_tokens=1, logprobs=5)
        prompt = [{"prompt_token_ids": self.encode([[{"role": "user", "content": "solve"}]])[0]}]
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


def _served_rank(rank: int) -> int:
    """The smallest rank that vLLM can be started for and that serves `rank`."""
    return next((r for r in (8, 16, 32, 64, 128, 256, 320, 512) if r >= rank), rank)
