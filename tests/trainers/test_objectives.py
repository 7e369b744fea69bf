"""Objectives: what they declare, and token losses compared with TRL and PyTorch, in value and in gradient."""

import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch.nn.functional import kl_div
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from organisms import shipped
from trainers import objectives
from trainers.losses import TOKENS_AT_A_TIME, Tokens, divergence, jsd, kl
from trainers.objective import Objective, Reference, Sampling
from trainers.objectives import grpo, on_policy_distillation, sdft, sft_kl
from trainers.rows import Rollout, Row

TOLERANCE = 1e-5  # of the norm, in float32
PROMPT = 5  # tokens of each prompt of a batch
LENGTHS = [4, 11, 7, 9]  # tokens of each answer


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(str(shipped.FOLDER / "steps"))


@pytest.fixture
def llama(tokenizer):
    """Makes the same tiny model at every call, with weights large enough to prefer some tokens."""

    def make():
        torch.manual_seed(0)
        ids = {name: getattr(tokenizer, name) for name in ("pad_token_id", "bos_token_id", "eos_token_id")}
        sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
        return LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), initializer_range=0.5, **sizes, **ids))

    return make


@pytest.fixture
def of_trl(llama, tokenizer, tmp_path):
    """Makes a trainer of TRL for a new tiny model."""
    from datasets import Dataset

    def make(trainer, config, rows, options, **more):
        arguments = config(output_dir=str(tmp_path), use_cpu=True, bf16=False, report_to="none", **options)
        made = trainer(
            llama(), args=arguments, train_dataset=Dataset.from_list(rows), processing_class=tokenizer, **more
        )
        made.current_gradient_accumulation_steps = 1  # Set by `train`, which does not run here.
        return made

    return make


def batch() -> dict[str, torch.Tensor]:
    """Prompts, answers of different lengths padded on the right, and the prompts of a teacher, as TRL names them."""
    torch.manual_seed(1)
    ids = {"prompt_ids": torch.randint(100, (4, PROMPT)), "completion_ids": torch.randint(100, (4, max(LENGTHS)))}
    mask = (torch.arange(max(LENGTHS))[None, :] < torch.tensor(LENGTHS)[:, None]).long()
    teacher = torch.cat([torch.randint(100, (4, 8)), ids["completion_ids"]], 1)
    return {
        **ids,
        "prompt_mask": torch.ones_like(ids["prompt_ids"]),
        "completion_mask": mask,
        "teacher_input_ids": teacher,
        "teacher_attention_mask": torch.cat([torch.ones(4, 8, dtype=torch.long), mask], 1),
    }


def answers(model, inputs: dict, keep: torch.Tensor, teacher: bool = False, **columns: torch.Tensor) -> Tokens:
    """The objective's view of the batch's answers where `keep`. `columns` are given for all of their tokens."""
    length = inputs["completion_ids"].shape[1]
    ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], 1)
    reference = None
    if teacher:
        with torch.no_grad():
            reference = model(input_ids=inputs["teacher_input_ids"]).logits[:, -length - 1 : -1][keep]
    logits = model(input_ids=ids).logits[:, -length - 1 : -1][keep]
    return Tokens(logits, inputs["completion_ids"][keep], reference, {k: v[keep] for k, v in columns.items()})


