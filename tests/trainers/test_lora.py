"""LoRA layers that merge their adapter into their weights first, compared with PEFT's own."""

import copy

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from trainers.lora import MergedLinear, merge_layers


class Two(nn.Module):
    """A layer with a bias, and one without."""

    def __init__(self, dtype=torch.float32):
        super().__init__()
        self.first = nn.Linear(32, 48, dtype=dtype)
        self.second = nn.Linear(48, 1024, bias=False, dtype=dtype)

    def forward(self, x):
        return self.second(torch.tanh(self.first(x)))


def adapted(dtype=torch.float32, rank: int = 1, **options):
    torch.manual_seed(0)
    model = get_peft_model(Two(dtype), LoraConfig(r=rank, lora_alpha=24, target_modules=["first", "second"], **options))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_" in name:
                weight.normal_(std=0.1)
    return model


def merged(model) -> list[str]:
    return [name.rsplit(".", 1)[-1] for name, layer in model.named_modules() if type(layer) is MergedLinear]


def test_merged_layers_have_the_outputs_and_gradients_of_peft():
    theirs = adapted()
    ours = copy.deepcopy(theirs)
    merge_layers(ours)
    assert merged(ours) == ["first", "second"]
    x = torch.randn(2, 5, 32, requires_grad=True)
    found = []
    for model in (theirs, ours):
        out = model(x)
        out.square().mean().backward()
        grads = {name: weight.grad for name, weight in model.named_parameters() if weight.requires_grad}
        grads["x"], x.grad = x.grad, None
        found.append((out, grads))
    (out, grads), (other, others) = found
    assert torch.allclose(out, other, rtol=1e-5, atol=1e-6)
    assert len(grads) == 5
    for name, grad in grads.items():
        assert torch.allclose(grad, others[name], rtol=1e-4, atol=1e-7), name


def test_a_merged_layer_with_its_adapter_disabled_is_the_base_layer():
    model = adapted()
    merge_layers(model)
    x = torch.randn(3, 32)
    with model.disable_adapter():
        without = model(x)
    torch.manual_seed(0)
    assert torch.equal(without, Two()(x))
    assert not torch.equal(model(x), without)


@pytest.mark.parametrize(
    ("dtype", "options"),
    [(torch.bfloat16, {}), (torch.float32, {"lora_dropout": 0.1}), (torch.float32, {"use_dora": True})],
)
def test_other_kinds_of_lora_layers_are_not_replaced(dtype, options):
    model = adapted(dtype, **options)
    merge_layers(model)
    assert not merged(model)
