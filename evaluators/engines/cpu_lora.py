"""LoRA in vLLM on the CPU, by one pair of products for each adapter of a step.

vLLM's own CPU operators copy the adapter's weights once for every token of a step, which takes most of the time of a
step (`python -m perf.cpu_lora`). Every product here covers all tokens of a step that have the same adapter.
"""

import torch
from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU
from vllm.platforms.cpu import CpuPlatform

NO_ADAPTER = -1


class GroupedLora(PunicaWrapperCPU):
    """The place of vLLM's CPU operators of linear layers; the arguments are those of PunicaWrapperCPU."""

    def update_metadata(self, *arguments, **options) -> None:
        super().update_metadata(*arguments, **options)
        slots = self.token_lora_indices
        found = slots.unique().tolist()
        self._groups: list[tuple[int, slice | torch.Tensor]] = [
            (slot, slice(None) if len(found) == 1 else (slots == slot).nonzero().flatten())
            for slot in found
            if slot != NO_ADAPTER
        ]

    def add_lora_linear(
        self, y, x, lora_a_stacked, lora_b_stacked, scale: float, output_slices: tuple[int, ...], **options
    ) -> None:
        """Add the adapters' part of a layer to its output `y` in place.

        `y` has the shape [tokens, sum of `output_slices`], `x` [tokens, inputs], each of `lora_a_stacked`
        [slots, 1, rank, inputs] and each of `lora_b_stacked` [slots, 1, outputs, rank].
        """
        assert not options, f"vLLM on the CPU passes no {', '.join(options)}"
        for slot, tokens in self._groups:
            x_T_I, begin = x[tokens], 0
            for a, b, size in zip(lora_a_stacked, lora_b_stacked, output_slices, strict=True):
                x_T_R = torch.nn.functional.linear(x_T_I, a[slot, 0])
                y[tokens, begin : begin + size] += torch.nn.functional.linear(x_T_R, b[slot, 0]).mul_(scale)
                begin += size


def install() -> None:
    """Make vLLM use these operators on the CPU, in this process."""
    CpuPlatform.get_punica_wrapper = classmethod(lambda cls: f"{__name__}.{GroupedLora.__name__}")