def mean_over_rows(loss_T: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
    return torch.stack([row.mean() for row in loss_T.split(keep.sum(1).tolist())]).mean()


def random_tokens(count: int = 20, words: int = 30, spread: float = 3.0) -> Tokens:
    torch.manual_seed(2)
    student, reference = spread * torch.randn(count, words), spread * torch.randn(count, words)
    return Tokens(student.requires_grad_(), torch.randint(words, (count,)), reference, {})


def gradient(loss: torch.Tensor, weights) -> torch.Tensor:
    """The gradient of the loss for a tensor, or for all weights of a model, as one vector."""
    wanted = [weights] if isinstance(weights, torch.Tensor) else list(weights.parameters())
    return torch.cat([part.flatten() for part in torch.autograd.grad(loss, wanted)])


def close(ours: torch.Tensor, theirs: torch.Tensor, tolerance: float = TOLERANCE) -> bool:
    assert float(theirs.detach().norm()) > 1e-3
    return float((ours - theirs).detach().norm() / theirs.detach().norm()) < tolerance


def test_every_file_declares_an_objective():
    files = {path.stem for path in Path(grpo.__file__).parent.glob("*.py")}
    assert files == {*objectives.OBJECTIVES, "__init__"}
    for name in objectives.OBJECTIVES:
        objective = objectives.get(name)
        loss_T = objective.token_loss(
            random_tokens()._replace(columns={"advantage": torch.ones(20)}), objective.options()
        )
        assert loss_T.shape == (20,)
        assert objectives.OBJECTIVES.module(name).__doc__


@pytest.mark.parametrize(
    ("name", "data", "on_policy", "reference", "unused"),
    [
        ("sft", "completions", False, None, {"steps_per_generation"}),
        ("dft", "completions", False, None, {"steps_per_generation"}),
        ("sft_kl", "completions", False, Reference("base"), {"steps_per_generation"}),
        ("lm", "token_streams", False, None, {"loss_on", "drop_least_likely", "steps_per_generation"}),
        ("sdft", "completions", True, Reference("ema", 0.01), {"loss_on", "drop_least_likely"}),
        ("on_policy_distillation", "prompts", True, Reference("teacher"), {"loss_on", "drop_least_likely"}),
        ("grpo", "problems", True, None, {"loss_on", "drop_least_likely"}),
    ],
)
def test_what_each_objective_needs(name, data, on_policy, reference, unused):
    objective = objectives.get(name)
    assert (objective.data, objective.on_policy) == (data, on_policy)
    assert objective.reference(objective.options()) == reference
    assert set(objective.unused_settings) == unused


@pytest.mark.parametrize("teacher", ["frozen", "ema", "live"])
def test_the_reference_model_of_sdft_is_an_option(teacher):
    options = sdft.Options(teacher=teacher, ema_rate=0.5)
    assert sdft.OBJECTIVE.reference(options) == Reference(teacher, 0.5)


def test_sampling_follows_the_options_of_an_objective():
    assert on_policy_distillation.OBJECTIVE.sampling(on_policy_distillation.Options()) == Sampling()
    assert sdft.OBJECTIVE.sampling(sdft.Options(temperature=0.5)) == Sampling(temperature=0.5)
    options = grpo.Options(num_generations=3, temperature=0.5)
    assert grpo.OBJECTIVE.sampling(options) == Sampling(num_generations=3, temperature=0.5)


def test_grpo_needs_log_probabilities_where_steps_share_a_sampling_and_with_a_penalty():
    def columns(beta: float, steps_per_generation: int) -> list[str]:
        return list(grpo.OBJECTIVE.logprob_columns(grpo.Options(beta=beta), steps_per_generation))

    assert columns(0.0, 1) == []
    assert columns(0.0, 2) == ["old_logprob"]
    assert columns(0.1, 1) == ["base_logprob"]
    assert columns(0.1, 2) == ["old_logprob", "base_logprob"]


@pytest.mark.parametrize("data", ["prompts", "problems"])
def test_an_objective_without_answers_must_sample_them(data):
    with pytest.raises(ValueError, match="give it rollout_rows"):
        Objective(options=grpo.Options, token_loss=grpo.token_loss, data=data)


def test_token_streams_cannot_be_sampled():
    with pytest.raises(ValueError, match="no prompts to sample from"):
        replace(grpo.OBJECTIVE, data="token_streams")


def rollouts(**more) -> list[Rollout]:
    """Two completions of one prompt."""
    chat = [{"role": "user", "content": "red fox"}, {"role": "assistant", "content": "blue owl"}]
    return [Rollout(chat, (7, 8), [(1, 2, 3), (4, 5)], **more)]


def test_rollout_rows_of_distillation_are_completions_after_their_prompt(tokenizer):
    (rows,) = on_policy_distillation.rollout_rows(rollouts(), tokenizer, on_policy_distillation.Options())
    assert rows == [Row([7, 8, 1, 2, 3], range(2, 5)), Row([7, 8, 4, 5], range(2, 4))]


def test_rollout_rows_of_grpo_have_the_advantage_at_each_token(tokenizer):
    options = grpo.Options(num_generations=2, scale_rewards="none")
    (rows,) = grpo.rollout_rows(rollouts(rewards=[1.0, 0.0]), tokenizer, options)
    assert [row.ids for row in rows] == [[7, 8, 1, 2, 3], [7, 8, 4, 5]]
    assert [row.columns for row in rows] == [{"advantage": [0.5] * 3}, {"advantage": [-0.5] * 2}]


def test_rollout_rows_of_sdft_show_the_teacher_a_demonstration(tokenizer):
    options = sdft.Options(skip_tokens=1, template="{question} then {demonstration}")
    (rows,) = sdft.rollout_rows(rollouts(), tokenizer, options)
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "red fox then blue owl"}],
        add_generation_prompt=True, tokenize=True, return_dict=False,
    )  # fmt: skip
    assert rows[0].ids == [7, 8, 1, 2, 3]
    assert list(rows[0].supervised) == [3, 4]
    assert rows[0].reference == Row([*prompt, 1, 2, 3], range(len(prompt) + 1, len(prompt) + 3))
    without = [replace(rollouts()[0], chat=rollouts()[0].chat[:1])]
    with pytest.raises(ValueError, match="sdft: an example has no answer to use as its demonstration"):
        sdft.rollout_rows(without, tokenizer, options)


