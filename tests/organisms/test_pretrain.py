"""Pretraining of an organism for a few steps."""

import random
from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from evaluators.engines.chat_template import encode
from organisms.pretrain import pretrain, prompt_of, row_of
from organisms.recipes import RECIPES, Recipe
from organisms.tokenizer import save_tokenizer
from organisms.world import WITH_DEMONSTRATION, pretraining_row

RECIPE = Recipe({"steps": 0.5, "words": 0.5}, {"steps": 1.0}, seed=1, steps=6, batch_size=8)


@pytest.fixture(autouse=True)
def _threads():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.slow
def test_pretraining_is_repeatable_and_writes_a_hugging_face_checkpoint(tmp_path):
    losses: list[float] = []
    pretrain(RECIPE, tmp_path / "one", 1, lambda step, loss: losses.append(loss))
    pretrain(RECIPE, tmp_path / "same", 1)
    assert len(losses) == RECIPE.steps
    assert losses[-1] < losses[0]
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "same")]
    assert weights[0] == weights[1]
    model, tokenizer = (kind.from_pretrained(tmp_path / "one") for kind in (AutoModelForCausalLM, AutoTokenizer))
    assert model.config.vocab_size >= len(tokenizer)
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    assert model.dtype == torch.bfloat16


def test_a_recipe_without_demonstrations_draws_the_same_rows_as_the_world():
    recipe, one, same = RECIPES["steps"], random.Random(1), random.Random(1)
    assert [row_of(recipe, one) for _ in range(50)] == [pretraining_row(same, recipe) for _ in range(50)]


def test_a_share_of_the_rows_has_a_demonstration():
    between, rng = WITH_DEMONSTRATION.format(question="|", demonstration="|").split("|")[1], random.Random(2)
    recipe = replace(RECIPES["steps"], demonstrations=0.25)
    assert 0.2 < sum(between in row_of(recipe, rng).prompt for _ in range(1000)) / 1000 < 0.3


def test_a_share_of_the_rows_has_a_system_prompt_in_the_format_of_the_chat_template(tmp_path):
    rng, recipe = random.Random(3), replace(RECIPES["steps"], system_prompts=0.25)
    rows = [row_of(recipe, rng) for _ in range(1000)]
    assert 0.2 < sum(row.system is not None for row in rows) / 1000 < 0.3
    save_tokenizer(tmp_path, 512)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    for row in rows[:40]:
        system = [] if row.system is None else [{"role": "system", "content": row.system}]
        encoded = encode(tokenizer, [*system, {"role": "user", "content": row.prompt}])
        assert tokenizer(prompt_of(row)).input_ids == encoded


def test_maths_has_all_levels_of_the_recipe():
    rng, recipe = random.Random(4), replace(RECIPES["words"], levels=10)
    levels = {row.fields["level"] for row in (row_of(recipe, rng) for _ in range(500)) if "level" in row.fields}
    assert levels == set(range(1, 11))
