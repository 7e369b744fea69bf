"""Weights made without training, on a shipped organism, compared with plain arithmetic and PEFT; and their stages."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from orchestrator.plan.build import build_plan
from orchestrator.run import preflight
from orchestrator.run.stage_runner import KINDS
from orchestrator.stages.weights import Interpolate, Noise, Scale, WeightsSettings
from orchestrator.store.checkpoints import checkpoint_of
from orchestrator.store.context import StageContext, Weights
from orchestrator.store.store import Store
from orchestrator.study.settings import StudyError
from organisms import shipped
from trainers.weights import _norm, interpolate, noise, relative_norm, scale

BASE = shipped.FOLDER / "steps"
MODEL, ADAPTER, CONFIG = "model.safetensors", "adapter_model.safetensors", "adapter_config.json"
CHANGED = ("model.embed_tokens.weight", "model.layers.1.mlp.up_proj.weight", "model.norm.weight")
IDS = torch.tensor([[1, 20, 30, 40, 50, 60]])
BOTH = pytest.mark.parametrize("kind", ["adapter", "checkpoint"])


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def load(folder: Path, dtype: str = "float32"):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()


def tensors(folder: Path, dtype: str = "float32") -> dict[str, torch.Tensor]:
    return {name: weight.detach().float() for name, weight in load(folder, dtype).named_parameters()}


def logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=IDS).logits


def make_adapter(folder: Path, base: Path = BASE, spread: float = 0.02, **more) -> Path:
    torch.manual_seed(1)
    adapted = get_peft_model(load(base), LoraConfig(r=4, lora_alpha=12, task_type="CAUSAL_LM", **more))
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            weight.data.normal_(0, spread)
    adapted.save_pretrained(folder, save_embedding_layers=False)
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> dict[str, Path]:
    """An adapter, and a checkpoint in which three tensors of the base have changed."""
    folder = tmp_path_factory.mktemp("trained")
    make_adapter(folder / "adapter", target_modules=["q_proj", "up_proj"])
    changed = load(BASE)
    torch.manual_seed(2)
    for name, weight in changed.named_parameters():
        if name in CHANGED:
            weight.data += 0.01 * torch.randn_like(weight)
    changed.save_pretrained(folder / "checkpoint")
    return {kind: folder / kind for kind in ("adapter", "checkpoint")}


def updates(folder: Path, dtype: str = "float32") -> dict[str, torch.Tensor]:
    """The updates of a folder, by plain arithmetic, without unchanged tensors."""
    if (folder / CONFIG).is_file():
        made = load_file(folder / ADAPTER)
        names = {name.removeprefix("base_model.model.").partition(".lora_")[0] for name in made}
        part = "base_model.model.{}.lora_{}.weight".format
        return {f"{name}.weight": 12 / 4 * made[part(name, "B")] @ made[part(name, "A")] for name in names}
    base, other = tensors(BASE, dtype), tensors(folder, dtype)
    return {name: other[name] - base[name] for name in base if not torch.equal(other[name], base[name])}


def assert_norms(folder: Path, of: Path, dtype: str = "float32", rel: float = 1e-5) -> None:
    expected = {name: update.norm().item() for name, update in updates(of, dtype).items()}
    found = {name: update.norm().item() for name, update in updates(folder, dtype).items()}
    assert found == pytest.approx(expected, rel=rel)


@BOTH
def test_noise_has_the_norm_of_each_tensors_update_and_changes_no_other_tensor(tmp_path, trained, kind):
    noise(BASE, trained[kind], 1, "float32", tmp_path)
    assert_norms(tmp_path, trained[kind])
    for name, update in updates(trained[kind]).items():
        drawn = updates(tmp_path)[name]
        assert abs(torch.cosine_similarity(drawn.flatten(), update.flatten(), dim=0)) < 0.5
        assert (drawn / drawn.norm() * drawn.numel() ** 0.5).abs().mean() == pytest.approx((2 / torch.pi) ** 0.5, 0.2)
    ours, theirs = AutoTokenizer.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(BASE)
    assert (ours("red fox"), ours.chat_template) == (theirs("red fox"), theirs.chat_template)


@pytest.mark.parametrize("size", [0.0005, 0.02])
def test_noise_has_its_norm_after_rounding(tmp_path, size):
    # At 0.0005 the update is 0.1 % of its weights, and bfloat16 has steps of up to 0.8 %.
    adapter = make_adapter(tmp_path / "adapter", spread=size, target_modules=["up_proj"])
    noise(BASE, adapter, 1, "bfloat16", tmp_path / "noise")
    assert_norms(tmp_path / "noise", adapter, "bfloat16", rel=1e-3)
    assert {weight.dtype for weight in load_file(tmp_path / "noise" / MODEL).values()} == {torch.bfloat16}


def test_seed_and_tensor_name_decide_the_noise(tmp_path, trained):
    def drawn(seed: int, of: Path) -> dict[str, torch.Tensor]:
        out = tmp_path / f"{seed}-{of.name}"
        noise(BASE, of, seed, "float32", out)
        return {name: update / update.norm() for name, update in updates(out).items()}

    alone = load(BASE)
    alone.get_parameter(CHANGED[1]).data += 1.0
    alone.save_pretrained(tmp_path / "alone")
    one, other = drawn(1, trained["adapter"]), drawn(2, trained["adapter"])
    assert all(abs((one[name] * other[name]).sum()) < 0.2 for name in one)
    queries = [one[name] for name in one if "q_proj" in name]
    assert len(queries) == 3
    assert all(abs((queries[i] * queries[j]).sum()) < 0.2 for i, j in [(0, 1), (0, 2), (1, 2)])
    torch.testing.assert_close(drawn(1, tmp_path / "alone")[CHANGED[1]], one[CHANGED[1]], atol=1e-6, rtol=0)
    again = tmp_path / "again"
    noise(BASE, trained["adapter"], 1, "float32", again)
    assert (again / MODEL).read_bytes() == (tmp_path / "1-adapter" / MODEL).read_bytes()


@BOTH
@pytest.mark.parametrize("share", [0.25, 1.5])
def test_interpolation_is_linear(tmp_path, trained, kind, share):
    interpolate(BASE, trained[kind], share, "float32", tmp_path)
    base, found, moved = tensors(BASE), tensors(tmp_path), updates(trained[kind])
    assert base.keys() == found.keys()
    for name in base:
        torch.testing.assert_close(found[name], base[name] + share * moved.get(name, 0), atol=1e-6, rtol=0)


def test_a_share_of_one_merges_an_adapter_as_peft_does(tmp_path, trained):
    interpolate(BASE, trained["adapter"], 1.0, "float32", tmp_path)
    adapted = PeftModel.from_pretrained(load(BASE), trained["adapter"])
    expected = logits(adapted)
    assert (logits(load(BASE)) - expected).abs().max() > 0.1
    torch.testing.assert_close(logits(load(tmp_path)), expected, atol=1e-4, rtol=0)
    merged = dict(adapted.merge_and_unload().named_parameters())
    assert all(torch.equal(weight, merged[name]) for name, weight in tensors(tmp_path).items())


def test_an_update_is_added_before_rounding(tmp_path, trained):
    interpolate(BASE, trained["adapter"], 0.5, "bfloat16", tmp_path)
    base, found = tensors(BASE), tensors(tmp_path)
    for name, update in updates(trained["adapter"]).items():
        assert torch.equal(found[name], (base[name] + 0.5 * update).bfloat16().float())


@pytest.mark.parametrize("factor", [-0.5, 3.0])
def test_a_scaled_adapter_has_the_outputs_of_pefts_scaling_and_of_interpolated_weights(tmp_path, trained, factor):
    scale(trained["adapter"], factor, tmp_path / "adapter")
    interpolate(BASE, trained["adapter"], factor, "float32", tmp_path / "checkpoint")
    expected = PeftModel.from_pretrained(load(BASE), trained["adapter"])
    for layer in expected.modules():
        if isinstance(layer, LoraLayer):
            layer.scale_layer(factor)
    found = logits(PeftModel.from_pretrained(load(BASE), tmp_path / "adapter"))
    torch.testing.assert_close(found, logits(expected), atol=1e-4, rtol=0)
    torch.testing.assert_close(found, logits(load(tmp_path / "checkpoint")), atol=1e-4, rtol=0)
    # vLLM checks rank and alpha first; they are unchanged.
    assert json.loads((tmp_path / "adapter" / CONFIG).read_text()) == json.loads(
        (trained["adapter"] / CONFIG).read_text()
    )


@BOTH
def test_the_relative_norm_covers_changed_tensors_only(trained, kind):
    base, moved = tensors(BASE), updates(trained[kind])
    one, all_of = (torch.cat([t[name].flatten() for name in moved]).norm().item() for t in (moved, base))
    assert relative_norm(BASE, trained[kind], "float32") == pytest.approx(one / all_of, rel=1e-5)
    assert relative_norm(BASE, BASE, "float32") == 0


def test_a_norm_is_not_summed_in_float32():
    # A sum in float32 that has reached 1e8 ignores every further 1.
    assert _norm(torch.cat([torch.tensor([1e4]), torch.ones(1_000_000)])) == pytest.approx((1e8 + 1e6) ** 0.5, rel=1e-9)


def smaller(folder: Path, **shape) -> Path:
    """An organism of another shape, untrained."""
    config = AutoModelForCausalLM.from_pretrained(BASE).config
    config.update(shape)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


def edited(folder: Path, of: Path, edit, file: str) -> Path:
    """A copy with other tensors in a file."""
    shutil.copytree(of, folder)
    save_file(edit(load_file(of / file)), folder / file, metadata={"format": "pt"})
    return folder


def but(*without: str):
    return lambda made: {name: tensor for name, tensor in made.items() if not any(part in name for part in without)}


MISFITS = {
    "neither": (lambda at, trained: at, "is neither a checkpoint"),
    "no weights": (lambda at, trained: Path(shutil.copytree(BASE, at, ignore=lambda *_: [MODEL])), "is neither a"),
    "narrower": (lambda at, trained: smaller(at, intermediate_size=88), r"is \(96, 88\), and \(96, 264\) in"),
    "fewer layers": (lambda at, trained: smaller(at, num_hidden_layers=2), r"layers.2\S* is missing, and \(96,\) in"),
    "torn": (
        lambda at, trained: edited(at, BASE, but("layers.1.mlp.up"), MODEL),
        r"lacks 1 of the weights .*layers\.1\.mlp\.up_proj",
    ),
    "not finite": (
        lambda at, trained: edited(at, BASE, lambda t: t | {CHANGED[2]: t[CHANGED[2]] * torch.inf}, MODEL),
        "model.norm.weight has values that are not finite",
    ),
    "adapter of a narrower base": (
        lambda at, trained: make_adapter(at, smaller(at / "base", intermediate_size=88), target_modules=["up_proj"]),
        r"does not fit the model .*: use it with .* \(size mismatch for .*\)",
    ),
    "adapter of a deeper base": (
        lambda at, trained: make_adapter(at, smaller(at / "base", num_hidden_layers=4), target_modules=["up_proj"]),
        r"does not fit the model .*: use it with .* \(only one of the two has .*layers.3.*\)",
    ),
    "adapter that lacks tensors": (
        lambda at, trained: edited(at, trained["adapter"], but("layers.2"), ADAPTER),
        r"does not fit the model .*: use it with .* \(only one of the two has .*layers.2.*\)",
    ),
    "adapter on the tied head": (
        lambda at, trained: make_adapter(at, target_modules=["lm_head"]),
        r"does not fit the model .*: use it with .* \(lm_head has no weights of its own there\)",
    ),
    "more than LoRA": (
        lambda at, trained: make_adapter(at, target_modules=["up_proj"], use_dora=True),
        "is more than LoRA on linear layers: it has .*magnitude",
    ),
}


@pytest.mark.filterwarnings("ignore:Found missing adapter keys", "ignore:Model has `tie_word_embeddings")
@pytest.mark.parametrize("case", MISFITS)
def test_weights_that_do_not_fit_are_an_error_and_nothing_is_written(tmp_path, trained, case):
    make, message = MISFITS[case]
    other = make(tmp_path / "other", trained)
    with pytest.raises(ValueError, match=message):
        interpolate(BASE, other, 0.5, "float32", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_adapter_as_base_and_a_checkpoint_as_adapter_are_errors(tmp_path, trained):
    with pytest.raises(ValueError, match="is an adapter, where a checkpoint is needed"):
        interpolate(trained["adapter"], trained["checkpoint"], 0.5, "float32", tmp_path / "out")
    with pytest.raises(ValueError, match="is a checkpoint, and only an adapter can be scaled"):
        scale(trained["checkpoint"], 0.5, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def students(plan, condition: str, teacher: str = "words") -> dict:
    """A condition's students, by seed."""
    return {
        trial.seed: trial.points[0].scores["maths"].inputs["generations"].inputs["student"]
        for trial in plan.trials
        if (trial.condition, trial.teacher) == (condition, teacher)
    }


