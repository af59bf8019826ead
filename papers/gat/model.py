"""Graph attention networks, GAT and GATv2, and what they are compared with.

Veličković et al., "Graph attention networks", ICLR 2018 (arXiv:1710.10903), equations 1 to 6; Brody, Alon and Yahav,
"How attentive are graph attention networks?", ICLR 2022 (arXiv:2105.14491), equation 7. Written for one seed. Symbols:
h_i a node's features, W the projection, a the attention vector, e_ij the score of source j for target i, α_ij its
softmax over i's neighbourhood, K heads of F' features each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import elu, leaky_relu

from repro import randomness
from repro.nn import attention
from repro.nn.attention import Neighbourhoods
from repro.nn.features import SparseFeatures, drop

SLOPE = 0.2  # of LeakyReLU below zero
Scores = Literal["gat", "gatv2", "constant", "gcn"]


def _glorot(key: Tensor, *shape: int, fan_in: int, fan_out: int) -> nn.Parameter:
    """Uniform in ± √(6 / (fan_in + fan_out)) (Glorot and Bengio 2010)."""
    count = int(torch.tensor(shape).prod())
    limit = (6 / (fan_in + fan_out)) ** 0.5
    return nn.Parameter((2 * randomness.uniform(key, count) - 1).view(shape) * limit)


@dataclass(frozen=True)
class Dropout:
    """Probabilities of dropping an entry of a layer's input, a coefficient α_ij, an entry of W h_j."""

    input: float = 0.0
    attention: float = 0.0
    projected: float = 0.0


