"""Graph Transformer Networks: the synthetic graph, and meta-paths by hand."""

from __future__ import annotations

import pytest
import torch

from papers.graph_transformer import gtn


def test_the_known_meta_path_carries_the_labels() -> None:
    graph = gtn.synthetic(1)
    path = graph.relations[gtn.BEST[0]] @ graph.relations[gtn.BEST[1]]
    seen = (path @ graph.X)[: gtn.AUTHORS]
    reached = path[: gtn.AUTHORS].sum(-1) > 0
    right = (seen.argmax(-1) == graph.labels)[reached].float().mean()
    assert right > 0.95
    knows = (graph.relations[4] @ graph.X)[: gtn.AUTHORS].argmax(-1) == graph.labels
    assert knows.float().mean() < 0.5, "three classes: chance is a third; 180 authors, five sigma"


def test_meta_paths_are_products_of_soft_choices() -> None:
    graph = gtn.synthetic(0)
    net = gtn.GTN(6, 3, 4, 3, 2, 2, True, 0)
    with torch.no_grad():
        net.choices.fill_(-50.0)
        net.choices[0, :, 0] = net.choices[1, :, 2] = 50.0
    expected = graph.relations[0] @ graph.relations[2]
    assert (net.meta_paths(graph.relations)[1] - expected).abs().max() < 1e-5
    assert net.weight_of(gtn.BEST) == pytest.approx(1)
    assert net.weight_of((4, 4)) == pytest.approx(0)
    assert not gtn.GTN(6, 3, 4, 3, 2, 2, False, 0).choices.requires_grad


def test_meta_paths_are_normalised_as_in_the_released_code() -> None:
    """By hand: between factors without the diagonal, at the end with ones on it; node 1 is linked to itself."""
    A = torch.tensor([[[0.0, 2.0, 1.0], [0.0, 1.0, 1.0], [1.0, 0.0, 0.0]], torch.eye(3).tolist()])
    three = gtn.GTN(2, 3, 4, 2, 3, 1, True, 0)
    with torch.no_grad():
        three.choices.copy_(torch.tensor([50.0, -50.0]).expand(3, 1, 2))
    squared = A[0] @ A[0]  # [[1, 2, 2], [1, 1, 1], [0, 2, 1]]
    between = torch.tensor([[0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.0, 1.0, 0.0]])
    assert torch.allclose(three.meta_paths(A)[0], between @ A[0], atol=1e-5)
    two = gtn.GTN(2, 3, 4, 2, 2, 1, True, 0)
    with torch.no_grad():
        two.choices.copy_(torch.tensor([50.0, -50.0]).expand(2, 1, 2))
        for layer, size in ((two.W, (4, 3)), (two.hidden, (4, 4)), (two.out, (2, 4))):
            layer.weight.copy_(torch.eye(*size))
        two.hidden.bias.zero_()
        two.out.bias.zero_()
    own = squared - torch.diag(squared.diagonal()) + torch.eye(3)
    expected = (own / own.sum(1, keepdim=True))[:, :2]
    assert torch.allclose(two(A, torch.eye(3)), expected, atol=1e-5)
