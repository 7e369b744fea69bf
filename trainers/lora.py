"""LoRA layers made for training: the same product, in the order that takes the least time."""

import torch
from peft.tuners.lora import Linear
from torch import nn


class Product(torch.autograd.Function):
    """x (W + s B A)^T + b, with gradients of x, A and B; W and b are frozen.

    The sum of weights meets the tokens once each way, where PEFT's order has three products and two passes over what
    comes out. It is made again for the way back, for holding it would take the memory of a second model. The thin
    products have the rank in front: (r, T) is made in long rows, (T, r) in short ones, which is slower.
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


class Summed(Linear):
    """A linear layer with an adapter that is added to the weights before they meet the tokens."""

    def forward(self, x, *args, **kwargs):
        if self.disable_adapters:
            return self.base_layer(x)
        (name,) = self.active_adapters
        down, up = self.lora_A[name].weight, self.lora_B[name].weight
        return Product.apply(x, self.base_layer.weight, self.base_layer.bias, down, up, self.scaling[name])


def sum_layers(model) -> None:
    """Have a model's float32 LoRA layers add their adapter to their weights first.

    In lower precision the sum would round an adapter away, and of weights that are partitioned there is no sum.
    """
    for layer in model.modules():
        if type(layer) is Linear and _is_plain(layer) and layer.base_layer.weight.dtype == torch.float32:
            layer.__class__ = Summed


def _is_plain(layer: Linear) -> bool:
    """Whether a layer is (W + B A alpha / rank) x + b, and nothing else."""
    bare = not layer.lora_variant and not any(layer.lora_bias.values()) and not layer.fan_in_fan_out
    return bare and all(isinstance(dropout, nn.Identity) for dropout in layer.lora_dropout.values())