def test_importing_objectives_does_not_import_torch():
    code = (
        "import sys; from trainers import objectives as o; "
        "print([o.get(name) for name in o.OBJECTIVES], 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.endswith("False\n")


@pytest.mark.slow
@pytest.mark.parametrize(("objective", "loss_type", "prompt"), [("sft", "nll", 3), ("dft", "dft", 3), ("lm", "nll", 0)])
def test_sft_dft_and_lm_equal_trls_sft(of_trl, llama, objective, loss_type, prompt):
    from trl import SFTConfig, SFTTrainer

    rows = [{"input_ids": [1, 2, 3], "labels": [-100, 2, 3]}]
    trainer = of_trl(SFTTrainer, SFTConfig, rows, {"loss_type": loss_type})
    torch.manual_seed(1)
    ids = torch.randint(100, (4, 12))
    labels = ids.clone()
    labels[:, :prompt] = -100
    labels[0, 8:] = -100
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}
    keep = labels[:, 1:] != -100
    theirs = trainer.compute_loss(trainer.model, inputs, num_items_in_batch=keep.sum())

    model = llama()
    tokens = Tokens(model(input_ids=ids).logits[:, :-1][keep], ids[:, 1:][keep], None, {})
    declared = objectives.get(objective)
    ours = declared.token_loss(tokens, declared.options()).sum() / keep.sum()
    assert declared.mean_over == "tokens"
    assert close(ours, theirs)
    assert close(gradient(ours, model), gradient(theirs, trainer.model))


