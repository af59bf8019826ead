"""Graph Transformer Networks (Yun et al., NeurIPS 2019, arXiv:1911.06455): soft choices of edge types, composed.

Despite the name no attention transformer: layer by layer a convex combination of the relations' adjacency matrices is
multiplied to a meta-path. The property checked is that it finds a meta-path which is known to carry the labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from papers.graph_transformer.model import initialise
from repro import noise, randomness
from repro.context import Context

Rows = Iterator[tuple[int, dict[str, float]]]

AUTHORS, PAPERS, VENUES, CLASSES = 180, 180, 12, 3
RELATIONS = ("author-paper", "paper-author", "paper-venue", "venue-paper", "author-author", "identity")
BEST = (0, 2)  # author-paper, then paper-venue: only venues carry a signal


@dataclass(frozen=True, eq=False)
class Heterogeneous:
    """One graph: ``relations`` float (R, N, N), row i linked to column j; ``X`` (N, F); labels of the authors."""

    relations: Tensor
    X: Tensor
    labels: Tensor


def synthetic(seed: int) -> Heterogeneous:
    """Return a graph whose authors' labels are those of the venues of their papers.

    A paper appears at one venue and has authors of that venue's class; author-author links are random. Venues have
    their class as a feature, with noise; the features of authors and papers are noise alone.
    """
    N = AUTHORS + PAPERS + VENUES
    labels = torch.arange(AUTHORS) % CLASSES

    def draw(stream: str, n: int, below: int) -> Tensor:
        return (randomness.uniform(randomness.key(seed, stream), n) * below).long()

    venue = draw("venues", PAPERS, VENUES)  # the class of a venue is its number modulo CLASSES
    per_class = AUTHORS // CLASSES
    first, second = (draw(f"authors/{i}", PAPERS, per_class) * CLASSES + venue % CLASSES for i in range(2))
    writes, appears, knows = torch.zeros(3, N, N)
    papers = AUTHORS + torch.arange(PAPERS)
    writes[first, papers] = writes[second, papers] = 1
    appears[papers, AUTHORS + PAPERS + venue] = 1
    a, b = draw("links", 4 * AUTHORS, AUTHORS).view(2, -1)
    knows[a, b] = knows[b, a] = 1
    knows.fill_diagonal_(0)
    X = 0.3 * noise.normal(randomness.key(seed, "features"), N, CLASSES)
    X[AUTHORS + PAPERS :] += functional.one_hot(torch.arange(VENUES) % CLASSES, CLASSES)
    relations = torch.stack([writes, writes.T, appears, appears.T, knows, torch.eye(N)])
    return Heterogeneous(relations, X, labels)


def _normalised(A: Tensor) -> Tensor:
    """Return D^-1 A; a row without entries stays empty."""
    return A / A.sum(-1, keepdim=True).clamp(min=1e-12)


def _with_diagonal(A: Tensor, value: float) -> Tensor:
    """Return A with ``value`` all along its diagonal."""
    eye = torch.eye(A.shape[-1])
    return A * (1 - eye) + value * eye


class GTN(nn.Module):
    """Z = ‖_c ReLU (D̃_c^-1 Ã_c X W), A_c = Π_l softmax(φ_l,c) · relations (equations 3 to 6).

    As in the released code, Ã_c is A_c with ones on its diagonal, and of three factors and more what has been
    multiplied so far loses its diagonal and is divided by its rows' sums before the next.

    Args:
        relations: R, the identity among them, so that shorter meta-paths than ``length`` can be chosen.
        features, hidden, classes: widths.
        length: factors of a meta-path, two or more: one more than the paper's number of GT layers.
        channels: meta-paths side by side.
        learned: False keeps the choice uniform: the comparison without learned meta-paths.
        seed: of the initial weights.
    """

    def __init__(
        self,
        relations: int,
        features: int,
        hidden: int,
        classes: int,
        length: int,
        channels: int,
        learned: bool,
        seed: int,
    ) -> None:
        super().__init__()
        start = 0.1 * noise.normal(randomness.key(seed, "choices"), length, channels, relations)
        self.choices = nn.Parameter(start * float(learned), requires_grad=learned)
        self.W = nn.Linear(features, hidden, bias=False)
        self.hidden, self.out = nn.Linear(channels * hidden, hidden), nn.Linear(hidden, classes)
        initialise(self, seed)

    def meta_paths(self, relations: Tensor) -> Tensor:
        """Return A_c (channels, N, N)."""
        factors = torch.einsum("lcr,rij->lcij", self.choices.softmax(-1), relations)
        path = factors[0] @ factors[1]
        for factor in factors[2:]:
            path = _normalised(_with_diagonal(path, 0)) @ factor
        return path

    def forward(self, relations: Tensor, X: Tensor) -> Tensor:
        """Return logits (N, classes)."""
        A = _with_diagonal(self.meta_paths(relations), 1)
        Z = torch.relu(_normalised(A) @ self.W(X))
        return self.out(torch.relu(self.hidden(Z.movedim(0, 1).flatten(1))))

    def weight_of(self, path: Sequence[int]) -> float:
        """Return the weight that the channel which likes a meta-path best gives it: a product of softmaxes."""
        p = self.choices.detach().softmax(-1)
        return float(torch.stack([p[step, :, r] for step, r in enumerate(path)]).prod(0).max())


def meta_path(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """Train on half of the authors; accuracy on the others, and the weight of the meta-path known to be best."""
    for seed in seeds:
        graph = synthetic(seed)
        labels = graph.labels
        order = randomness.permutation(randomness.key(seed, "split"), AUTHORS)
        train, test = order[: AUTHORS // 2], order[AUTHORS // 2 :]
        if setting["labels"] == "shuffled":
            labels = labels[randomness.permutation(randomness.key(seed, "shuffle"), AUTHORS)]
        net = GTN(
            len(RELATIONS), graph.X.shape[1], 16, CLASSES, 2, setting["channels"], setting["learned"], seed
        )
        adam = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], lr=setting["learning_rate"])
        for epoch in range(setting["epochs"]):
            adam.zero_grad()
            functional.cross_entropy(net(graph.relations, graph.X)[train], labels[train]).backward()
            adam.step()
            context.tick((epoch + 1) / setting["epochs"])
        with torch.no_grad():
            right = net(graph.relations, graph.X)[test].argmax(-1) == labels[test]
        others = [
            net.weight_of((a, b))
            for a in range(len(RELATIONS))
            for b in range(len(RELATIONS))
            if (a, b) != BEST
        ]
        yield (
            seed,
            {
                "author_accuracy": float(100 * right.float().mean()),
                "best_path_lead": net.weight_of(BEST) - max(others),
            },
        )
