"""LoRA in vLLM on the CPU, by one or two products for all tokens of a step.

vLLM's own CPU operators copy the adapter's weights once for every token of a step, which takes most of the time of a
step (`python -m perf.cpu_lora`). If all tokens have one adapter, its two factors are multiplied with all of them. If
they have several, the tokens are multiplied with the first factors of all adapters together; what belongs to other
adapters than a token's own is set to 0 before the second product.
"""

import torch
from torch.utils.weak import WeakIdKeyDictionary
from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU
from vllm.platforms.cpu import CpuPlatform

NO_ADAPTER = -1


class GroupedLora(PunicaWrapperCPU):
    """The place of vLLM's CPU operators of linear layers; the arguments are those of PunicaWrapperCPU."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self._flat = WeakIdKeyDictionary()  # of the second factors: their version, and the copy in another order

    def update_metadata(self, *arguments, **options) -> None:
        super().update_metadata(*arguments, **options)
        self._slots: list[int] = self.token_lora_indices.unique().tolist()
        self._own: dict[tuple[int, int, torch.dtype], torch.Tensor] = {}  # masks of this step

    def add_lora_linear(
        self, y, x, lora_a_stacked, lora_b_stacked, scale: float, output_slices: tuple[int, ...], **options
    ) -> None:
        """Add the adapters' part of a layer to its output `y` in place.

        `y` has the shape [tokens, sum of `output_slices`], `x` [tokens, inputs], each of `lora_a_stacked`
        [slots, 1, rank, inputs] and each of `lora_b_stacked` [slots, 1, outputs, rank].
        """
        assert not options, f"vLLM on the CPU passes no {', '.join(options)}"
        if self._slots == [NO_ADAPTER]:
            return
        begin = 0
        for a, b, size in zip(lora_a_stacked, lora_b_stacked, output_slices, strict=True):
            if len(self._slots) == 1:
                (slot,) = self._slots
                part = torch.nn.functional.linear(torch.nn.functional.linear(x, a[slot, 0]), b[slot, 0])
            else:
                inner = torch.nn.functional.linear(x, a.flatten(0, 2))
                part = inner.mul_(self._mask(a.shape[0], a.shape[2], inner.dtype)) @ self._flattened(b)
            y[:, begin : begin + size].add_(part, alpha=scale)
            begin += size

    def _mask(self, slots: int, rank: int, dtype: torch.dtype) -> torch.Tensor:
        """1 where a column of all first factors belongs to the token's adapter, of shape [tokens, slots * rank]."""
        key = slots, rank, dtype
        if key not in self._own:
            columns = torch.arange(slots).repeat_interleave(rank)
            self._own[key] = (self.token_lora_indices[:, None] == columns).to(dtype)
        return self._own[key]

    def _flattened(self, b: torch.Tensor) -> torch.Tensor:
        """The second factors of all adapters, of shape [slots * rank, outputs]; kept until vLLM loads another one."""
        version, flat = self._flat.get(b, (-1, None))
        if flat is None or version != b._version:
            flat = b[:, 0].transpose(1, 2).flatten(0, 1).contiguous()
            self._flat[b] = b._version, flat
        return flat


def install() -> None:
    """Make vLLM use these operators on the CPU, in this process."""
    CpuPlatform.get_punica_wrapper = classmethod(lambda cls: f"{__name__}.{GroupedLora.__name__}")
