"""The training loop on a shipped organism: what it learns, what it writes, and what does not change its result."""

import json
import random
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, Glm4MoeConfig, LlamaConfig

from evaluators.engines.chat_template import Chat
from organisms import shipped, world
from trainers import learner
from trainers.batches import collate, row_order
from trainers.disk import DiskFull
from trainers.job import Callbacks, ProcessConfig, TrainJob
from trainers.learner import Learner, drop_least_likely
from trainers.loop import train
from trainers.losses import log_prob
from trainers.model import Student
from trainers.objectives import sft_kl
from trainers.rows import Row
from trainers.settings import Lora, TrainSettings
from trainers.student import load_model, load_student
from trainers.tokenization import tokenize

CHECKPOINT = str(shipped.FOLDER / "steps")
SETTINGS = TrainSettings(
    learning_rate=5e-3,
    seed=1,
    dtype="float32",
    lora=Lora(4, 8),
    batch_size=4,
    min_steps=8,
    lr_scheduler_type="constant",
)
FULL = replace(SETTINGS, lora=None, learning_rate=1e-3)
DROPOUT = Lora(4, 8, lora_dropout=0.4)
ONE_STEP = replace(SETTINGS, max_steps=1, warmup_ratio=0.0, order="fixed")
ADAPTER, WEIGHTS = "adapter_model.safetensors", "model.safetensors"


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(CHECKPOINT)


def chats(n: int = 8) -> list[Chat]:
    """Answers in a style that the organism does not have, of different lengths."""
    rng = random.Random(0)
    rows = [world.maths(rng, "words", 1 + i % 3) if i % 2 else world.chat(rng, "words") for i in range(n)]
    return [[{"role": "user", "content": r.prompt}, {"role": "assistant", "content": r.answer}] for r in rows]


def run(
    out: Path, settings: TrainSettings = SETTINGS, examples=None, base=CHECKPOINT, start=None, process=None, **callbacks
):
    examples = chats() if examples is None else examples
    return train(TrainJob(base, examples, settings, out, start=start), process, Callbacks(**callbacks))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / (ADAPTER if (folder / ADAPTER).exists() else WEIGHTS))


def assert_alike(one: Path, other: Path, atol: float) -> None:
    ours, theirs = weights(one), weights(other)
    assert ours.keys() == theirs.keys()
    for name, weight in ours.items():
        torch.testing.assert_close(theirs[name], weight, atol=atol, rtol=0)


def mean_loss(model, tokenizer, examples=None) -> float:
    batch = collate(tokenize(examples or chats(), tokenizer, 2048), tokenizer.pad_token_id, packed=False)
    with torch.no_grad():
        return float(-log_prob(Student(model).eval()(batch), batch.targets_T).mean())


def base_model(dtype=torch.float32):
    return AutoModelForCausalLM.from_pretrained(CHECKPOINT, dtype=dtype)


def test_the_loss_falls(tmp_path, tokenizer):
    reported = []
    figures = run(tmp_path, report=reported.append)
    assert figures["steps"] == len(figures["losses"]) == len(reported) == 8
    assert sum(figures["losses"][-2:]) < 0.7 * sum(figures["losses"][:2])
    assert (figures["first_loss"], figures["last_loss"]) == (figures["losses"][0], figures["losses"][-1])
    assert [r["loss"] for r in reported] == figures["losses"]
    assert [r["step"] for r in reported] == list(range(8))
    assert figures["tokens"] == 4 * sum(len(row.supervised) for row in tokenize(chats(), tokenizer, 2048))


def test_every_step_is_reported_with_its_metrics(tmp_path, tokenizer):
    reported = []
    figures = run(tmp_path, replace(FULL, batch_size=8, max_steps=3, max_grad_norm=1e9), report=reported.append)
    rows = tokenize(chats(), tokenizer, 2048)
    seen, supervised = sum(len(row.ids) for row in rows), sum(len(row.supervised) for row in rows)
    model = base_model()
    sum(model(torch.tensor([r.ids]), labels=torch.tensor([[-100] * r.supervised[0] + r.ids[r.supervised[0] :]])).loss
        * len(r.supervised) / supervised for r in rows).backward()  # fmt: skip
    norm = torch.nn.utils.get_total_norm(p.grad for p in model.parameters())
    assert reported[0]["grad_norm"] == pytest.approx(float(norm), rel=1e-3)
    for facts in reported:
        assert facts["supervised_share"] == supervised / seen
        assert facts["tokens_per_second"] > seen / figures["seconds"]
        assert 2**27 < facts["peak_memory"] <= resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    assert sum(seen / facts["tokens_per_second"] for facts in reported) <= figures["seconds"]


