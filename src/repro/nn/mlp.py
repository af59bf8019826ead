"""Multilayer perceptrons on the parts of a graph, for one seed or for many stacked ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from repro import randomness


class MLP(nn.Module):
    """A multilayer perceptron on the concatenation of its inputs, which is never made.

    The first layer uses ``W [a; b] = W_a a + W_b b``: what is known per node is multiplied per node and only then
    handed to the many edges, so ``forward`` takes *products* with the blocks of W from :meth:`project`.

    Args:
        inputs: widths of the inputs, in order.
        widths: of the layers; an empty sequence is refused.
        seed: of the weights, which are uniform with variance 1/(inputs), like their biases 0.
        stream: name of the weights' random stream.
        activate_last: ReLU after the last layer as well.
        layer_norm: normalise the output over its features (with gain and offset).

    Raises:
        ValueError: if there is no layer or no input.
    """

    def __init__(
        self,
        inputs: Sequence[int],
        widths: Sequence[int],
        seed: int,
        stream: str,
        activate_last: bool = False,
        layer_norm: bool = False,
    ) -> None:
        super().__init__()
        if not widths or sum(inputs) < 1:
            raise ValueError(
                f"{stream}: an MLP needs a layer and an input, not widths {list(widths)} of {list(inputs)}"
            )
        self.inputs = list(inputs)
        self.activate_last = activate_last
        sizes = [sum(inputs), *widths]
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        for layer, (a, b) in enumerate(pairwise(sizes)):
            draw = randomness.uniform(randomness.key(seed, f"{stream}/{layer}"), a * b).view(b, a)
            self.weights.append(nn.Parameter((2 * draw - 1) * (3 / a) ** 0.5))
            self.biases.append(nn.Parameter(torch.zeros(b)))
        self.norm = nn.LayerNorm(widths[-1]) if layer_norm else None

    def project(self, *inputs: Tensor) -> list[Tensor]:
        """Return each input times its block of the first layer's weights."""
        blocks = self.weights[0].split(self.inputs, dim=-1)
        return [_linear(x, block) for x, block in zip(inputs, blocks, strict=True)]

    def forward(self, *products: Tensor) -> Tensor:
        """Return the output for the products of :meth:`project`, which are broadcast against each other."""
        shape = torch.broadcast_shapes(*(p.shape for p in products))
        # From the smallest up: what is known per node or per graph is added up there, not on every edge.
        x = self.biases[0]
        for product in sorted(products, key=Tensor.numel):
            x = x + product
        # Two dimensions from here on: torch multiplies those fastest, for one seed and for many at once.
        x = x.expand(shape).reshape(-1, shape[-1])
        if len(self.weights) > 1 or self.activate_last:
            x = torch.relu(x)
        return self._layers(x, 1, shape)

    def of(self, x: Tensor) -> Tensor:
        """Return the output for a single input, without a pass over the products for the bias."""
        return self._layers(x.reshape(-1, x.shape[-1]), 0, x.shape)

    def _layers(self, x: Tensor, first: int, shape: Sequence[int]) -> Tensor:
        if first < len(self.weights):
            weights, biases = list(self.weights)[first:], list(self.biases)[first:]
            x = Layers.apply(x, self.activate_last, *weights, *biases)[0]
        if self.norm is not None:
            x = self.norm(x)
        return x.view(*shape[:-1], x.shape[-1])


MANY = 2**17  # from this many numbers in a seed's widest layer on, seeds are taken one after the other


def _seeds(x: Tensor, weights: Sequence[Tensor]) -> Iterable[Any]:
    """Return what to take of everything in turn: all seeds, or one that fills the processor's caches by itself.

    Which of the two does not depend on the number of seeds.
    """
    numbers = x.shape[-2] * max(weight.shape[-2] for weight in weights)
    return range(len(x)) if x.dim() == 3 and numbers >= MANY else (...,)


class Layers(torch.autograd.Function):
    """Layers ``x W^T + b`` with ReLU between them, of ``(R, m)``, ``(n, m)``, ``(n)``, with or without seeds in front.

    One function, so that activations overwrite what they are made of, both ways, and large seeds go through all layers
    one after the other, while they are in the caches.
    """

    @staticmethod
    def forward(x: Tensor, activate_last: bool, *parts: Tensor) -> tuple[Tensor, ...]:
        """Return the output, and the hidden layers for the gradient."""
        weights, biases = parts[: len(parts) // 2], parts[len(parts) // 2 :]
        found = [x.new_empty(*x.shape[:-1], weight.shape[-2]) for weight in weights]
        for own in _seeds(x, weights):
            h = x[own]
            for layer, y in enumerate(found):
                weight, bias, after = weights[layer][own], biases[layer][own].unsqueeze(-2), y[own]
                if weight.shape[-2] == 1:
                    # A product with a single column is rounded differently for one seed and for many.
                    torch.add((h * weight).sum(-1, keepdim=True), bias, out=after)
                else:
                    # The bias afterwards: as the product's starting value it would be written out first.
                    torch.matmul(h, weight.mT, out=after).add_(bias)
                if layer < len(found) - 1 or activate_last:
                    after.relu_()
                h = after
        return found[-1], *found[:-1]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        """Keep what the gradient needs."""
        x, ctx.activate_last, *parts = inputs
        ctx.mark_non_differentiable(*output[1:])
        ctx.set_materialize_grads(False)  # zeros for the hidden layers would be written and never read
        ctx.save_for_backward(x, *output[1:], output[0], *parts[: len(parts) // 2])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of x, weights and biases."""
        saved, layers = ctx.saved_tensors, len(ctx.saved_tensors) // 2
        values, weights = saved[: layers + 1], saved[layers + 1 :]
        cut = torch.ops.aten.threshold_backward
        of_x = torch.empty_like(values[0]) if ctx.needs_input_grad[0] else None
        of_weights = [torch.empty_like(weight) for weight in weights]
        of_biases = [weight.new_empty(weight.shape[:-1]) for weight in weights]
        for own in _seeds(values[0], weights):
            g = gradient[own].contiguous()
            if ctx.activate_last:
                g = cut(g, values[-1][own], 0)
            for layer in reversed(range(layers)):
                x, weight = values[layer][own], weights[layer][own]
                if weight.shape[-2] == 1:
                    torch.sum(g * x, -2, keepdim=True, out=of_weights[layer][own])
                else:
                    torch.matmul(g.mT, x, out=of_weights[layer][own])
                torch.sum(g, -2, out=of_biases[layer][own])
                if layer:
                    g = g @ weight
                    cut.grad_input(g, x, 0, grad_input=g)
                elif of_x is not None:
                    torch.matmul(g, weight, out=of_x[own])
        return of_x, None, *of_weights, *of_biases

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], x: Tensor, activate_last: bool, *parts: Tensor
    ) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        """Return the same for stacked seeds."""

        def stacked(p: Tensor, d: int | None) -> Tensor:
            return p.expand(info.batch_size, *p.shape) if d is None else p.movedim(d, 0)

        together = [stacked(p, d) for p, d in zip(parts, in_dims[2:], strict=True)]
        found = Layers.apply(stacked(x, in_dims[0]), activate_last, *together)
        return found, (0,) * len(found)


def _linear(x: Tensor, weight: Tensor) -> Tensor:
    return (x.reshape(-1, x.shape[-1]) @ weight.mT).view(*x.shape[:-1], weight.shape[-2])