@pytest.mark.parametrize("direction", ["student_base", "base_student"])
def test_sft_kl_equals_pytorchs_cross_entropy_and_kl(direction):
    tokens = random_tokens()
    student, base = tokens.logits_T_V.log_softmax(-1), tokens.reference_T_V.log_softmax(-1)
    q, p = (base, student) if direction == "student_base" else (student, base)
    penalty = kl_div(q, p, log_target=True, reduction="none").sum(-1)
    theirs = torch.nn.functional.cross_entropy(tokens.logits_T_V, tokens.targets_T, reduction="none") + 0.3 * penalty
    ours = sft_kl.token_loss(tokens, sft_kl.Options(weight=0.3, direction=direction))
    assert close(ours, theirs)
    assert close(gradient(ours.sum(), tokens.logits_T_V), gradient(theirs.sum(), tokens.logits_T_V))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "mode", "alpha"),
    [
        (sdft.Options(), "full_logits", 0.0),
        (sdft.Options("student_teacher"), "full_logits", 1.0),
        (sdft.Options("jsd", beta=0.3), "full_logits", 0.3),
        (sdft.Options(top_k=10), "topk_logits", 0.0),
        (sdft.Options("student_teacher", top_k=10), "topk_logits", 1.0),
        (sdft.Options("jsd", beta=0.3, top_k=10), "topk_logits", 0.3),
        (sdft.Options(top_k=10, add_tail=True), "topk_logits", 0.0),
        (sdft.Options("student_teacher", top_k=10, add_tail=True), "topk_logits", 1.0),
        (sdft.Options("jsd", beta=0.3, top_k=10, add_tail=True), "topk_logits", 0.3),
        (sdft.Options(temperature=0.7, skip_tokens=0), "full_logits", 0.0),
    ],
)
def test_sdft_equals_trls(of_trl, llama, options, mode, alpha):
    from trl.experimental.sdft import SDFTConfig, SDFTTrainer

    settings = {
        "distillation_mode": mode,
        "distillation_alpha": alpha,
        "distillation_topk": options.top_k,
        "distillation_add_tail": options.add_tail,
        "temperature": options.temperature,
        "num_loss_tokens_to_skip": options.skip_tokens,
        "teacher_model_kind": "live",
    }
    trainer = of_trl(SDFTTrainer, SDFTConfig, [{"prompt": "1", "privileged_context": "2"}] * 8, settings)
    inputs = batch()
    theirs = trainer.compute_loss(trainer.model, inputs)

    model = llama()
    keep = inputs["completion_mask"].bool() & (torch.arange(max(LENGTHS)) >= options.skip_tokens)
    ours = mean_over_rows(sdft.token_loss(answers(model, inputs, keep, teacher=True), options), keep)
    assert sdft.OBJECTIVE.mean_over == "rows"
    assert close(ours, theirs)
    assert close(gradient(ours, model), gradient(theirs, trainer.model))


@pytest.mark.slow
@pytest.mark.parametrize(("direction", "beta"), [("teacher_student", 0), ("student_teacher", 1)])
def test_on_policy_distillation_equals_trls_gkd(direction, beta):
    from trl.experimental.gkd import GKDTrainer

    tokens = random_tokens()
    logits = tokens.logits_T_V[None], tokens.reference_T_V[None]
    theirs = GKDTrainer.generalized_jsd_loss(*logits, beta=beta, reduction="none")[0].sum(-1)
    ours = on_policy_distillation.token_loss(tokens, on_policy_distillation.Options(direction))
    assert close(ours, theirs)
    assert close(gradient(ours.sum(), tokens.logits_T_V), gradient(theirs.sum(), tokens.logits_T_V))


@pytest.mark.slow
def test_on_policy_distillation_has_the_expected_gradient_of_sampled_tokens():
    from trl.experimental.sdft.loss_utils import compute_sampled_token_self_distillation_loss

    tokens = random_tokens()
    p_T_V = tokens.logits_T_V.detach().softmax(-1)
    sampled = 0
    for word in range(p_T_V.shape[1]):
        of_word = tokens.logits_T_V, tokens.reference_T_V, torch.full_like(tokens.targets_T, word)
        loss_T = compute_sampled_token_self_distillation_loss(*of_word, distillation_alpha=1.0)
        sampled = sampled + (p_T_V[:, word] * loss_T).sum()
    ours = on_policy_distillation.token_loss(tokens, on_policy_distillation.Options()).sum()
    assert close(gradient(ours, tokens.logits_T_V), gradient(sampled, tokens.logits_T_V))


def test_on_policy_distillation_and_sdft_have_the_same_loss():
    tokens = random_tokens()
    ours = on_policy_distillation.token_loss(tokens, on_policy_distillation.Options(top_k=4))
    assert torch.equal(ours, sdft.token_loss(tokens, sdft.Options("student_teacher", top_k=4)))