class GraphAttention(nn.Module):
    """One layer: h'_i = ‖_k Σ_j α^k_ij W^k h_j + b (eq. 5), or the heads' mean (eq. 6); returns what precedes σ.

    Scores: ``gat`` e_ij = LeakyReLU(aᵀ[W h_i ‖ W h_j]) (eq. 3); ``gatv2`` e_ij = aᵀ LeakyReLU(W' h_i + W h_j) (GATv2,
    eq. 7), W' = W if ``share_weights``; ``constant`` e_ij = 1, the paper's Const-GAT; ``gcn`` no softmax but
    α_ij = 1 / √(d_i d_j), the coefficients of Kipf and Welling.

    Args:
        in_features: width of h.
        out_features: F', of each head.
        heads: K.
        concat: concatenate the heads, or average them.
        scores: see above.
        share_weights: GATv2 only.
        bias: add b.
        key: random key of the Glorot-uniform initial weights, drawn head by head.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        heads: int,
        concat: bool,
        scores: Scores,
        key: Tensor,
        share_weights: bool = True,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.heads, self.concat, self.scores = heads, concat, scores
        fan = {"fan_in": in_features, "fan_out": out_features}
        keys = randomness.bits(key, 3)
        self.W = _glorot(keys[0], in_features, heads, out_features, **fan)
        if scores == "gatv2":
            self.W_target = None if share_weights else _glorot(keys[1], *self.W.shape, **fan)
            self.a = _glorot(keys[2], heads, out_features, fan_in=out_features, fan_out=1)
        elif scores == "gat":
            # The two halves of a: for the target, for the source.
            self.a = _glorot(keys[2], heads, out_features, 2, fan_in=out_features, fan_out=1)
        width = heads * out_features if concat else out_features
        self.b = nn.Parameter(torch.zeros(width)) if bias else None

    def _project(self, W: Tensor, h: SparseFeatures | Tensor) -> Tensor:
        """W h for every head: ``(nodes, heads, F')``."""
        return (h @ W.flatten(1)).unflatten(-1, W.shape[1:])

    def score(
        self, Wh: Tensor, projected: Tensor, h: SparseFeatures | Tensor, graph: Neighbourhoods
    ) -> Tensor:
        """Return e ``(heads, edges)``.

        Args:
            Wh: ``(heads, nodes, F')``.
            projected: the same, laid out as ``(nodes, heads, F')``.
            h: what they are projections of, for W' h.
            graph: the edges.
        """
        if self.scores == "gat":
            s_target, s_source = (Wh @ self.a).unbind(-1)
            return leaky_relu(attention.pair_sum(graph, s_target[:, graph.own], s_source), SLOPE)
        if self.scores == "gatv2":
            of_target = None if self.W_target is None else self._project(self.W_target, h)
            return attention.additive_score(graph, projected, self.a, SLOPE, of_target)
        return torch.ones(self.heads, graph.edges, dtype=Wh.dtype, device=Wh.device)

    def coefficients(
        self, Wh: Tensor, projected: Tensor, h: SparseFeatures | Tensor, graph: Neighbourhoods
    ) -> Tensor:
        """Return α ``(heads, edges)``; see :meth:`score`."""
        if self.scores == "gcn":
            return graph.matrix.values.expand(self.heads, -1)
        return attention.softmax(graph, self.score(Wh, projected, h, graph))

    def forward(
        self, h: SparseFeatures | Tensor, graph: Neighbourhoods, keys: Tensor | None, dropout: Dropout
    ) -> Tensor:
        """Map ``(sources, in_features)`` to ``(targets, heads * F')``, or ``(targets, F')`` for the mean.

        Args:
            h: of the sources.
            graph: who attends to whom; with ``gcn`` scores its matrix holds the coefficients.
            keys: int64 ``(3,)`` dropout keys; None evaluates without dropout.
            dropout: probabilities.
        """
        if keys is not None and dropout.input > 0:
            h = drop(h, keys[0], dropout.input)
        projected = self._project(self.W, h)
        Wh = projected.movedim(-2, 0).contiguous()
        alpha = self.coefficients(Wh, projected, h, graph)
        if keys is not None and dropout.attention > 0:
            alpha = drop(alpha, keys[1], dropout.attention)
        if keys is not None and dropout.projected > 0:
            Wh = drop(Wh, keys[2], dropout.projected)
        out = attention.weighted_sum(graph, alpha, Wh)
        out = out.movedim(0, -2).flatten(-2) if self.concat else out.mean(0)
        return out if self.b is None else out + self.b


@dataclass(frozen=True)
class Layer:
    """What one layer of a network looks like."""

    features: int
    heads: int
    concat: bool
    skip: bool = False  # add the layer's input to its output before σ


def citation_layers(hidden: int, heads: int, classes: int, output_heads: int) -> list[Layer]:
    """Two layers (Section 3.3): K heads concatenated, then the classes, averaged over the output heads.

    Raises:
        ValueError: if a layer would have no head or no feature.
    """
    if min(hidden, heads, output_heads) < 1:
        raise ValueError(
            f"hidden {hidden}, heads {heads} and output_heads {output_heads} must each be at least 1"
        )
    return [Layer(hidden, heads, True), Layer(classes, output_heads, False)]


class GAT(nn.Module):
    """A stack of :class:`GraphAttention` layers with ELU (or ReLU) between them; returns the logits.

    Args:
        in_features: width of the input.
        layers: see :class:`Layer`.
        scores: of every layer, see :class:`GraphAttention`.
        dropout: of every layer.
        share_weights: see :class:`GraphAttention`.
        bias: see :class:`GraphAttention`.
        activation: ``elu`` or ``relu``.
        seed: of the initial weights.
    """

    def __init__(
        self,
        in_features: int,
        layers: Sequence[Layer],
        scores: Scores = "gat",
        dropout: Dropout = Dropout(0.6, 0.6),
        share_weights: bool = True,
        bias: bool = True,
        activation: str = "elu",
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.dropout, self.plan = dropout, list(layers)
        self.activation = {"elu": elu, "relu": torch.relu}[activation]
        widths = [in_features, *(layer.features * (layer.heads if layer.concat else 1) for layer in layers)]
        self.layers = nn.ModuleList(
            GraphAttention(
                widths[i],
                layer.features,
                layer.heads,
                layer.concat,
                scores,
                randomness.key(seed, f"glorot/{i}"),
                share_weights,
                bias,
            )
            for i, layer in enumerate(layers)
        )

    def forward(
        self, h: SparseFeatures | Tensor, graphs: Sequence[Neighbourhoods], keys: Tensor | None = None
    ) -> Tensor:
        """Return logits ``(targets of the last graph, classes)``.

        Args:
            h: features of the first graph's sources.
            graphs: one per layer; the targets of one are the sources of the next.
            keys: int64 ``(layers, 3)`` dropout keys; None evaluates without dropout.
        """
        for i, (layer, plan, graph) in enumerate(zip(self.layers, self.plan, graphs, strict=True)):
            out = layer(h, graph, None if keys is None else keys[i], self.dropout)
            if plan.skip:
                out = out + h[graph.own]
            h = out if i == len(self.layers) - 1 else self.activation(out)
        return h
