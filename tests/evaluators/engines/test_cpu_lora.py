"""The LoRA operators on the CPU, against the formula row by row, and against vLLM's own."""

import pytest
import torch

pytestmark = pytest.mark.slow  # vLLM takes seconds to import

TOKENS, INPUTS, RANK, SLICES, SLOTS = 6, 5, 3, (4, 2), 2
IDS = {11: 0, 12: 1}  # of adapters, and the slots they are in


def layer() -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor], list[torch.Tensor]]:
    """The output of the base layer, its input, and the stacked weights of each slice."""
    rng = torch.Generator().manual_seed(0)
    y, x = (torch.randn(TOKENS, size, generator=rng) for size in (sum(SLICES), INPUTS))
    a = [torch.randn(SLOTS, 1, RANK, INPUTS, generator=rng) for _ in SLICES]
    b = [torch.randn(SLOTS, 1, size, RANK, generator=rng) for size in SLICES]
    return y, x, a, b


def added(operators: type, adapters: list[int], is_prefill: bool) -> torch.Tensor:
    """The output of a layer for tokens with these adapters, 0 for none."""
    from vllm.lora.layers import LoRAMapping

    wrapper = operators(TOKENS, TOKENS, "cpu")
    mapping = LoRAMapping(tuple(adapters), tuple(adapters), is_prefill=is_prefill)
    wrapper.update_metadata(mapping, list(IDS), SLOTS, vocab_size=8)
    y, x, a, b = layer()
    wrapper.add_lora_linear(y, x, tuple(a), tuple(b), 1.0, SLICES)
    return y


@pytest.mark.parametrize("is_prefill", [True, False])
@pytest.mark.parametrize("adapters", [[11] * 6, [12] * 6, [0] * 6, [11, 11, 0, 12, 0, 11]])
def test_each_token_gets_the_part_of_its_own_adapter(adapters, is_prefill):
    from evaluators.engines.cpu_lora import GroupedLora

    y, x, a, b = layer()
    for token, adapter in enumerate(adapters):
        if adapter:
            slot = IDS[adapter]
            y[token] += torch.cat([b_i[slot, 0] @ a_i[slot, 0] @ x[token] for a_i, b_i in zip(a, b, strict=True)])
    torch.testing.assert_close(added(GroupedLora, adapters, is_prefill), y)


def test_an_adapter_that_takes_the_slot_of_another_is_used():
    from vllm.lora.layers import LoRAMapping

    from evaluators.engines.cpu_lora import GroupedLora

    wrapper, adapters = GroupedLora(TOKENS, TOKENS, "cpu"), (11, 12) * 3
    wrapper.update_metadata(LoRAMapping(adapters, adapters), list(IDS), SLOTS, vocab_size=8)
    y, x, a, b = layer()
    first, second = y.clone(), y.clone()
    wrapper.add_lora_linear(first, x, tuple(a), tuple(b), 1.0, SLICES)
    for part in b:
        part[0].mul_(2)
    wrapper.add_lora_linear(second, x, tuple(a), tuple(b), 1.0, SLICES)
    torch.testing.assert_close((second - y)[::2], 2 * (first - y)[::2])
    torch.testing.assert_close(second[1::2], first[1::2])


@pytest.mark.parametrize("is_prefill", [True, False])
def test_the_result_is_that_of_vllms_own_operators(is_prefill):
    from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU

    from evaluators.engines.cpu_lora import GroupedLora

    adapters = [11, 11, 12, 12, 12, 11]
    torch.testing.assert_close(*(added(each, adapters, is_prefill) for each in (GroupedLora, PunicaWrapperCPU)))