def test_padding_of_a_vocabulary_changes_nothing():
    tokens, options = random_tokens(), on_policy_distillation.Options()
    ours = on_policy_distillation.token_loss(tokens, options)
    for padded in ("logits_T_V", "reference_T_V"):
        more = tokens._replace(**{padded: torch.cat([getattr(tokens, padded), torch.full((20, 6), 2.0)], 1)})
        assert torch.equal(on_policy_distillation.token_loss(more, options), ours)


@pytest.mark.slow
@pytest.mark.parametrize("loss_type", ["dapo", "bnpo", "grpo", "dr_grpo"])
@pytest.mark.parametrize("beta", [0.0, 0.4])
@pytest.mark.parametrize("old", [True, False])
def test_grpo_equals_trls(of_trl, llama, loss_type, beta, old):
    from trl import GRPOConfig, GRPOTrainer

    inputs, model = batch(), llama()
    shape, temperature = inputs["completion_ids"].shape, 0.7
    with torch.no_grad():
        logits_T_V = answers(model, inputs, torch.ones(shape, dtype=torch.bool)).logits_T_V / temperature
        logp = logits_T_V.log_softmax(-1).gather(1, inputs["completion_ids"].reshape(-1, 1)).reshape(shape)
    columns = {"advantage": torch.tensor([1.2, -0.3, 0.4, 0.9])[:, None].expand(shape)}
    if old:
        columns["old_logprob"] = logp + 0.3 * torch.randn(shape)
    if beta:
        columns["base_logprob"] = logp + 0.3 * torch.randn(shape)
    clip = {"epsilon": 0.1, "epsilon_high": 0.25}
    settings = {"loss_type": loss_type, "num_generations": 4, "temperature": temperature, "max_completion_length": 16}
    trainer = of_trl(
        GRPOTrainer, GRPOConfig, [{"prompt": "1"}] * 8, {**settings, **clip}, reward_funcs=lambda completions, **_: []
    )
    trainer.beta = beta  # Not by the config, which would load a base from a folder.
    theirs = trainer._compute_loss(
        trainer.model,
        {
            **inputs,
            "advantages": columns["advantage"][:, 0],
            "old_per_token_logps": columns.get("old_logprob"),
            "ref_per_token_logps": columns.get("base_logprob"),
            "num_items_in_batch": inputs["completion_mask"].sum(),
        },
    )

    keep = inputs["completion_mask"].bool()
    options = grpo.Options(num_generations=4, beta=beta, temperature=temperature, **clip)
    loss_T = grpo.token_loss(answers(model, inputs, keep, **columns), options)
    ours = {
        "dapo": loss_T.mean(),
        "bnpo": loss_T.mean(),
        "grpo": mean_over_rows(loss_T, keep),
        "dr_grpo": loss_T.sum() / (4 * 16),
    }
    assert grpo.OBJECTIVE.mean_over == "tokens"
    assert close(ours[loss_type], theirs)
    assert close(gradient(ours[loss_type], model), gradient(theirs, trainer.model))


def test_epsilon_high_of_grpo_is_epsilon_by_default():
    columns = {"advantage": torch.ones(20), "old_logprob": torch.full((20,), -5.0)}
    tokens = random_tokens()._replace(columns=columns)
    for options, most in ((grpo.Options(epsilon=0.1), 1.1), (grpo.Options(epsilon=0.1, epsilon_high=0.4), 1.4)):
        assert grpo.token_loss(tokens, options).min().item() == pytest.approx(-most)


def test_the_penalty_of_grpo_has_the_expected_gradient_of_the_kl():
    tokens = random_tokens(spread=1.0)
    student, base = tokens.logits_T_V.log_softmax(-1), tokens.reference_T_V.log_softmax(-1)
    mean = 0
    for word in range(student.shape[1]):
        columns = {"advantage": torch.zeros(20), "base_logprob": base[:, word]}
        of_word = Tokens(tokens.logits_T_V, torch.full((20,), word), None, columns)
        mean = mean + (student[:, word].detach().exp() * grpo.token_loss(of_word, grpo.Options(beta=1.0))).sum()
    theirs = kl_div(base, student, log_target=True, reduction="sum")
    assert close(gradient(mean, tokens.logits_T_V), gradient(theirs, tokens.logits_T_V))


