"""LoRA layers for training: PEFT's result, computed in the fastest order. Layers with dropout stay PEFT's own."""

import torch
from peft.tuners.lora import Linear
from torch import nn


class MergedProduct(torch.autograd.Function):
    """x (W + s B A)^T + b, with gradients of x, A and B; W and b are frozen.

    The merged weights are multiplied with the tokens once per direction. PEFT's order has three products and two passes
    over the outputs. The backward pass merges the weights again, since keeping them takes the memory of a second model.
    MergedProducts with the rank come as (r, T), which has long rows and is faster to compute than (T, r).
    """

    @staticmethod
    def forward(ctx, x, weight, bias, down, up, scale: float):
        ctx.save_for_backward(x, weight, down, up)
        ctx.scale = scale
        return nn.functional.linear(x, torch.addmm(weight, up, down, alpha=scale), bias)

    @staticmethod
    def backward(ctx, *grads):
        (grad,) = grads
        x, weight, down, up = ctx.saved_tensors
        grad_T_O, x_T_I = grad.flatten(0, -2), x.flatten(0, -2)
        to_x = grad @ torch.addmm(weight, up, down, alpha=ctx.scale) if ctx.needs_input_grad[0] else None
        to_down = ((up.T @ grad_T_O.T) @ x_T_I).mul_(ctx.scale)
        to_up = ((down @ x_T_I.T) @ grad_T_O).T.contiguous().mul_(ctx.scale)
        return to_x, None, None, to_down, to_up, None


class MergedLinear(Linear):
    """A linear layer that merges its adapter into its weights before it multiplies them with the tokens."""

    def forward(self, x, *args, **kwargs):
        if self.disable_adapters:
            return self.base_layer(x)
        (name,) = self.active_adapters
        down, up = self.lora_A[name].weight, self.lora_B[name].weight
        return MergedProduct.apply(x, self.base_layer.weight, self.base_layer.bias, down, up, self.scaling[name])


def merge_layers(model) -> None:
    """Replace a model's float32 LoRA layers by `MergedLinear`.

    In lower precision merging would round the adapter away, and sharded weights cannot be merged.
    """
    for layer in model.modules():
        if type(layer) is Linear and _is_plain(layer) and layer.base_layer.weight.dtype == torch.float32:
            layer.__class__ = MergedLinear


def _is_plain(layer: Linear) -> bool:
    """Whether a layer is (W + B A lora_alpha / r) x + b, without any extra."""
    bare = not layer.lora_variant and not any(layer.lora_bias.values()) and not layer.fan_in_fan_out
    return bare and all(isinstance(dropout, nn.Identity) for dropout in layer.lora_dropout.values())