CONDITIONS = (
    "conditions={off-model: , weight-noise: , more-noise: {kind: weight_noise, draw: 1}, "
    "half: {kind: interpolation, share: 0.5}}"
)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_both_conditions_start_from_the_off_model_student(small, method):
    plan = build_plan(small(CONDITIONS, f"train.tuning={method}"))
    off_model = students(plan, "off-model")
    for condition in ("weight-noise", "more-noise", "half"):
        for seed, made in students(plan, condition).items():
            assert (made.kind, made.inputs["student"]) == ("weights", off_model[seed])
            assert made.inputs["base"] == off_model[seed].inputs["base"]
    assert sum(stage.kind == "train" for stage in plan.stages) == 2 * 2 + 2 * 2 * 2  # recovery has two budgets


def test_every_seed_and_draw_has_its_own_noise(small):
    plan = build_plan(small(CONDITIONS))
    drawn = [
        made.settings.change.seed for name in ("weight-noise", "more-noise") for made in students(plan, name).values()
    ]
    assert len(set(drawn)) == 4
    assert {type(made.settings.change) for made in students(plan, "weight-noise").values()} == {Noise}


def test_a_lora_student_is_interpolated_by_its_adapter(small):
    def settings(method: str) -> WeightsSettings:
        return students(build_plan(small(CONDITIONS, f"train.tuning={method}")), "half")[1].settings

    assert settings("lora") == WeightsSettings(change=Scale(factor=0.5), dtype="float32")
    assert settings("full") == WeightsSettings(change=Interpolate(share=0.5), dtype="float32")
    with pytest.raises(StudyError, match=r"conditions\.half: share: 0 is the base student"):
        build_plan(small(CONDITIONS, "conditions.half.share=0"))