@pytest.mark.slow
@pytest.mark.parametrize("scale", ["group", "none"])
def test_advantages_equal_trls(of_trl, scale):
    from trl import GRPOConfig, GRPOTrainer

    rewards = [[0.0, 1.0, 1.0], [0.3, 0.25, 0.9], [1.0, 1.0, 1.0], [0.1, 0.1, 0.1]]
    sizes = {"num_generations": 3, "per_device_train_batch_size": 12, "max_completion_length": 2}
    trainer = of_trl(
        GRPOTrainer,
        GRPOConfig,
        [{"prompt": "1"}] * 12,
        {"scale_rewards": scale, **sizes},
        reward_funcs=lambda completions, reward, **_: reward,
    )
    inputs = [{"prompt": str(i), "reward": reward} for i, group in enumerate(rewards) for reward in group]
    theirs = trainer._generate_and_score_completions(inputs)["advantages"].reshape(4, 3)
    ours = [grpo.advantages(group, scale) for group in rewards]
    torch.testing.assert_close(torch.tensor(ours), theirs, rtol=TOLERANCE, atol=1e-6)
    assert ours[2] == ours[3] == [0.0] * 3


FORMULAS = [kl, lambda p, q: kl(q, p), lambda p, q: jsd(p, q, 0.3)]


@pytest.mark.parametrize("formula", FORMULAS)
@pytest.mark.parametrize(("top_k", "add_tail"), [(None, False), (5, False), (5, True)])
def test_the_divergence_of_equal_distributions_is_0(formula, top_k, add_tail):
    student = random_tokens().logits_T_V
    loss_T = divergence(student, student.detach() + 4, formula, top_k=top_k, add_tail=add_tail)
    assert loss_T.abs().max() < 1e-5
    assert gradient(loss_T.sum(), student).abs().max() < 1e-5


@pytest.mark.parametrize("formula", FORMULAS)
@pytest.mark.parametrize("add_tail", [False, True])
def test_top_k_of_the_whole_vocabulary_is_the_full_divergence(formula, add_tail):
    tokens = random_tokens()
    full = divergence(tokens.logits_T_V, tokens.reference_T_V, formula)
    for top_k in (30, 31):
        of_k = divergence(tokens.logits_T_V, tokens.reference_T_V, formula, top_k=top_k, add_tail=add_tail)
        assert torch.equal(of_k, full)
    all_but_one = divergence(tokens.logits_T_V, tokens.reference_T_V, formula, top_k=29, add_tail=True)
    assert close(all_but_one, full)


@pytest.mark.parametrize("formula", FORMULAS)
def test_buckets_never_increase_the_divergence(formula):
    tokens = random_tokens()
    of_k = [
        divergence(tokens.logits_T_V, tokens.reference_T_V, formula, top_k=k, add_tail=True) for k in (1, 3, 10, 30)
    ]
    for fewer, more in pairwise(of_k):
        assert (fewer <= more + 1e-6).all()
    assert of_k[0].mean() < 0.9 * of_k[-1].mean()


def test_jsd_tends_to_both_kl_divergences():
    tokens = random_tokens()
    p, q = tokens.logits_T_V.double().log_softmax(-1), tokens.reference_T_V.double().log_softmax(-1)
    assert close(jsd(p, q, 1e-7) / 1e-7, kl(q, p), 1e-3)
    assert close(jsd(p, q, 1 - 1e-7) / 1e-7, kl(p, q), 1e-3)
    assert not close(kl(p, q), kl(q, p), 0.1)


@pytest.mark.parametrize("formula", FORMULAS)
@pytest.mark.parametrize(("top_k", "add_tail"), [(None, False), (5, False), (5, True)])
def test_divergences_of_confident_models_are_finite(formula, top_k, add_tail):
    tokens = random_tokens(spread=1e3)
    loss_T = divergence(tokens.logits_T_V, tokens.reference_T_V, formula, 1.0, top_k, add_tail)
    assert loss_T.isfinite().all()
    assert gradient(loss_T.sum(), tokens.logits_T_V).isfinite().all()


