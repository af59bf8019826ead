"""GCN, GAT and GatedGCN, which Table 2 compares with, as arXiv:2003.00982 and its code define them, written dense.

Shapes and arguments are those of :mod:`papers.graph_transformer.model`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from papers.graph_transformer.model import (
    Blocks,
    Design,
    Edges,
    Network,
    by_block,
    graph_transformer,
    split_heads,
)
from papers.graph_transformer.norms import BatchNorm
from repro.nn.rows import add_up, take


class GCNLayer(nn.Module):
    """h_i ← h_i + ReLU BN (U m_i + b), m_i the mean of h_j over the neighbours j; no self-loops.

    With ``symmetric`` m_i is the sum of h_j / √(d_i d_j) (1609.02907, Equation 2), which the code of arXiv:2003.00982
    has as an option. A mean cannot see a degree, this can.
    """

    def __init__(self, width: int, symmetric: bool = False) -> None:
        super().__init__()
        self.symmetric = symmetric
        self.U, self.norm = nn.Linear(width, width), BatchNorm(width)

    def gather(self, links: Tensor, h: Tensor) -> Tensor:
        """Return m of a block, (b, m, d)."""
        d = links.sum(-1, keepdim=True).clamp(min=1)
        return d.rsqrt() * (links @ (d.rsqrt() * h)) if self.symmetric else links @ h / d

    def forward(self, h: Tensor, e: Tensor, blocks: Blocks, nodes: Tensor) -> tuple[Tensor, Tensor]:
        """See the module."""
        return h + torch.relu(self.norm(self.U(by_block(self.gather, blocks, h)), nodes)), e


class GATLayer(nn.Module):
    """h_i ← h_i + ELU BN ‖_k Σ_j softmax_j (LeakyReLU (a·[U h_i ‖ U h_j])) U h_j, slope 0.2."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.U = nn.Linear(width, width, bias=False)
        self.a_own, self.a_other = (nn.Linear(width // heads, heads, bias=False) for _ in range(2))
        self.bias, self.norm = nn.Parameter(torch.zeros(width)), BatchNorm(width)

    def attend(self, links: Tensor, z: Tensor) -> Tensor:
        """Return the sum over neighbours of a block's z = U h, (b, m, d)."""
        z = split_heads(z, self.heads)  # (b, H, m, d / H)
        own = (z * self.a_own.weight.unsqueeze(-2)).sum(-1)
        other = (z * self.a_other.weight.unsqueeze(-2)).sum(-1)
        here = links.unsqueeze(-3)
        scores = functional.leaky_relu(own.unsqueeze(-1) + other.unsqueeze(-2), 0.2)
        scores = scores.masked_fill(here == 0, -1e30)  # or the maximum would be that of nodes out of reach
        w = torch.exp(scores - scores.amax(-1, keepdim=True).detach()) * here
        out = (w @ z) / w.sum(-1, keepdim=True).clamp(min=1e-30)
        return out.transpose(-3, -2).flatten(-2)

    def forward(self, h: Tensor, e: Tensor, blocks: Blocks, nodes: Tensor) -> tuple[Tensor, Tensor]:
        """See the module."""
        out = by_block(self.attend, blocks, self.U(h)) + self.bias
        return h + functional.elu(self.norm(out, nodes)), e


class GatedGCNLayer(nn.Module):
    """h_i ← h_i + ReLU BN (A h_i + Σ_j η_ij ⊙ B h_j), e_ij ← e_ij + ReLU BN (C e_ij + D h_j + E h_i).

    η_ij = σ(ê_ij) / (Σ_j' σ(ê_ij') + 10^-6), ê the bracket of the edge update.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.A, self.B, self.C, self.D, self.E = (nn.Linear(width, width) for _ in range(5))
        self.norm_h, self.norm_e = BatchNorm(width), BatchNorm(width)

    def forward(self, h: Tensor, e: Tensor, edges: Edges, nodes: Tensor) -> tuple[Tensor, Tensor]:
        """See the module."""
        n = len(h)
        e_hat = self.C(e) + take(self.D(h), edges.sender) + take(self.E(h), edges.receiver)
        gate = torch.sigmoid(e_hat) * edges.there.unsqueeze(-1)
        gathered = add_up(gate * take(self.B(h), edges.sender), edges.receiver, n)
        gathered = gathered / (add_up(gate, edges.receiver, n) + 1e-6)
        out = self.norm_h(self.A(h) + gathered, nodes)
        return h + torch.relu(out), e + torch.relu(self.norm_e(e_hat, edges.there))


MODELS = ("gt", "gcn", "gcn_symmetric", "gat", "gatedgcn")


def network(model: str, design: Design, seed: int) -> Network:
    """Return the network of one row of Table 2, or GCN with its authors' normalisation.

    GCN and GAT read no edge features; GatedGCN starts from a constant where the data has none. GAT has all its heads
    in every layer, where the released one has a single head as wide in the last: as many parameters.
    """
    if model == "gt":
        return graph_transformer(design, seed)
    kinds: dict[str, Callable[[], nn.Module]] = {
        "gcn": lambda: GCNLayer(design.width),
        "gcn_symmetric": lambda: GCNLayer(design.width, symmetric=True),
        "gat": lambda: GATLayer(design.width, design.heads),
        "gatedgcn": lambda: GatedGCNLayer(design.width),
    }
    return Network(design, [kinds[model]() for _ in range(design.layers)], model == "gatedgcn", seed)