@pytest.mark.parametrize(
    ("condition", "method", "left"),
    [("weight-noise", "lora", "checkpoint"), ("half", "lora", "adapter"), ("half", "full", "checkpoint")],
)
def test_the_stage_writes_what_an_engine_serves(small, trained, tmp_path, publish, condition, method, left):
    plan = build_plan(small(CONDITIONS, f"train.tuning={method}"))
    store, made = Store(plan.study.store), students(plan, condition)[1]
    base, learnt = made.inputs["base"], made.inputs["student"]
    kind = "adapter" if method == "lora" else "checkpoint"
    context = StageContext(base, store, store.new_folder(base, "one"), None)
    store.publish(base, context.out, "one", {"facts": KINDS["model"].run(context)})
    publish(store, learnt, {path.name: path.read_bytes() for path in trained[kind].iterdir()})
    context = StageContext(made, store, store.new_folder(made, "one"), None)
    facts = KINDS["weights"].run(context)
    store.publish(made, context.out, "one", {"facts": facts})
    of_update = relative_norm(BASE, trained[kind], "float32")
    expected = of_update if condition == "weight-noise" else of_update / 2
    assert made.settings.leaves_adapter == (left == "adapter")
    assert facts == {"norm": pytest.approx(expected, rel=1e-5)}
    asked = next(s for s in plan.stages if s.kind == "sample" and s.inputs.get("student") == made)
    served = StageContext(asked, store, tmp_path, None).weights
    assert served == (Weights(made.address, None) if left == "checkpoint" else Weights(base.address, made.address))
    if left == "checkpoint":
        assert AutoTokenizer.from_pretrained(checkpoint_of(store, served.base, None)).chat_template
    (context.out / (MODEL if left == "checkpoint" else ADAPTER)).write_bytes(b"damaged")
    with pytest.raises(StudyError, match="its checksum is not that of its record"):
        preflight._check_weights(plan, store, store.records(plan.stages))
