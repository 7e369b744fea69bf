"""LoRA layers made for training: the same product, in the order that takes the least time."""

from peft.tuners.lora import Linear
from torch import addmm, float32, nn

# So many times the adapter's own numbers a layer may have for one product with the sum of both to be faster than three
# products side by side, whose thin ones keep a processor waiting. Measured on CPUs, between 96 x 96 and 1024 x 1024.
SMALL = 24


class Summed(Linear):
    """A linear layer with an adapter that is added to the weights before they meet the tokens."""

    def forward(self, x, *args, **kwargs):
        if self.disable_adapters:
            return self.base_layer(x)
        (name,) = self.active_adapters
        down, up = self.lora_A[name].weight, self.lora_B[name].weight
        return nn.functional.linear(
            x, addmm(self.base_layer.weight, up, down, alpha=self.scaling[name]), self.base_layer.bias
        )


def sum_small_layers(model) -> None:
    """Have the small float32 layers among a model's LoRA layers add their adapter to their weights first.

    In lower precision the sum would round an adapter away, and of weights that are partitioned there is no sum.
    """
    for layer in model.modules():
        if type(layer) is Linear and _is_plain(layer):
            weight, (rank,) = layer.base_layer.weight, layer.r.values()
            outs, ins = weight.shape
            if weight.dtype == float32 and outs * ins < SMALL * rank * (outs + ins):
                layer.__class__ = Summed


def _is_plain(layer: Linear) -> bool:
    """Whether a layer is W x + B A x / rank * alpha, and nothing else."""
    bare = not layer.lora_variant and not any(layer.lora_bias.values()) and not layer.fan_in_fan_out
    return bare and all(isinstance(dropout, nn.Identity) for dropout in layer.lora_dropout.values())
