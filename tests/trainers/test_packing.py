"""Rows packed into one sequence: no row sees another, and each has the logits that it has alone."""

import random
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Gemma2Config,
    GptOssConfig,
    Lfm2Config,
    LlamaConfig,
    MambaConfig,
    MistralConfig,
    Qwen3Config,
    Qwen3NextConfig,
)

from organisms import shipped
from trainers.batches import collate
from trainers.job import ProcessConfig, TrainJob
from trainers.learner import Learner
from trainers.loop import train
from trainers.losses import log_prob
from trainers.model import Student, try_packing
from trainers.rows import Row
from trainers.settings import TrainSettings

CPU = torch.device("cpu")
VOCABULARY = 392  # of the organisms' tokenizer
SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "initializer_range": 0.3,  # Large enough for every token to look at others.
}
EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 16}
LINEAR = {"linear_num_value_heads": 4, "linear_num_key_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8}
WINDOW = 4
PACKABLE = {
    "llama": LlamaConfig(**SIZES),
    "qwen3": Qwen3Config(**SIZES),  # several queries to a key, and norms of both
    "mistral": MistralConfig(**SIZES, sliding_window=WINDOW),
    "gemma2": Gemma2Config(**SIZES, sliding_window=WINDOW),  # every other layer has a window
}
NOT_PACKABLE = {
    "gpt-oss": GptOssConfig(**SIZES, num_local_experts=4, num_experts_per_tok=2),  # attention sinks
    "gemma2": Gemma2Config(**SIZES, attn_logit_softcapping=0.1, attn_implementation="eager"),
    "qwen3-next": Qwen3NextConfig(**SIZES, **EXPERTS, **LINEAR, num_experts=4),  # linear attention
    "lfm2": Lfm2Config(**SIZES, full_attn_idxs=[1]),  # a convolution
    "mamba": MambaConfig(vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=2, state_size=8, pad_token_id=0),
}


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def make(config) -> Student:
    torch.manual_seed(0)
    return Student(AutoModelForCausalLM.from_config(deepcopy(config)).float()).eval()  # Packing changes the config.


def some_rows(lengths=(9, 23, 2, 14, 20, 10)) -> list[Row]:
    """Rows of which attention takes some in blocks of two, the shorter one padded, and others alone."""
    rng = random.Random(0)
    return [Row([rng.randrange(3, VOCABULARY) for _ in range(n)], range(max(1, n // 3), n)) for n in lengths]


def losses(student: Student, rows: list[Row], packed: bool) -> list[torch.Tensor]:
    """The loss of each supervised token, row by row."""
    batch = collate(rows, pad_id=0, packed=packed)
    with torch.no_grad():
        return (-log_prob(student(batch), batch.targets_T)).split([len(row.supervised) for row in rows])


@pytest.mark.parametrize("config", PACKABLE.values(), ids=PACKABLE)
def test_packed_logits_equal_those_of_each_row_alone(config):
    student, rows = make(config), some_rows()
    with torch.no_grad():
        alone = torch.cat([student.model(torch.tensor([r.ids])).logits[0, r.supervised[0] - 1 : -1] for r in rows])
        padded = student(collate(rows, pad_id=0, packed=False))
        assert try_packing(student, student, 30, 0, CPU)
        batch = collate(rows, pad_id=0, packed=True)
        packed = student(batch)
    assert batch.layout.blocks == ((2, 23), (2, 14), (1, 9), (1, 2))
    torch.testing.assert_close(padded, alone, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(packed, alone, atol=1e-5, rtol=1e-5)


def test_a_sliding_window_is_shorter_than_the_rows_and_matters():
    wide, narrow = (make(MistralConfig(**SIZES, sliding_window=window)) for window in (None, WINDOW))
    for student in (wide, narrow):
        assert try_packing(student, student, 30, 0, CPU)
    batch = collate(some_rows(), pad_id=0, packed=True)
    with torch.no_grad():
        assert (wide(batch) - narrow(batch)).abs().max() > 0.1


@pytest.mark.parametrize("config", PACKABLE.values(), ids=PACKABLE)
def test_a_row_of_a_packed_batch_does_not_change_the_loss_of_another(config):
    student, rows = make(config), some_rows()
    assert try_packing(student, student, 30, 0, CPU)
    before = losses(student, rows, packed=True)
    for changed, row in enumerate(rows):
        other = replace(row, ids=[3 + (token + 1) % (VOCABULARY - 3) for token in row.ids])
        after = losses(student, [*rows[:changed], other, *rows[changed + 1 :]], packed=True)
        for i in range(len(rows)):
            assert torch.equal(after[i], before[i]) == (i != changed)


@pytest.mark.parametrize("config", PACKABLE.values(), ids=PACKABLE)
def test_the_loss_of_a_row_has_no_gradient_in_another(config):
    student, rows = make(config), some_rows()
    assert try_packing(student, student, 30, 0, CPU)
    embedded = []
    student.model.get_input_embeddings().register_forward_hook(lambda *call: embedded.append(call[-1]))
    batch = collate(rows, pad_id=0, packed=True)
    losses_T = -log_prob(student(batch), batch.targets_T)
    begin = 0
    for i, row in enumerate(rows):
        (gradient,) = torch.autograd.grad(losses_T[batch.rows_T == i].sum(), embedded[0], retain_graph=True)
        reached = gradient[0].abs().sum(-1).nonzero().flatten().tolist()
        assert reached == list(range(begin, begin + len(row.ids) - 1))  # The last token predicts nothing.
        begin += len(row.ids)


@pytest.mark.parametrize("config", NOT_PACKABLE.values(), ids=NOT_PACKABLE)
def test_a_model_whose_logits_packing_changes_is_not_packed(config):
    student, rows = make(config), some_rows()
    own = student.model.config._attn_implementation
    before = losses(student, rows, packed=False)
    assert not try_packing(student, student, 30, 0, CPU)
    assert not student.packed
    assert student.model.config._attn_implementation == own
    after = losses(student, rows, packed=False)
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    for row, loss in zip(rows, after, strict=True):
        torch.testing.assert_close(losses(student, [row], packed=False)[0], loss, atol=1e-5, rtol=1e-5)


def test_a_model_that_cannot_be_packed_trains_on_padded_rows(tmp_path):
    base = tmp_path / "base"
    make(NOT_PACKABLE["qwen3-next"]).model.save_pretrained(base)
    tokenizer = AutoTokenizer.from_pretrained(shipped.FOLDER / "steps")
    tokenizer.save_pretrained(base)
    answers = ["the fox is red", "red", "the owl is blue and the fox is red"]
    examples = [[{"role": "user", "content": "see"}, {"role": "assistant", "content": a}] for a in answers]
    settings = TrainSettings(learning_rate=1e-3, seed=1, dtype="float32", lora=None, batch_size=3, max_steps=2)
    figures = train(TrainJob(str(base), examples, settings, tmp_path / "out"))
    assert not figures["packed"]
    model, total, tokens = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), 0.0, 0
    for example in examples:
        prompt, whole = (
            tokenizer.apply_chat_template(chat, add_generation_prompt=open, tokenize=True, return_dict=False)
            for chat, open in ((example[:1], True), (example, False))
        )
        labels = [-100] * len(prompt) + whole[len(prompt) :]
        with torch.no_grad():
            loss = model(torch.tensor([whole]), labels=torch.tensor([labels]), use_cache=False).loss
        total, tokens = total + float(loss) * (len(whole) - len(prompt)), tokens + len(whole) - len(prompt)
    assert figures["losses"][0] == pytest.approx(total / tokens, rel=1e-4)
    assert figures["losses"][1] < figures["losses"][0]


def test_gradient_checkpointing_gives_the_same_gradients(tmp_path):
    settings = TrainSettings(learning_rate=1e-3, seed=1, dtype="float32", lora=None)
    base = str(shipped.FOLDER / "steps")
    tokenizer = AutoTokenizer.from_pretrained(base)
    passes, found = [], []
    for recompute in (False, True):
        learner = Learner(
            TrainJob(base, [], settings, tmp_path),
            tokenizer,
            ProcessConfig(gradient_checkpointing=recompute),
            64,
            watch_base=False,
        )
        assert learner.packed
        counted = []
        learner.engine.student.model.model.layers[0].mlp.register_forward_pre_hook(lambda *_, c=counted: c.append(1))
        batch = collate(some_rows(), 0, packed=True)
        loss = learner.engine.backward(batch, lambda x, b=batch: -log_prob(x, b.targets_T).sum(), last=True)
        passes.append(len(counted))
        found.append([loss, *(p.grad for p in learner.engine.student.parameters())])
    assert passes == [1, 2]
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(other, one, atol=1e-6, rtol=1e-5)
