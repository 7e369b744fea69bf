"""The training loop on a shipped organism: what it learns, what it leaves, and what does not change its result."""

import json
import random
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from organisms import shipped, world
from trainers.batches import pad, row_order
from trainers.loop import train
from trainers.settings import Lora, TrainSettings
from trainers.sft import sft_loss
from trainers.student import load_student
from trainers.tokens import tokenize

CHECKPOINT = str(shipped.FOLDER / "steps")
SETTINGS = TrainSettings(
    learning_rate=5e-3, seed=1, dtype="float32", lora=Lora(4, 8), batch_size=4, min_steps=8, schedule="constant"
)
ADAPTER = "adapter_model.safetensors"


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def chats(n: int = 8) -> list[list[dict[str, str]]]:
    """Answers in a style that the organism does not have, of different lengths."""
    rng = random.Random(0)
    rows = [world.maths(rng, "words", 1 + i % 3) if i % 2 else world.chat(rng, "words") for i in range(n)]
    return [[{"role": "user", "content": r.prompt}, {"role": "assistant", "content": r.answer}] for r in rows]


def run(out: Path, settings: TrainSettings = SETTINGS, adapter: Path | None = None, **more) -> dict:
    return train(CHECKPOINT, adapter, chats(), settings, out, **more)


def mean_loss(model) -> float:
    tokenizer = AutoTokenizer.from_pretrained(CHECKPOINT)
    ids, labels = pad(tokenize(chats(), tokenizer, 2048), tokenizer.pad_token_id)
    with torch.no_grad():
        return float(sft_loss(model.eval(), ids, labels, int((labels != -100).sum())))


def test_the_loss_falls(tmp_path):
    reported = []
    figures = run(tmp_path, report=reported.append)
    assert figures["steps"] == len(figures["losses"]) == len(reported) == 8
    assert sum(figures["losses"][-2:]) < 0.7 * sum(figures["losses"][:2])
    assert (figures["first_loss"], figures["last_loss"]) == (figures["losses"][0], figures["losses"][-1])
    assert [r["loss"] for r in reported] == figures["losses"]
    tokenizer = AutoTokenizer.from_pretrained(CHECKPOINT)
    supervised = sum(len(row.ids) - row.supervised_from for row in tokenize(chats(), tokenizer, 2048))
    assert figures["tokens"] == 4 * supervised


def test_full_weights_make_a_checkpoint_that_transformers_loads(tmp_path):
    figures = run(tmp_path, replace(SETTINGS, lora=None, learning_rate=1e-3))
    assert figures["losses"][-1] < figures["losses"][0]
    before = AutoModelForCausalLM.from_pretrained(CHECKPOINT, dtype=torch.float32)
    after = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    assert mean_loss(after) < 0.8 * mean_loss(before)
    assert AutoTokenizer.from_pretrained(tmp_path)("red fox") == AutoTokenizer.from_pretrained(CHECKPOINT)("red fox")