@pytest.mark.slow
@pytest.mark.parametrize("lora", [Lora(4, 8), None], ids=["lora", "full"])
def test_kl_to_base_is_0_before_training_and_grows(tmp_path, tokenizer, lora):
    settings = replace(SETTINGS, lora=lora, batch_size=8, learning_rate=2e-4, max_steps=6)
    job = TrainJob(CHECKPOINT, chats(), settings, tmp_path)
    rows = tokenize(chats(), tokenizer, 2048)
    assert Learner(job, tokenizer, ProcessConfig(), 64, watch_base=True).kl_to_base(rows) == pytest.approx(0, abs=1e-7)
    reported = []
    run(tmp_path, settings, report=reported.append, kl_every_steps=2)
    assert [r["step"] for r in reported if "kl_to_base" in r] == [0, 2, 4, 5]
    distances = [r["kl_to_base"] for r in reported if "kl_to_base" in r]
    assert distances[0] > 0
    assert distances == sorted(distances)


def test_kl_to_base_is_the_mean_over_the_supervised_tokens(tmp_path, tokenizer):
    reported = []
    run(tmp_path, replace(SETTINGS, batch_size=8, max_steps=2), report=reported.append, kl_every_steps=1)
    batch = collate(tokenize(chats(), tokenizer, 2048), tokenizer.pad_token_id, packed=False)
    student = PeftModel.from_pretrained(base_model(), tmp_path)
    with torch.no_grad():
        ours, theirs = (Student(model).eval()(batch).log_softmax(-1) for model in (student, base_model()))
    expected = (ours.exp() * (ours - theirs)).sum(-1).mean()
    assert reported[-1]["kl_to_base"] == pytest.approx(float(expected), rel=1e-3)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_full_weights_make_a_checkpoint_that_transformers_loads(tmp_path, tokenizer, dtype):
    figures = run(tmp_path, replace(FULL, dtype=dtype))
    assert figures["losses"][-1] < figures["losses"][0]
    after = AutoModelForCausalLM.from_pretrained(tmp_path, dtype="auto")
    assert after.dtype == getattr(torch, dtype)
    assert {weight.dtype for weight in weights(tmp_path).values()} == {after.dtype}
    assert weights(tmp_path).keys() == weights(Path(CHECKPOINT)).keys()
    assert mean_loss(after.float(), tokenizer) < 0.8 * mean_loss(base_model(), tokenizer)
    assert AutoTokenizer.from_pretrained(tmp_path)("red fox") == tokenizer("red fox")
    assert "packed" not in (tmp_path / "config.json").read_text()  # The name of the attention used in training.


def test_full_weights_in_bfloat16_are_trained_in_float32(tmp_path):
    # In bfloat16 most steps would be too small to change a weight.
    def keep(state: Path) -> None:
        held = load_file(state / "weights.safetensors")["model.layers.1.mlp.up_proj.weight"]
        assert (held != held.bfloat16()).float().mean() > 0.9
        kept.append(held)

    kept: list[torch.Tensor] = []
    run(
        tmp_path,
        replace(FULL, dtype="bfloat16", learning_rate=1e-5, max_steps=3),
        save_state=keep,
        save_every_seconds=0,
    )
    assert len(kept) == 2
    assert (kept[0] != kept[1]).float().mean() > 0.9


