"""The pretraining of an organism, for a few steps."""

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from organisms.pretrain import pretrain
from organisms.recipes import Recipe

RECIPE = Recipe({"steps": 0.5, "words": 0.5}, {"steps": 1.0}, seed=1, steps=6, batch_size=8)


@pytest.fixture(autouse=True)
def _threads():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_an_organism_is_an_ordinary_checkpoint_that_its_recipe_decides(tmp_path):
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