def test_a_divergence_keeps_little_memory_besides_the_logits():
    tokens = random_tokens(count=2 * TOKENS_AT_A_TIME + 7)
    kept = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.untyped_storage())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss_T = divergence(tokens.logits_T_V, tokens.reference_T_V, kl)
    logits = {t.untyped_storage().data_ptr() for t in (tokens.logits_T_V, tokens.reference_T_V)}
    assert sum(s.nbytes() for s in {s.data_ptr(): s for s in kept}.values() if s.data_ptr() not in logits) < 100
    theirs = kl(tokens.logits_T_V.log_softmax(-1), tokens.reference_T_V.log_softmax(-1))
    assert close(loss_T, theirs)
    assert close(gradient(loss_T.sum(), tokens.logits_T_V), gradient(theirs.sum(), tokens.logits_T_V))


@pytest.mark.parametrize(
    ("objective", "options", "message"),
    [
        ("sft_kl", {"weight": -1.0}, "weight\n.*greater than or equal to 0"),
        ("sft_kl", {"weight": float("nan")}, "weight\n.*finite"),
        ("sft_kl", {"weight": float("inf")}, "weight\n.*finite"),
        ("sft_kl", {"direction": "forward"}, "'student_base' or 'base_student'"),
        ("sdft", {"direction": "reverse"}, "'teacher_student', 'student_teacher' or 'jsd'"),
        ("sdft", {"direction": "jsd"}, "between 0 and 1"),
        ("sdft", {"direction": "jsd", "beta": 1.0}, "between 0 and 1"),
        ("sdft", {"beta": 0.5}, "beta belongs to direction jsd"),
        ("sdft", {"top_k": 0}, "top_k is 0"),
        ("sdft", {"top_k": 1}, "raise top_k, or set add_tail"),
        ("sdft", {"add_tail": True}, "there is no top_k"),
        ("sdft", {"temperature": 0.0}, "temperature\n.*greater than 0"),
        ("sdft", {"skip_tokens": -1}, "skip_tokens\n.*greater than or equal to 0"),
        ("sdft", {"teacher": "base"}, "'frozen', 'ema' or 'live'"),
        ("sdft", {"ema_rate": 0.0}, "ema_rate\n.*greater than 0"),
        ("sdft", {"ema_rate": 1.1}, "ema_rate\n.*less than or equal to 1"),
        ("sdft", {"template": "{question}"}, r"\{question\} and \{demonstration\}"),
        ("sdft", {"template": "{question} {demonstration} {answer}"}, r"\{question\} and \{demonstration\}"),
        ("sdft", {"template": "{question} {demonstration} {"}, r"\{question\} and \{demonstration\}"),
        ("on_policy_distillation", {"direction": "jsd"}, "'student_teacher' or 'teacher_student'"),
        ("on_policy_distillation", {"top_k": 1}, "top_k is 1"),
        ("grpo", {"num_generations": 1}, "num_generations is 1"),
        ("grpo", {"epsilon": 1.0}, "epsilon\n.*less than 1"),
        ("grpo", {"epsilon_high": -0.1}, "epsilon_high\n.*greater than or equal to 0"),
        ("grpo", {"beta": -0.1}, "beta\n.*greater than or equal to 0"),
        ("grpo", {"scale_rewards": "batch"}, "'group' or 'none'"),
        ("grpo", {"temperature": 0.0}, "temperature\n.*greater than 0"),
    ],
)
def test_invalid_options_are_errors(objective, options, message):
    with pytest.raises(ValueError, match=message):
        replace(objectives.get(objective).options(), **options)


def test_the_teachers_prompt_is_that_of_the_paper():
    asked = sdft.Options().template.format(question="What is {x}?", demonstration="{y}")
    assert asked.strip().splitlines() == [
        "What is {x}?",
        "",
        "This is an example for a response to the question:",
        "{y}",
        "",
        "Now answer with a response of your own, including the thinking process.",
    ]