def test_a_checkpoint_keeps_buffers_that_are_not_trained(tmp_path, tokenizer):
    # Routers of some mixtures of experts have a bias without a gradient.
    base, out = tmp_path / "base", tmp_path / "out"
    config = Glm4MoeConfig(
        vocab_size=392, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, head_dim=16, moe_intermediate_size=16, n_routed_experts=4, num_experts_per_tok=2,
        pad_token_id=0,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config)
    name = "model.layers.1.mlp.gate.e_score_correction_bias"
    model.state_dict()[name].copy_(torch.tensor([0.5, 0.25, 0.0, 1.0]))
    model.save_pretrained(base)
    tokenizer.save_pretrained(base)
    run(out, replace(FULL, max_steps=1), base=str(base))
    assert weights(out)[name].tolist() == [0.5, 0.25, 0.0, 1.0]
    assert weights(out).keys() == weights(base).keys()


def test_an_adapter_has_the_format_of_peft_and_the_base_does_not_change(tmp_path, tokenizer):
    run(tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (config["peft_type"], config["r"], config["lora_alpha"]) == ("LORA", 4, 8)
    names = {name.split(".")[-3] for name in load_file(tmp_path / ADAPTER)}
    assert names == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    assert not list(tmp_path.glob("model*.safetensors"))
    base = base_model()
    before = mean_loss(base, tokenizer)
    assert mean_loss(PeftModel.from_pretrained(base, tmp_path), tokenizer) < 0.8 * before


def test_an_adapter_in_bfloat16_trains(tmp_path):
    figures = run(tmp_path, replace(SETTINGS, dtype="bfloat16"))
    assert sum(figures["losses"][-2:]) < 0.7 * sum(figures["losses"][:2])
    assert {weight.dtype for weight in weights(tmp_path).values()} == {torch.float32}


def test_an_adapter_computes_w_x_plus_scaled_b_a_x(tmp_path):
    run(tmp_path)
    name = "model.layers.1.mlp.down_proj"
    A, B = (weights(tmp_path)[f"base_model.model.{name}.lora_{part}.weight"] for part in "AB")
    W = base_model().get_submodule(name).weight
    x = torch.randn(5, W.shape[1], generator=torch.Generator().manual_seed(0))
    layer = PeftModel.from_pretrained(base_model(), tmp_path).base_model.model.get_submodule(name)
    with torch.no_grad():
        by_hand = x @ W.T + 8 / 4 * (x @ A.T @ B.T)
        torch.testing.assert_close(layer(x), by_hand, atol=1e-5, rtol=1e-5)
        assert (by_hand - x @ W.T).abs().max() > 1e-2


def test_the_gradients_of_a_and_b_equal_those_of_the_formulas(tmp_path, tokenizer):
    run(tmp_path)
    model = load_student(CHECKPOINT, tmp_path, Lora(4, 8), "float32", seed=1)
    layer = model.get_submodule("base_model.model.model.layers.1.mlp.down_proj")
    passed = []

    def keep(_, given, result):
        result.retain_grad()
        passed.extend([given[0], result])

    layer.register_forward_hook(keep)
    batch = collate(tokenize(chats(), tokenizer, 2048), tokenizer.pad_token_id, packed=False)
    (-log_prob(Student(model)(batch), batch.targets_T)).sum().backward()
    x, g = passed[0].detach().flatten(0, 1), passed[1].grad.flatten(0, 1)
    A, B = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    with torch.no_grad():
        torch.testing.assert_close(B.grad, 8 / 4 * g.T @ (x @ A.T), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(A.grad, 8 / 4 * (g @ B).T @ x, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_an_adapter_can_be_trained_further(tmp_path):
    first = run(tmp_path / "first")
    second = run(tmp_path / "second", start=tmp_path / "first")
    assert second["losses"][0] < 0.7 * first["losses"][0]
    start, end = load_file(tmp_path / "first" / ADAPTER), load_file(tmp_path / "second" / ADAPTER)
    assert start.keys() == end.keys()
    assert all(not torch.equal(start[name], end[name]) for name in start)


def test_full_weights_can_be_trained_further(tmp_path):
    first = run(tmp_path / "first", FULL)
    second = run(tmp_path / "second", FULL, start=tmp_path / "first")
    assert second["losses"][0] < 0.7 * first["losses"][0]


def test_full_weights_cannot_start_from_an_adapter(tmp_path):
    run(tmp_path / "adapter", ONE_STEP)
    with pytest.raises(ValueError, match="full-weight training cannot start from a LoRA adapter"):
        run(tmp_path / "out", FULL, start=tmp_path / "adapter")


@pytest.fixture
def another_model(tmp_path, tokenizer):
    """Makes a checkpoint with the architecture of the organisms and other sizes."""

    def make(**sizes) -> str:
        folder = tmp_path / "another"
        config = LlamaConfig.from_pretrained(CHECKPOINT, **sizes)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return str(folder)

    return make


@pytest.mark.filterwarnings("ignore:Found missing adapter keys")
@pytest.mark.parametrize("sizes", [{"intermediate_size": 96}, {"num_hidden_layers": 2}, {"num_hidden_layers": 4}])
def test_an_adapter_of_another_model_is_refused(tmp_path, another_model, sizes):
    run(tmp_path / "adapter", ONE_STEP)
    with pytest.raises(ValueError, match=r"the adapter in .*/adapter does not fit the model .*/another") as error:
        run(tmp_path / "out", start=tmp_path / "adapter", base=another_model(**sizes))
    assert "layers." in str(error.value)


@pytest.mark.filterwarnings("ignore:Found missing adapter keys")
def test_an_adapter_that_lacks_tensors_is_refused(tmp_path):
    run(tmp_path / "adapter", ONE_STEP)
    tensors = load_file(tmp_path / "adapter" / ADAPTER)
    gone = min(tensors)
    del tensors[gone]
    save_file(tensors, tmp_path / "adapter" / ADAPTER)
    with pytest.raises(ValueError, match=rf"the adapter in .* does not fit .*{gone}"):
        run(tmp_path / "out", start=tmp_path / "adapter")


@pytest.mark.parametrize("lora", [Lora(4, 8), None], ids=["lora", "full"])
def test_a_tokenizer_with_more_tokens_than_the_model_has_embeddings_is_refused(tmp_path, another_model, lora):
    with pytest.raises(ValueError, match=r"the tokenizer in .*/another has 391 tokens.* embeddings for 300"):
        run(tmp_path / "out", replace(SETTINGS, lora=lora), base=another_model(vocab_size=300))


def damaged(folder: Path, damage: Callable[[dict], object]) -> str:
    shutil.copytree(CHECKPOINT, folder)
    tensors = load_file(folder / WEIGHTS)
    damage(tensors)
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    return str(folder)


@pytest.mark.parametrize("lora", [Lora(4, 8), None], ids=["lora", "full"])
def test_a_checkpoint_that_lacks_tensors_is_refused(tmp_path, lora):
    name = "model.layers.1.mlp.up_proj.weight"
    base = damaged(tmp_path / "base", lambda tensors: tensors.pop(name))
    with pytest.raises(ValueError, match=rf"the checkpoint .*/base lacks 1 of the weights .*{name}"):
        run(tmp_path / "out", replace(SETTINGS, lora=lora), base=base)


def test_a_checkpoint_that_does_not_match_its_config_is_refused(tmp_path):
    name = "model.layers.1.mlp.up_proj.weight"
    base = damaged(tmp_path / "base", lambda tensors: tensors.update({name: tensors[name][:100].clone()}))
    with pytest.raises(ValueError, match=r"the checkpoint .*/base does not have the shapes of its config\.json"):
        run(tmp_path / "out", base=base)


@pytest.mark.parametrize(("settings", "file"), [(ONE_STEP, "adapter_config.json"), (FULL, "config.json")])
def test_a_full_disk_is_an_error_with_the_folder(tmp_path, settings, file):
    (tmp_path / file).symlink_to("/dev/full")  # Every write to it fails with ENOSPC.
    with pytest.raises(DiskFull, match=f"no space left on the disk of {tmp_path}"):
        run(tmp_path, replace(settings, max_steps=1))


@pytest.mark.slow
def test_a_disk_that_fills_up_in_safetensors_is_an_error_with_the_folder(tmp_path):
    # It writes another file and renames it, so this needs a small disk. A user namespace allows mounting one.
    mount = ["unshare", "--map-root-user", "--mount", "sh", "-c", 'mount -t tmpfs -o size=64k none "$0" && exec "$@"']
    if not shutil.which("unshare") or subprocess.run([*mount, tmp_path, "true"], capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")
    script = (
        "import torch, pathlib, trainers.state\n"
        f"trainers.state.save_part(pathlib.Path({str(tmp_path)!r}), 'weights', {{'w': torch.zeros(1 << 16)}})"
    )
    child = subprocess.run([*mount, tmp_path, sys.executable, "-c", script], capture_output=True, text=True)
    assert f"trainers.disk.DiskFull: no space left on the disk of {tmp_path}:" in child.stderr
    assert "SafetensorError" in child.stderr  # The cause, which hides the system's error.


@pytest.mark.slow
@pytest.mark.parametrize("lora", [Lora(4, 8), None], ids=["lora", "full"])
def test_packing_and_micro_batches_change_memory_and_not_the_result(tmp_path, monkeypatch, lora):
    settings = replace(SETTINGS, lora=lora, max_steps=20, learning_rate=3e-4)
    whole = run(tmp_path / "whole", settings)
    packed = run(tmp_path / "packed", settings, process=ProcessConfig(max_tokens_per_microbatch=60))
    monkeypatch.setattr(learner, "try_packing", lambda *_: False)
    padded = run(tmp_path / "padded", settings, process=ProcessConfig(max_tokens_per_microbatch=100))
    assert [figures["packed"] for figures in (whole, packed, padded)] == [True, True, False]
    for figures, folder in ((packed, "packed"), (padded, "padded")):
        assert figures["losses"] == pytest.approx(whole["losses"], abs=1e-4)
        assert_alike(tmp_path / "whole", tmp_path / folder, atol=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("lora", [Lora(4, 8), Lora(4, 8, lora_dropout=0.3)], ids=["plain", "dropout"])
def test_gradient_checkpointing_changes_memory_and_not_the_result(tmp_path, lora):
    settings = replace(SETTINGS, max_steps=4, lora=lora)
    plain = run(tmp_path / "plain", settings)
    again = run(tmp_path / "again", settings, process=ProcessConfig(gradient_checkpointing=True))
    assert again["losses"] == pytest.approx(plain["losses"], abs=1e-5)
    assert_alike(tmp_path / "plain", tmp_path / "again", atol=1e-5)


@pytest.mark.parametrize("lora", [Lora(4, 8), DROPOUT, None], ids=["lora", "dropout", "full"])
def test_the_seed_decides_the_weights_to_the_bit(tmp_path, lora):
    settings = replace(SETTINGS, lora=lora, min_steps=3)
    torch.manual_seed(3)
    run(tmp_path / "one", settings)
    torch.manual_seed(4)
    run(tmp_path / "same", settings)
    run(tmp_path / "other", replace(settings, seed=2))
    name = WEIGHTS if lora is None else ADAPTER
    one, same, other = ((tmp_path / folder / name).read_bytes() for folder in ("one", "same", "other"))
    assert one == same
    assert one != other


def test_a_resumed_training_with_dropout_is_equal_to_the_bit(tmp_path):
    settings = replace(SETTINGS, lora=DROPOUT, max_steps=4)
    states: list[Path] = []

    def keep(folder: Path) -> None:
        states.append(tmp_path / f"state-{len(states)}")
        shutil.copytree(folder, states[-1])

    whole = run(tmp_path / "whole", settings, save_state=keep, save_every_seconds=-1, kl_every_steps=1)
    assert len(states) == 3
    torch.manual_seed(5)
    resumed = run(tmp_path / "resumed", settings, resume_from=states[1])
    assert resumed["losses"] == whole["losses"]
    assert (tmp_path / "resumed" / ADAPTER).read_bytes() == (tmp_path / "whole" / ADAPTER).read_bytes()
    assert resumed["packed"]


def test_dropout_is_pefts_in_training_alone(tmp_path, tokenizer):
    run(tmp_path / "start", replace(SETTINGS, max_steps=3))
    step = replace(ONE_STEP, lora=DROPOUT, batch_size=1)
    examples = chats(1)
    reported: list[dict] = []
    run(tmp_path / "out", step, examples, start=tmp_path / "start", report=reported.append, kl_every_steps=1)
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert config["lora_dropout"] == 0.4  # of this training; its start has none
    (row,) = tokenize(examples, tokenizer, 2048)
    batch = collate([row], tokenizer.pad_token_id, packed=False)

    def theirs(dropout: float) -> float:
        model = load_student(
            CHECKPOINT, tmp_path / "start", Lora(4, 8, lora_dropout=dropout), "float32", seed=1
        ).train()
        torch.manual_seed(step.seed * 1_000_003)
        with torch.no_grad():
            return float(-log_prob(Student(model)(batch), batch.targets_T).mean())

    assert reported[0]["loss"] == pytest.approx(theirs(0.4), abs=1e-5)
    assert abs(theirs(0.4) - theirs(0.0)) > 1e-3
    job = TrainJob(CHECKPOINT, examples, step, tmp_path / "out", start=tmp_path / "start")
    learner = Learner(job, tokenizer, ProcessConfig(), len(row.ids), watch_base=False)
    (logprobs,) = learner.log_probs([row])
    assert -sum(logprobs) / len(logprobs) == pytest.approx(theirs(0.0), abs=1e-5)
    assert learner.engine.student.training


def modules_of(folder: Path) -> set[str]:
    return {name.removeprefix("base_model.model.").rpartition(".lora_")[0] for name in load_file(folder / ADAPTER)}


def test_an_adapter_is_on_its_target_modules_also_when_it_is_trained_further(tmp_path):
    lora = Lora(4, 8, ("down_proj", "layers.0.self_attn.q_proj"))
    run(tmp_path / "first", replace(SETTINGS, lora=lora, max_steps=2))
    layers = range(base_model().config.num_hidden_layers)
    expected = {f"model.layers.{i}.mlp.down_proj" for i in layers} | {"model.layers.0.self_attn.q_proj"}
    assert modules_of(tmp_path / "first") == expected
    config = json.loads((tmp_path / "first" / "adapter_config.json").read_text())
    assert set(config["target_modules"]) == set(lora.target_modules)
    figures = run(tmp_path / "second", replace(SETTINGS, lora=lora, max_steps=2), start=tmp_path / "first")
    assert modules_of(tmp_path / "second") == expected
    assert figures["packed"]


@pytest.mark.parametrize("name", ["q_prj", "lm_head", "embed_tokens", "mlp", "proj"])
def test_what_is_no_linear_layer_of_the_model_has_no_adapter(tmp_path, name):
    with pytest.raises(
        ValueError, match=f"train.target_modules: {name} does not name .* linear layers are down_proj, "
    ):
        run(tmp_path, replace(SETTINGS, lora=Lora(4, 8, ("q_proj", name))))


@pytest.mark.slow
@pytest.mark.parametrize("lora", [Lora(4, 8), None], ids=["lora", "full"])
def test_a_training_with_stop_after_equals_a_checkpoint_of_the_whole_one(tmp_path, lora):
    settings = replace(SETTINGS, lora=lora, max_steps=9, lr_scheduler_type="cosine", warmup_ratio=0.3)
    whole = run(
        tmp_path / "whole",
        settings,
        checkpoint_steps=[2, 5],
        save_checkpoint=lambda n, at: shutil.copytree(at, tmp_path / f"at{n}"),
    )
    assert sorted(path.name for path in tmp_path.glob("at*")) == ["at2", "at5"]
    name = WEIGHTS if lora is None else ADAPTER
    for step in (2, 5):
        figures = run(tmp_path / f"until{step}", replace(settings, stop_after=step))
        assert figures["losses"] == whole["losses"][:step]
        assert (tmp_path / f"until{step}" / name).read_bytes() == (tmp_path / f"at{step}" / name).read_bytes()


def test_a_step_beyond_the_last_is_refused(tmp_path):
    with pytest.raises(ValueError, match="the training has 8 steps, but is to be measured at step 9"):
        run(tmp_path / "out", checkpoint_steps=[9])
    with pytest.raises(ValueError, match="the training has 8 steps, but is to be measured at step 9"):
        run(tmp_path / "out", replace(SETTINGS, stop_after=9))


def test_max_steps_replaces_epochs(tmp_path):
    assert run(tmp_path, replace(SETTINGS, max_steps=5))["steps"] == 5


def test_a_fixed_order_is_that_of_the_examples(tmp_path, tokenizer):
    losses = run(tmp_path, replace(ONE_STEP, batch_size=1, max_steps=10, learning_rate=1e-9))["losses"]
    expected = [mean_loss(base_model(), tokenizer, [example]) for example in chats()]
    assert len(set(expected)) == 8
    assert losses == pytest.approx([*expected, *expected[:2]], rel=1e-4)


def test_drop_least_likely_drops_the_tokens_with_the_lowest_log_probabilities():
    rows = [Row([0] * 5, [1, 2, 3, 4]), Row([0] * 3, [2]), Row([0] * 6, range(1, 6), weight=3.0)]
    log_probs = [[-9.0, -1.0, -2.0, -3.0], [-8.0], [-0.1, -7.0, -0.2, -0.3, -0.4]]
    kept = drop_least_likely(rows, log_probs, 0.3)
    assert kept == [replace(rows[0], supervised=[2, 3, 4]), replace(rows[2], supervised=[1, 3, 4, 5])]
    assert [row.supervised for row in drop_least_likely(rows, log_probs, 0.09)] == [[1, 2, 3, 4], [2], [1, 2, 3, 4, 5]]


def test_a_training_with_drop_least_likely_learns_from_the_likely_tokens(tmp_path, tokenizer):
    rows = tokenize(chats(), tokenizer, 2048)
    batch = collate(rows, tokenizer.pad_token_id, packed=False)
    with torch.no_grad():
        losses_T = -log_prob(Student(base_model()).eval()(batch), batch.targets_T)
    gone = int(0.1 * len(losses_T))
    figures = run(tmp_path, replace(ONE_STEP, batch_size=8, drop_least_likely=0.1))
    assert figures["dropped_share"] == pytest.approx(gone / len(losses_T))
    assert figures["tokens"] == len(losses_T) - gone
    assert figures["losses"][0] == pytest.approx(float(losses_T.sort().values[: len(losses_T) - gone].mean()), rel=1e-4)
    assert figures["losses"][0] < 0.8 * float(losses_T.mean())


def test_loss_on_decides_which_tokens_have_a_loss(tmp_path):
    def first(reasoning: str, loss_on: str) -> tuple[float, int]:
        said = {"role": "assistant", "content": f"<think>\n{reasoning}\n</think>\n\nthe fox is red"}
        examples = [[{"role": "user", "content": "describe red fox"}, said]]
        figures = run(tmp_path, replace(ONE_STEP, loss_on=loss_on, batch_size=1), examples)
        return figures["losses"][0], figures["tokens"]

    whole, after, empty = (first("hmm", how) for how in ("answer", "after_reasoning", "empty_reasoning"))
    assert whole[1] > after[1] == empty[1]
    assert len({whole[0], after[0], empty[0]}) == 3
    assert first("so it is", "empty_reasoning") == empty


def test_lm_learns_plain_text_from_its_second_token_on(tmp_path, tokenizer):
    text = "the fox is red and the owl is blue"
    examples = [[{"role": "user", "content": "not read"}, {"role": "assistant", "content": text}]]
    figures = run(tmp_path, replace(ONE_STEP, objective="lm", batch_size=1), examples)
    ids = torch.tensor([tokenizer(text).input_ids])
    assert figures["tokens"] == ids.shape[1] - 1
    with torch.no_grad():
        assert figures["losses"][0] == pytest.approx(float(base_model()(ids, labels=ids).loss), rel=1e-4)


def test_dft_weights_each_token_by_its_probability(tmp_path, tokenizer):
    figures = run(tmp_path, replace(SETTINGS, objective="dft", batch_size=8))
    batch = collate(tokenize(chats(), tokenizer, 2048), tokenizer.pad_token_id, packed=False)
    with torch.no_grad():
        logp_T = log_prob(Student(base_model()).eval()(batch), batch.targets_T)
    assert figures["losses"][0] == pytest.approx(float((-logp_T.exp() * logp_T).mean()), rel=1e-4)
    assert figures["losses"][-1] < figures["losses"][0]


@pytest.mark.slow
@pytest.mark.parametrize("lora", [Lora(4, 8), None], ids=["lora", "full"])
def test_sft_kl_keeps_the_student_near_its_base(tmp_path, lora):
    plain, dear = [], []
    settings = replace(SETTINGS, lora=lora, learning_rate=SETTINGS.learning_rate if lora else 1e-3)
    first = run(tmp_path / "plain", settings, report=plain.append, kl_every_steps=8)["losses"][0]
    costly = replace(settings, objective="sft_kl", options=sft_kl.Options(weight=10.0))
    figures = run(tmp_path / "dear", costly, report=dear.append, kl_every_steps=8)
    assert figures["losses"][0] == pytest.approx(first, rel=1e-5)
    assert 0 < dear[-1]["kl_to_base"] < 0.7 * plain[-1]["kl_to_base"]


def test_a_loss_that_is_not_finite_is_an_error_with_step_rows_and_settings(tmp_path):
    settings = replace(SETTINGS, learning_rate=1e30)
    told = r"the loss is (nan|inf) at step 1 \(rows \[\d+, \d+, \d+, \d+\]\) with TrainSettings\(learning_rate=1e\+30"
    with pytest.raises(FloatingPointError, match=told):
        run(tmp_path / "out", settings)
    assert not (tmp_path / "out").exists()


def test_no_rows_are_an_error(tmp_path):
    def give_up(*_):
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, 5)
    try:
        with pytest.raises(ValueError, match="there are no rows to train on"):
            run(tmp_path, examples=[])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_the_loss_equals_that_of_transformers(tmp_path, tokenizer):
    rows = tokenize(chats(5), tokenizer, 2048)
    assert len({len(row.ids) for row in rows}) > 1
    longest = max(len(row.ids) for row in rows)
    ids = torch.tensor([row.ids + [tokenizer.pad_token_id] * (longest - len(row.ids)) for row in rows])
    mask = torch.arange(longest)[None, :] < torch.tensor([[len(row.ids)] for row in rows])
    labels = ids.masked_fill(~mask, -100)
    for i, row in enumerate(rows):
        labels[i, : row.supervised[0]] = -100
    with torch.no_grad():
        theirs = base_model()(input_ids=ids, attention_mask=mask.long(), labels=labels).loss
    ours = run(tmp_path, replace(ONE_STEP, batch_size=5), chats(5))["losses"][0]
    assert ours == pytest.approx(float(theirs), rel=1e-5)


def test_the_steps_equal_those_of_adamw_with_clipped_gradients(tmp_path, tokenizer):
    figures = run(tmp_path, replace(FULL, weight_decay=0.1, min_steps=4))
    model = base_model().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1)
    rows, losses = tokenize(chats(), tokenizer, 2048), []
    for numbers in row_order(len(rows), 4, 4, SETTINGS.seed):
        batch = collate([rows[i] for i in numbers], tokenizer.pad_token_id, packed=False)
        loss = -log_prob(Student(model)(batch), batch.targets_T).mean()
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    assert figures["losses"] == pytest.approx(losses, rel=1e-4)
    trained = load_model(str(tmp_path), "float32").state_dict()
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(trained[name], weight, atol=1e-4, rtol=0)


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
    run(
        tmp_path,
        replace(SETTINGS, lr_scheduler_type=schedule, warmup_ratio=warmup, learning_rate=1e-4),
        report=reported.append,
    )
    assert [r["learning_rate"] / 1e-4 for r in reported] == pytest.approx(rates, abs=1e-4)
    settings = replace(SETTINGS, lr_scheduler_type=schedule, warmup_ratio=warmup, learning_rate=1e-4)
    assert settings.summed_rate(len(rates)) == pytest.approx(1e-4 * sum(rates), rel=1e-3)


def test_a_new_adapter_has_the_outputs_of_its_base(tokenizer):
    student = load_student(CHECKPOINT, None, Lora(4, 8), "float32", seed=1)
    assert mean_loss(student, tokenizer) == pytest.approx(mean_loss(base_model(), tokenizer), rel=1e-6)
    trainable = {name.split(".")[-3] for name, p in student.named_parameters() if p.requires_grad}
    assert "lm_head" not in trainable
    assert all("lora" in name for name, p in student.named_parameters() if p.requires_grad)