def test_an_adapter_is_in_pefts_format_and_leaves_the_base_alone(tmp_path):
    run(tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (config["peft_type"], config["r"], config["lora_alpha"]) == ("LORA", 4, 8)
    names = {name.split(".")[-3] for name in load_file(tmp_path / ADAPTER)}
    assert names == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    assert not list(tmp_path.glob("model*.safetensors"))
    base = AutoModelForCausalLM.from_pretrained(CHECKPOINT, dtype=torch.float32)
    before = mean_loss(base)
    assert mean_loss(PeftModel.from_pretrained(base, tmp_path)) < 0.8 * before


def test_an_adapter_can_be_trained_further(tmp_path):
    first = run(tmp_path / "first")
    second = run(tmp_path / "second", adapter=tmp_path / "first")
    assert second["losses"][0] < 0.7 * first["losses"][0]
    start, end = load_file(tmp_path / "first" / ADAPTER), load_file(tmp_path / "second" / ADAPTER)
    assert start.keys() == end.keys()
    assert all(not torch.equal(start[name], end[name]) for name in start)


def test_full_weights_cannot_start_from_an_adapter(tmp_path):
    run(tmp_path / "adapter", replace(SETTINGS, min_steps=1))
    with pytest.raises(ValueError, match="full-weight training cannot start from a LoRA adapter"):
        run(tmp_path / "out", replace(SETTINGS, lora=None), adapter=tmp_path / "adapter")


@pytest.mark.parametrize("micro_batch", [1, 3])
def test_micro_batches_change_memory_and_not_the_result(tmp_path, micro_batch):
    settings = replace(SETTINGS, min_steps=3, learning_rate=1e-3)
    whole, parts = run(tmp_path / "whole", settings), run(tmp_path / "parts", settings, micro_batch=micro_batch)
    assert parts["losses"] == pytest.approx(whole["losses"], rel=1e-5)
    one, other = load_file(tmp_path / "whole" / ADAPTER), load_file(tmp_path / "parts" / ADAPTER)
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(other[name], one[name], atol=1e-5, rtol=0)


@pytest.mark.parametrize("lora", [Lora(4, 8), None], ids=["lora", "full"])
def test_the_seed_decides_the_weights_to_the_bit(tmp_path, lora):
    settings = replace(SETTINGS, lora=lora, min_steps=3)
    torch.manual_seed(3)
    run(tmp_path / "one", settings)
    torch.manual_seed(4)
    run(tmp_path / "same", settings)
    run(tmp_path / "other", replace(settings, seed=2))
    name = "model.safetensors" if lora is None else ADAPTER
    one, same, other = ((tmp_path / folder / name).read_bytes() for folder in ("one", "same", "other"))
    assert one == same
    assert one != other


def test_a_loss_that_is_not_finite_is_an_error_with_its_step(tmp_path):
    with pytest.raises(FloatingPointError, match=r"the loss is (nan|inf) at step 1 \(rows \[\d+, \d+, \d+, \d+\]\)"):
        run(tmp_path / "out", replace(SETTINGS, learning_rate=1e30))
    assert not (tmp_path / "out").exists()


def test_no_rows_are_an_error(tmp_path):
    def give_up(*_):
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, 5)
    try:
        with pytest.raises(ValueError):  # noqa: PT011
            train(CHECKPOINT, None, [], SETTINGS, tmp_path)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_the_loss_is_that_of_transformers():
    tokenizer = AutoTokenizer.from_pretrained(CHECKPOINT)
    model = AutoModelForCausalLM.from_pretrained(CHECKPOINT, dtype=torch.float32).eval()
    rows = tokenize(chats(5), tokenizer, 2048)
    assert len({len(row.ids) for row in rows}) > 1
    ids, labels = pad(rows, tokenizer.pad_token_id)
    supervised = sum(len(row.ids) - row.supervised_from for row in rows)
    with torch.no_grad():
        ours = sft_loss(model, ids, labels, supervised)
        mask = torch.arange(ids.shape[1])[None, :] < torch.tensor([[len(row.ids)] for row in rows])
        theirs = model(input_ids=ids, attention_mask=mask.long(), labels=labels).loss
        apart = sum(sft_loss(model, *pad([row], tokenizer.pad_token_id), supervised) for row in rows)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(apart, ours, atol=1e-5, rtol=1e-5)


def test_the_steps_are_those_of_adamw_with_clipped_gradients(tmp_path):
    figures = run(tmp_path, replace(SETTINGS, lora=None, learning_rate=1e-3, weight_decay=0.1, min_steps=4))
    model = AutoModelForCausalLM.from_pretrained(CHECKPOINT, dtype=torch.float32).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1)
    tokenizer = AutoTokenizer.from_pretrained(CHECKPOINT)
    rows, losses = tokenize(chats(), tokenizer, 2048), []
    for numbers in row_order(len(rows), 4, 4, SETTINGS.seed):
        ids, labels = pad([rows[i] for i in numbers], tokenizer.pad_token_id)
        loss = model(input_ids=ids, labels=labels).loss
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    assert figures["losses"] == pytest.approx(losses, rel=1e-4)


@pytest.mark.parametrize(
    ("schedule", "warmup", "rates"),
    [
        ("constant", 0.0, [1, 1, 1, 1, 1, 1, 1, 1]),
        ("linear", 0.0, [1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8]),
        ("linear", 0.5, [1 / 4, 2 / 4, 3 / 4, 1, 1, 3 / 4, 2 / 4, 1 / 4]),
        ("cosine", 0.0, [1, 0.9619, 0.8536, 0.6913, 0.5, 0.3087, 0.1464, 0.0381]),
    ],
)
def test_learning_rates_follow_the_schedule(tmp_path, schedule, warmup, rates):
    reported = []
    run(tmp_path, replace(SETTINGS, schedule=schedule, warmup=warmup, learning_rate=1e-4), report=reported.append)
    assert [r["learning_rate"] / 1e-4 for r in reported] == pytest.approx(rates, abs=1e-4)


def test_a_new_adapter_answers_as_its_base():
    base = AutoModelForCausalLM.from_pretrained(CHECKPOINT, dtype=torch.float32)
    student = load_student(CHECKPOINT, None, Lora(4, 8), "float32", seed=1)
    assert mean_loss(student) == pytest.approx(mean_loss(base), rel=1e-6)
    trainable = {name.split(".")[-3] for name, p in student.named_parameters() if p.requires_grad}
    assert "lm_head" not in trainable
    assert all("lora" in name for name, p in student.named_parameters() if p.requires_grad)
